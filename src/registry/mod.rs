//! Adapters as they appear and vanish: which identity stands behind which
//! controller index. Starts an adapter actor for every adapter that is known, plugged in or not, and
//! attaches it wherever its controller shows up. Must never file anything under an index.
//! Started by `app`.

pub mod actor;
pub mod appearance;
pub mod lately;
pub mod machine;
