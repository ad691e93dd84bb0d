//! Every limit of the public contract, each with its reason. They are published in `bridge/info`.

use serde::Serialize;

/// Octets of a request body. The largest ordinary request names [`PEERS_MAX`] peers, about 40 KiB.
pub const REQUEST_OCTETS_MAX: usize = 64 * 1024;

/// Octets of a `bonds/restore` body, which may carry a whole file: some 1,500 bonds with every
/// key they can have. What is larger goes through the export folder.
pub const RESTORE_OCTETS_MAX: usize = 1024 * 1024;

/// Octets of anything published. Brokers disconnect a client that sends more than they take;
/// 2,000,000 is the smallest default of a broker that users run.
pub const PUBLISH_OCTETS_MAX: usize = 1024 * 1024;

/// Octets of `transaction` as JSON: room for any UUID or counter. It is kept for as long as the
/// request runs and comes back in the answer.
pub const TRANSACTION_OCTETS_MAX: usize = 256;

/// Octets of a verb: more than twice the longest there is. A verb becomes part of a topic.
pub const VERB_OCTETS_MAX: usize = 64;

/// Bonds that `bonds/list` gives where the request does not say.
pub const LIST_LIMIT_DEFAULT: usize = 100;

/// Bonds in one answer of `bonds/list`: about 350 KiB.
pub const LIST_LIMIT_MAX: usize = 500;

/// Bonds on the retained `bonds` topic; past it the list is marked as truncated. It is published
/// again with every change, so it has to stay of a size that a small host can afford.
pub const BONDS_TOPIC_MAX: usize = 500;

/// Peers, report lines and results in one list of an answer; the counts beside it are always whole.
pub const REPORT_LINES_MAX: usize = 500;

/// Peers in a `bonds_restored` event: enough to recognise what happened, and far below what Home
/// Assistant keeps as attributes (16,384 octets).
pub const EVENT_PEERS_MAX: usize = 20;

/// Peers that one request may name.
pub const PEERS_MAX: usize = 500;

/// Recipients that one export may be sealed for.
pub const RECIPIENTS_MAX: usize = 16;

/// Octets of a file name or a checkpoint's label: below every file system's limit with room for an
/// ending.
pub const NAME_OCTETS_MAX: usize = 128;

/// Octets of the words that a client gives a checkpoint: the store has as much room for a reason.
pub const CHECKPOINT_LABEL_OCTETS_MAX: usize = 40;

/// Adapters that a restore may map from the names in its input: more than any host has.
pub const ADAPTER_NAMES_MAX: usize = 32;

/// Octets of any other text in a request (a format's name, a plan's id, a recipient).
pub const TEXT_OCTETS_MAX: usize = 256;

/// Requests that may be in progress at once; further ones are answered with `busy`. Adapters carry
/// out one command at a time, so more would only wait.
pub const REQUESTS_IN_PROGRESS_MAX: usize = 16;

/// The limits that clients can run into, as `bridge/info` lists them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LimitsDto {
    pub request_octets: usize,
    pub restore_octets: usize,
    pub response_octets: usize,
    pub transaction_octets: usize,
    pub list_limit: usize,
    pub bonds_topic: usize,
    pub peers: usize,
    pub requests_in_progress: usize,
}

impl LimitsDto {
    /// The limits as they are compiled in.
    pub const CURRENT: Self = Self {
        request_octets: REQUEST_OCTETS_MAX,
        restore_octets: RESTORE_OCTETS_MAX,
        response_octets: PUBLISH_OCTETS_MAX,
        transaction_octets: TRANSACTION_OCTETS_MAX,
        list_limit: LIST_LIMIT_MAX,
        bonds_topic: BONDS_TOPIC_MAX,
        peers: PEERS_MAX,
        requests_in_progress: REQUESTS_IN_PROGRESS_MAX,
    };
}
