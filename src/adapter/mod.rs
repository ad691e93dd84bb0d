//! One adapter: an actor that owns its management socket and its bond table.
//!
//! `machine` (lifecycle, capture, learn, reconcile, commands), `load`, `pairing`, `shadow`, `theirs`, `drift`, `pace` and `gate` are
//! sans-io and hold every decision; `actor` moves frames and messages, `tables` reads what the kernel shows. It must never send a
//! load that the gate did not allow, answer a confirmation or a passkey, or announce what is not
//! durable. Started and stopped by `registry/`.

pub mod actor;
pub mod drift;
pub mod gate;
pub mod intake;
pub mod load;
pub mod machine;
pub mod messages;
pub mod pace;
pub mod pairing;
pub mod ports;
pub mod records;
pub mod shadow;
pub mod tables;
pub mod theirs;
