//! What bluetoothd says over D-Bus: which peers it calls paired on which adapter, and what they are called.
//!
//! Read only: nothing is ever asked of bluetoothd but its objects, and it is never started by the
//! asking. Nor are its signals about devices followed: with a scan running there is one for each
//! advertisement, and the service would wake for all of them. It is asked when it appears on the bus, a
//! few times while it settles, and then now and then. Without a bus everything else works. Driven by `app`.

mod bus;
mod objects;
mod schedule;

pub use bus::watch;
