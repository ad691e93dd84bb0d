//! What is answered, verb by verb, and the envelope around it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::bridge::HealthDto;
use super::codes::{ApiError, Code};
use super::dto::{BondDto, GateDto, PeerDto, PeersDto, first_peers};
use super::limits::{PUBLISH_OCTETS_MAX, REPORT_LINES_MAX};
use crate::bond::PeerAddress;
use crate::bond::plan::Hazard;

/// The `data` of a request that was carried out.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Health(Box<HealthDto>),
    Bonds(BondPageDto),
    Exported(ExportedDto),
    Restored(Box<RestoreDto>),
    Undone(Box<UndoneDto>),
    Forgotten(Box<ForgottenDto>),
    Reloaded(ReloadedDto),
    Adopted(AdoptedDto),
    Mode(ModeDto),
    AdapterForgotten(AdapterForgottenDto),
    Checkpoints(CheckpointsDto),
    LogLevel { level: &'static str },
}

/// `bonds/list`: one page.
#[derive(Debug, Clone, Serialize)]
pub struct BondPageDto {
    /// All that match, on every page.
    pub total: usize,
    pub offset: usize,
    pub limit: usize,
    pub adapters: Vec<ListedAdapterDto>,
    pub bonds: Vec<ListedBondDto>,
}

/// An adapter whose bonds were listed; a generation that differs between two pages says that they
/// do not fit together.
#[derive(Debug, Clone, Serialize)]
pub struct ListedAdapterDto {
    pub adapter: String,
    pub generation: u64,
    pub bond_count: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct ListedBondDto {
    pub adapter: String,
    #[serde(flatten)]
    pub bond: BondDto,
}

/// `bonds/export`.
#[derive(Debug, Clone, Serialize)]
pub struct ExportedDto {
    pub format: String,
    /// A bare name, of a folder where the format is one; null when it was delivered over MQTT, and for a dry run.
    pub file: Option<String>,
    /// Where people find the file.
    pub folder: Option<String>,
    /// The sealed text, when it was delivered over MQTT.
    pub sealed: Option<String>,
    /// Whether the file is sealed, or would be.
    pub is_sealed: bool,
    /// Bonds.
    pub count: usize,
    /// Of the file, or of the folder's files; null for a dry run.
    pub sha256: Option<String>,
    pub report: ReportDto,
}

/// What reading or writing a format did to the bonds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReportDto {
    /// Bonds that came through.
    pub taken: usize,
    /// What the input leaves open and a rule filled in.
    pub assumed: Vec<ReportLineDto>,
    /// What the format cannot hold.
    pub dropped: Vec<ReportLineDto>,
    /// Records that were not taken.
    pub refused: Vec<ReportLineDto>,
    /// Peers of which nothing is left.
    pub lost_peers: Vec<PeerDto>,
    /// What concerns the whole, one sentence each.
    pub notes: Vec<String>,
    /// A list above is not whole.
    pub truncated: bool,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportLineDto {
    pub peer: Option<PeerDto>,
    /// Where in the input, as in `adapters[0].bonds[3]`.
    pub place: Option<String>,
    pub reason: String,
}

impl ReportDto {
    /// Cuts every list to what an answer may hold.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for lines in [&mut self.assumed, &mut self.dropped, &mut self.refused] {
            self.truncated |= lines.len() > REPORT_LINES_MAX;
            lines.truncate(REPORT_LINES_MAX);
        }
        self.truncated |= self.notes.len() > REPORT_LINES_MAX;
        self.notes.truncate(REPORT_LINES_MAX);
        self.truncated |= self.lost_peers.len() > REPORT_LINES_MAX;
        self.lost_peers.truncate(REPORT_LINES_MAX);
        self
    }
}

/// `bonds/restore`.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreDto {
    pub adapter: String,
    pub plan: PlanDto,
    /// False for a dry run.
    pub applied: bool,
    /// What became of each bond; null for a dry run.
    pub results: Option<Vec<ResultDto>>,
    /// Null for a dry run.
    pub kernel: Option<KernelDto>,
    /// The copy taken before, where anything was changed.
    pub checkpoint: Option<String>,
    /// How the input was read; null where there was none to read.
    pub report: Option<ReportDto>,
}

