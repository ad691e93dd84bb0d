//! Commands that are sent, as values and as frames.
//!
//! | command | opcode | parameters |
//! |---|---|---|
//! | the four reads | 0x0001 to 0x0004 | none |
//! | Set Powered | 0x0005 | powered u8 |
//! | Disconnect | 0x0014 | address \[7\] |
//! | Get Connections | 0x0015 | none |
//! | Pair Device | 0x0019 | address \[7\], IO capability u8 |
//! | Cancel Pair Device | 0x001A | address \[7\] |
//! | Unpair Device | 0x001B | address \[7\], disconnect u8 |
//! | Set Privacy | 0x002F | privacy u8, local IRK \[16\] |
//! | the loads | | see [`load`](super::load) |
//!
//! Source: the commands of these names in `[MGMT]`.

use zeroize::Zeroizing;

use super::frame::{HEADER_OCTETS, put_header};
use super::load::LoadList;
use super::opcode::{CommandSpec, Opcode};
use super::privacy::PrivacySetting;
use super::record::{ADDRESS_INFO_OCTETS, RawAddress};
use super::status::Status;

/// Octets of the longest frame: the header and as many parameters as its length field can say.
pub const FRAME_OCTETS_MAX: usize = HEADER_OCTETS + u16::MAX as usize;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    ReadVersion,
    ReadCommands,
    ReadIndexList,
    ReadInfo,
    SetPowered(bool),
    /// Gives the controller its own identity; a powered one refuses.
    SetPrivacy(PrivacySetting),
    /// Replaces one of the kernel's lists.
    Load(LoadList),
    Disconnect {
        peer: RawAddress,
    },
    GetConnections,
    PairDevice {
        peer: RawAddress,
        io_capability: IoCapability,
    },
    CancelPairDevice {
        peer: RawAddress,
    },
    /// Drops the peer's keys; an unpowered adapter refuses and keeps them.
    UnpairDevice {
        peer: RawAddress,
        disconnect: bool,
    },
}

/// What the user of a pairing can see and press. [MGMT Pair Device]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoCapability {
    DisplayOnly = 0,
    DisplayYesNo = 1,
    KeyboardOnly = 2,
    NoInputNoOutput = 3,
    KeyboardDisplay = 4,
}

impl Command {
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::ReadVersion => Opcode::READ_VERSION,
            Self::ReadCommands => Opcode::READ_COMMANDS,
            Self::ReadIndexList => Opcode::READ_INDEX_LIST,
            Self::ReadInfo => Opcode::READ_INFO,
            Self::SetPowered(_) => Opcode::SET_POWERED,
            Self::SetPrivacy(_) => Opcode::SET_PRIVACY,
            Self::Load(list) => list.kind().opcode(),
            Self::Disconnect { .. } => Opcode::DISCONNECT,
            Self::GetConnections => Opcode::GET_CONNECTIONS,
            Self::PairDevice { .. } => Opcode::PAIR_DEVICE,
            Self::CancelPairDevice { .. } => Opcode::CANCEL_PAIR_DEVICE,
            Self::UnpairDevice { .. } => Opcode::UNPAIR_DEVICE,
        }
    }

    /// Its row of the command table.
    pub fn spec(&self) -> &'static CommandSpec {
        self.opcode().spec().expect("the table has a row for every command that can be built")
    }

    /// The whole frame, for one datagram. Wiped on drop, as it may hold keys.
    pub fn encode(&self, index: u16) -> Zeroizing<Vec<u8>> {
        let octets = self.parameter_octets();
        // The full length at once: a vector that grows would leave copies of keys behind.
        let mut frame = Zeroizing::new(Vec::with_capacity(HEADER_OCTETS + octets));
        // The longest parameters are those of a full load, which fit by its limits.
        put_header(&mut frame, self.opcode().0, index, u16::try_from(octets).unwrap_or(u16::MAX));
        match self {
            Self::ReadVersion
            | Self::ReadCommands
            | Self::ReadIndexList
            | Self::ReadInfo
            | Self::GetConnections => {}
            Self::SetPowered(powered) => frame.push(u8::from(*powered)),
            Self::SetPrivacy(setting) => setting.put(&mut frame),
            Self::Load(list) => list.put(&mut frame),
            Self::Disconnect { peer } | Self::CancelPairDevice { peer } => peer.put(&mut frame),
            Self::PairDevice { peer, io_capability } => {
                peer.put(&mut frame);
                frame.push(*io_capability as u8);
            }
            Self::UnpairDevice { peer, disconnect } => {
                peer.put(&mut frame);
                frame.push(u8::from(*disconnect));
            }
        }
        debug_assert_eq!(frame.len(), HEADER_OCTETS + octets);
        frame
    }

    fn parameter_octets(&self) -> usize {
        match self {
            Self::ReadVersion
            | Self::ReadCommands
            | Self::ReadIndexList
            | Self::ReadInfo
            | Self::GetConnections => 0,
            Self::SetPowered(_) => 1,
            Self::SetPrivacy(_) => PrivacySetting::OCTETS,
            Self::Load(list) => list.parameter_octets(),
            Self::Disconnect { .. } | Self::CancelPairDevice { .. } => ADDRESS_INFO_OCTETS,
            Self::PairDevice { .. } | Self::UnpairDevice { .. } => ADDRESS_INFO_OCTETS + 1,
        }
    }
}

/// Whether the kernel trusts a socket, asked without touching any controller: Get Connections for no
/// controller. The kernel checks the permission before the index `[LINUX net/bluetooth/hci_sock.c
/// hci_mgmt_cmd]`, so a socket without CAP_NET_ADMIN is told Permission Denied and any other one
/// Invalid Index. `bind` tells nothing, it succeeds without the capability.
pub const TRUST_PROBE: Command = Command::GetConnections;

/// Reads the answer to [`TRUST_PROBE`], sent with [`INDEX_NONE`](super::INDEX_NONE).
pub const fn is_trusted(answer: Status) -> bool {
    !matches!(answer, Status::PermissionDenied)
}
