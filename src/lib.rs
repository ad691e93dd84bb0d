//! bondkeeper: keeps every Bluetooth bond of a Linux host safe and loads it back.

pub mod adapter;
pub mod api;
pub mod app;
pub mod bond;
pub mod cli;
pub mod config;
pub mod format;
pub mod mgmt;
pub mod mqtt;
pub mod registry;
pub mod store;
pub mod telemetry;
pub mod watch;