/// `bonds/undo`.
#[derive(Debug, Clone, Serialize)]
pub struct UndoneDto {
    pub adapter: String,
    pub undone: UndonePointDto,
    pub plan: PlanDto,
    /// Changed since, and left as they are.
    pub kept: Vec<PeerDto>,
    /// False for a dry run.
    pub applied: bool,
    /// What became of each bond; null for a dry run.
    pub results: Option<Vec<ResultDto>>,
    /// Null for a dry run.
    pub kernel: Option<KernelDto>,
    /// The copy taken before: a second undo goes back to it.
    pub checkpoint: Option<String>,
}

/// What is undone.
#[derive(Debug, Clone, Serialize)]
pub struct UndonePointDto {
    /// `restore`, `replace`, `forget`, `adopt` or `undo`.
    pub operation: &'static str,
    /// The copy that was taken before it.
    pub checkpoint: String,
}

/// What a restore would do, or did.
#[derive(Debug, Clone, Serialize)]
pub struct PlanDto {
    pub plan_id: String,
    pub mode: &'static str,
    pub counts: PlanCountsDto,
    pub added: Vec<PeerDto>,
    pub replaced: Vec<PeerDto>,
    pub unchanged: Vec<PeerDto>,
    pub lost: Vec<PeerDto>,
    pub refused: Vec<ReportLineDto>,
    pub hazards: Vec<HazardDto>,
    /// A list above, or the results, are not whole; the counts are.
    pub truncated: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct PlanCountsDto {
    pub added: usize,
    pub replaced: usize,
    pub unchanged: usize,
    pub lost: usize,
    pub refused: usize,
}

/// The peers of a plan, as the adapter reports them.
#[derive(Debug, Clone, Copy)]
pub struct PlanPeers<'a> {
    pub added: &'a [PeerAddress],
    pub replaced: &'a [PeerAddress],
    pub unchanged: &'a [PeerAddress],
    pub lost: &'a [PeerAddress],
}

impl PlanDto {
    pub fn of(
        plan_id: &str,
        mode: &'static str,
        peers: PlanPeers<'_>,
        refused: &[ReportLineDto],
        hazards: &[Hazard],
    ) -> Self {
        let listed = |peers: &[PeerAddress]| first_peers(peers.iter().copied(), REPORT_LINES_MAX);
        let lists = [peers.added, peers.replaced, peers.unchanged, peers.lost];
        Self {
            plan_id: plan_id.to_owned(),
            mode,
            counts: PlanCountsDto {
                added: peers.added.len(),
                replaced: peers.replaced.len(),
                unchanged: peers.unchanged.len(),
                lost: peers.lost.len(),
                refused: refused.len(),
            },
            added: listed(peers.added),
            replaced: listed(peers.replaced),
            unchanged: listed(peers.unchanged),
            lost: listed(peers.lost),
            refused: refused.iter().take(REPORT_LINES_MAX).cloned().collect(),
            hazards: hazards.iter().take(REPORT_LINES_MAX).map(HazardDto::of).collect(),
            truncated: lists.iter().any(|list| list.len() > REPORT_LINES_MAX)
                || refused.len() > REPORT_LINES_MAX
                || hazards.len() > REPORT_LINES_MAX,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct HazardDto {
    pub code: &'static str,
    pub message: String,
    /// Whom it concerns, where it is one peer.
    pub peer: Option<PeerDto>,
}

impl HazardDto {
    fn of(hazard: &Hazard) -> Self {
        let peer = match hazard {
            Hazard::LosesKeys { peer, .. }
            | Hazard::PeerConnected { peer }
            | Hazard::OlderThanStored { peer }
            | Hazard::ChangedSince { peer } => Some(PeerDto::of(*peer)),
            Hazard::LosesBonds { .. }
            | Hazard::AdapterMismatch
            | Hazard::AdapterHeld
            | Hazard::WipesUnseen => None,
        };
        Self { code: hazard.code(), message: hazard.words(), peer }
    }
}

/// What became of one bond of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct ResultDto {
    pub peer: String,
    pub address_type: &'static str,
    /// `added`, `replaced`, `unchanged` or `removed`.
    pub result: &'static str,
}

impl ResultDto {
    /// The results of a plan that was applied. What the input lost on the way is in the report.
    pub fn all(peers: PlanPeers<'_>) -> Vec<Self> {
        let groups = [
            ("added", peers.added),
            ("replaced", peers.replaced),
            ("removed", peers.lost),
            ("unchanged", peers.unchanged),
        ];
        let all = groups.into_iter().flat_map(|(result, peers)| {
            peers.iter().map(move |peer| Self {
                peer: peer.to_string(),
                address_type: peer.kind().as_str(),
                result,
            })
        });
        all.take(REPORT_LINES_MAX).collect()
    }
}

/// The kernel's side of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelDto {
    /// `loaded`, `held`, `refused` or `absent`.
    pub state: &'static str,
    pub reason: Option<String>,
    /// By its name, what became of each list that was sent; null where none was.
    pub lists: Option<BTreeMap<&'static str, KernelListDto>>,
}

/// One list of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KernelListDto {
    /// `loaded` or `refused`.
    pub state: &'static str,
    /// Records that the kernel took.
    pub loaded: usize,
    /// Records that it did not take.
    pub refused: usize,
}

