//! bondkeeper: keeps every Bluetooth bond of a Linux host safe and loads it back.

pub mod adapter;
pub mod api;
pub mod bond;
pub mod format;
pub mod mgmt;
pub mod mqtt;
pub mod registry;
pub mod store;
pub mod watch;
