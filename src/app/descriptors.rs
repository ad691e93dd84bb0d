//! How many files and sockets this process may have open at once.
//!
//! Without enough of them the service would run, and neither reach its broker nor store a bond: it says so at its
//! start and ends instead. Called once, before anything is opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With one adapter twenty stay open; the rest is for more adapters, exports and what snapshots need for a moment.
const NEEDED: u64 = 64;
/// For as many adapters as are kept ([`ADAPTERS_MAX`](crate::registry::actor::ADAPTERS_MAX)), with a few descriptors each.
const WANTED: u64 = 512;

/// Too few, and this process may not raise the limit itself.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "only {allowed} files may be open at once, and {NEEDED} are needed. Raise the limit: LimitNOFILE= of the unit, \
     --ulimit nofile= of the container, ulimit -n in the shell"
)]
pub struct TooFew {
    allowed: u64,
}

/// Raises the soft limit as far as the hard one permits and the service may need.
pub fn reserve() -> Result<(), TooFew> {
    let limit = getrlimit(Resource::Nofile);
    let raised = raised(limit.current, limit.maximum);
    // What cannot be raised counts as it is.
    let set = setrlimit(Resource::Nofile, Rlimit { current: raised, maximum: limit.maximum });
    enough(if set.is_ok() { raised } else { limit.current })
}

/// The soft limit to ask for. None is "unlimited".
fn raised(soft: Option<u64>, hard: Option<u64>) -> Option<u64> {
    let soft = soft?;
    Some(soft.max(hard.map_or(WANTED, |hard| hard.min(WANTED))))
}

fn enough(soft: Option<u64>) -> Result<(), TooFew> {
    match soft {
        Some(allowed) if allowed < NEEDED => Err(TooFew { allowed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_up_to_the_hard_one_and_never_lowered() {
        assert_eq!(raised(Some(12), Some(12)), Some(12));
        assert_eq!(raised(Some(12), Some(100)), Some(100));
        assert_eq!(raised(Some(12), None), Some(WANTED));
        assert_eq!(raised(Some(12), Some(WANTED + 1)), Some(WANTED));
        assert_eq!(raised(Some(WANTED + 1), Some(WANTED + 2)), Some(WANTED + 1));
        assert_eq!(raised(None, None), None);
    }

    #[test]
    fn too_few_are_refused_with_what_to_do() {
        assert_eq!(enough(None), Ok(()));
        assert_eq!(enough(Some(NEEDED)), Ok(()));
        let refused = enough(Some(NEEDED - 1)).unwrap_err().to_string();
        assert!(refused.starts_with("only 63 files may be open at once, and 64 are needed"), "{refused}");
        assert!(refused.contains("LimitNOFILE="), "{refused}");
    }
}