/// `bonds/forget`.
#[derive(Debug, Clone, Serialize)]
pub struct ForgottenDto {
    pub adapter: String,
    pub removed: BondDto,
    pub kernel: KernelDto,
    pub checkpoint: Option<String>,
}

/// `bonds/reload`.
#[derive(Debug, Clone, Serialize)]
pub struct ReloadedDto {
    pub adapter: String,
    pub kernel: KernelDto,
}

/// `bonds/adopt`.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptedDto {
    pub adapter: String,
    #[serde(flatten)]
    pub adopted: PeersDto,
    pub kernel: KernelDto,
    pub checkpoint: Option<String>,
}

/// `adapter/mode`.
#[derive(Debug, Clone, Serialize)]
pub struct ModeDto {
    pub adapter: String,
    pub mode: &'static str,
    pub gate: GateDto,
}

/// `adapter/forget`.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterForgottenDto {
    pub adapter: String,
    pub bond_count: usize,
    pub checkpoint: Option<String>,
}

/// `checkpoint/list` and `checkpoint/create`.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointsDto {
    pub checkpoints: Vec<CheckpointDto>,
    pub truncated: bool,
}

impl CheckpointsDto {
    pub fn of(checkpoints: impl ExactSizeIterator<Item = CheckpointDto>) -> Self {
        Self {
            truncated: checkpoints.len() > REPORT_LINES_MAX,
            checkpoints: checkpoints.take(REPORT_LINES_MAX).collect(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct CheckpointDto {
    pub label: String,
    pub adapter: String,
    pub reason: String,
    pub bond_count: usize,
    pub generation: u64,
    pub at: String,
}

/// The envelope, as it goes out. An answer of more than `octets_max` (or [`PUBLISH_OCTETS_MAX`])
/// becomes the error that says so.
pub fn response(
    answer: &Result<Answer, ApiError>,
    transaction: Option<&Value>,
    octets_max: usize,
) -> Vec<u8> {
    let octets_max = octets_max.min(PUBLISH_OCTETS_MAX);
    let octets = match answer {
        Ok(data) => to_octets(&Envelope { status: "ok", error: None, data, transaction }),
        Err(error) => refusal(error, transaction),
    };
    if octets.len() <= octets_max {
        return octets;
    }
    let message = format!("the answer would have {} octets: ask for less at a time", octets.len());
    refusal(&ApiError::new(Code::TooLarge, message).with("octets_max", octets_max), transaction)
}

fn refusal(error: &ApiError, transaction: Option<&Value>) -> Vec<u8> {
    let shown = ErrorDto { code: error.code.as_str(), message: &error.message };
    to_octets(&Envelope::<Map<String, Value>> {
        status: "error",
        error: Some(shown),
        data: &error.data,
        transaction,
    })
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDto<'a>>,
    data: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<&'a Value>,
}

#[derive(Serialize)]
struct ErrorDto<'a> {
    code: &'static str,
    message: &'a str,
}

/// A document as JSON. The documents hold nothing that JSON cannot say.
pub fn to_octets<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("a document is plain data with text keys")
}
