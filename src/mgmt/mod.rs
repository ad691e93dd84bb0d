//! The kernel's Bluetooth management protocol.
//!
//! Octets come in, typed events go out ([`Incoming`]); typed commands go in, frames come out
//! ([`Command`]); [`Session`] matches the two. [`monitor`] reads what other processes send.
//! All of that is pure: no IO, clock or randomness, time is an argument. [`socket`] does the IO
//! and holds the only `unsafe` of the crate.
//!
//! Must never answer a pairing prompt (another program owns that conversation), must never send
//! a record that a kernel might refuse, and must never let key octets into `Debug` or an error.
//! Driven by `adapter/`, `registry/` and `watch/`.
//!
//! Sources named in the tables of this module: `[MGMT …]` is the management interface description
//! (the name of the command or event), `[LINUX …]` a file of the kernel, `[CORE …]` the Bluetooth
//! Core Specification. All numbers on the wire are little endian.

pub mod command;
pub mod debugfs;
pub mod event;
pub mod filter;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod hci;
pub mod key_report;
pub mod load;
pub mod monitor;
pub mod opcode;
pub mod privacy;
pub mod pump;
pub mod record;
pub mod reply;
pub mod session;
pub mod settings;
pub mod socket;
pub mod status;
#[cfg(test)]
mod vectors;

pub use command::{Command, IoCapability};
pub use event::{DisconnectReason, Event, Incoming, Prompt};
pub use frame::{DecodeError, INDEX_NONE};
pub use key_report::{KeyReport, SkipReason};
pub use load::{Built, LoadKind, LoadList, Refusal, RefusalReason};
pub use monitor::{ForeignCommand, ForeignLoad, MonitorFrame, MonitorRecord};
pub use opcode::Opcode;
pub use privacy::PrivacySetting;
pub use record::{KeyKind, KeyRecord, RawAddress, RecordError};
pub use reply::{ControllerInformation, Reply};
pub use session::{CommandFailure, Outcome, Reception, Session, SubmitError, Submitted, Ticket};
pub use settings::Settings;
pub use socket::{Channel, Endpoint, MgmtSender, MgmtSocket, SocketError};
pub use status::Status;
