//! The monitor channel: who else talks to the kernel's management interface, and
//! what they load. Sees other processes' keys and must never keep or show them beyond what it hands on.
//! Tells the registry, which tells the adapters. Started by `app`.

pub mod actor;
pub mod links;
pub mod machine;
