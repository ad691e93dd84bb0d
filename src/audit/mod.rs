//! The audit log: what happened to whose bonds, when, and on whose word. Append-only, bounded, without keys.
//!
//! `entry` is what is told and how a line looks, `log` the files, `actor` the shell that writes them off the
//! event loop. Adapters tell of bonds, MQTT of commands, `app` of what was found at start. Must never hold key
//! octets (there is no place for them), and must never hold up or fail what it tells of: a log that cannot
//! be written is an alarm, not an error of the bonds.
//!
//! ```text
//! <data folder>/audit.jsonl      one JSON object a line
//! <data folder>/audit.jsonl.1    its predecessor
//! ```

pub mod actor;
pub mod entry;
pub mod log;
pub mod messages;

pub use actor::AuditActor;
pub use entry::{Action, BondChange, Entry, Line};
pub use log::{History, read};
