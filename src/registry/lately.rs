//! What other processes have loaded and set at each index since a controller took it. Sans-io.
//!
//! A manager loads its lists tens of milliseconds after a controller appears, at times before the adapter
//! is attached: what was seen until then must not be lost. Holds keys, in memory only, until the controller
//! is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::adapter::messages::{Activity, Observed};
use crate::bond::AdapterAddress;
use crate::mgmt::{ForeignLoad, RawAddress};

/// Loads remembered for one index at most: the four lists of more managers than anybody runs. Past it the oldest
/// goes.
const LOADS_PER_INDEX_MAX: usize = 64;

/// See the module text.
#[derive(Default)]
pub struct Lately {
    done: BTreeMap<u16, Vec<Observed>>,
}

impl Lately {
    /// Takes what was observed.
    pub fn take(&mut self, observed: Observed) {
        match &observed.activity {
            Activity::Reset => {
                self.done.remove(&observed.index);
            }
            Activity::Loaded { process, load } => {
                let loads = self.done.entry(observed.index).or_default();
                loads.retain(|earlier| !is_load_of(earlier, process, load));
                if loads.len() >= LOADS_PER_INDEX_MAX {
                    loads.remove(0);
                }
                loads.push(observed);
            }
            Activity::Unpaired { address } => {
                for earlier in self.done.get_mut(&observed.index).into_iter().flatten() {
                    drop_peer(earlier, *address);
                }
            }
            // Only the latest counts.
            Activity::PrivacySet { .. } => {
                let done = self.done.entry(observed.index).or_default();
                done.retain(|earlier| !matches!(earlier.activity, Activity::PrivacySet { .. }));
                done.push(observed);
            }
            // Nothing of ours is loaded before the adapter is attached, and a link that came before it says little.
            Activity::OwnLoadEnded { .. } | Activity::Evidence { .. } => {}
        }
    }

    /// What was done at this index to this adapter, in order.
    pub fn at(&self, index: u16, adapter: AdapterAddress) -> Vec<Observed> {
        let loads = self.done.get(&index).into_iter().flatten();
        loads.filter(|observed| Self::concerns(observed, adapter)).cloned().collect()
    }

    /// Whether it was this adapter that had the index then, as far as that can be told.
    pub fn concerns(observed: &Observed, adapter: AdapterAddress) -> bool {
        observed.address.is_none_or(|address| address == adapter.to_wire())
    }
}

fn is_load_of(observed: &Observed, process: &str, load: &ForeignLoad) -> bool {
    match &observed.activity {
        Activity::Loaded { process: by, load: earlier } => by == process && earlier.kind == load.kind,
        _ => false,
    }
}

fn drop_peer(observed: &mut Observed, address: RawAddress) {
    if let Activity::Loaded { load, .. } = &mut observed.activity
        && load.records.iter().any(|record| record.address == address)
    {
        Arc::make_mut(load).records.retain(|record| record.address != address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{peer, secure_ltk};
    use crate::bond::{CapturedKey, Privacy};
    use crate::mgmt::{KeyRecord, LoadKind, PrivacySetting};

    const ADAPTER: &str = "00:1A:7D:DA:71:11";
    const LOCK: &str = "C0:FF:EE:00:00:01";

    fn observed(activity: Activity) -> Observed {
        let address = Some(ADAPTER.parse::<AdapterAddress>().unwrap().to_wire());
        Observed { index: 0, address, activity }
    }

    fn loaded(process: &str, peers: &[&str]) -> Observed {
        let record = |text: &&str| KeyRecord {
            address: RawAddress::le(peer(text)),
            key: Ok((peer(text), CapturedKey::Ltk(secure_ltk(1)))),
        };
        let load = ForeignLoad { kind: LoadKind::Ltks, records: peers.iter().map(record).collect() };
        observed(Activity::Loaded { process: process.to_owned(), load: Arc::new(load) })
    }

    fn record_counts(lately: &Lately, adapter: &str) -> Vec<usize> {
        let count = |observed: Observed| match observed.activity {
            Activity::Loaded { load, .. } => load.records.len(),
            _ => usize::MAX,
        };
        lately.at(0, adapter.parse().unwrap()).into_iter().map(count).collect()
    }

    #[test]
    fn the_last_load_of_each_process_is_kept_until_the_controller_goes() {
        let mut lately = Lately::default();
        lately.take(loaded("a", &[LOCK]));
        lately.take(loaded("b", &[LOCK, "C0:FF:EE:00:00:02"]));
        lately.take(loaded("a", &[]));
        assert_eq!(record_counts(&lately, ADAPTER), [2, 0]);
        lately.take(observed(Activity::Reset));
        assert!(record_counts(&lately, ADAPTER).is_empty());
    }

    #[test]
    fn the_latest_identity_that_somebody_gave_is_kept_until_the_controller_goes() {
        let mut lately = Lately::default();
        for privacy in [Privacy::Off, Privacy::On] {
            let setting = PrivacySetting { privacy, irk: None };
            lately.take(observed(Activity::PrivacySet { process: "a".to_owned(), setting }));
        }
        let kept = lately.at(0, ADAPTER.parse().unwrap());
        let [Observed { activity: Activity::PrivacySet { setting, .. }, .. }] = &kept[..] else {
            panic!("{kept:?}")
        };
        assert_eq!(setting.privacy, Privacy::On);
        lately.take(observed(Activity::Reset));
        assert!(lately.at(0, ADAPTER.parse().unwrap()).is_empty());
    }

    #[test]
    fn a_load_for_another_controller_that_had_the_index_is_not_handed_over() {
        let mut lately = Lately::default();
        lately.take(loaded("a", &[LOCK]));
        assert!(record_counts(&lately, "00:1A:7D:DA:71:12").is_empty());
    }

    #[test]
    fn a_peer_that_was_unpaired_is_not_handed_over() {
        let mut lately = Lately::default();
        lately.take(loaded("a", &[LOCK, "C0:FF:EE:00:00:02"]));
        lately.take(observed(Activity::Unpaired { address: RawAddress::le(peer(LOCK)) }));
        assert_eq!(record_counts(&lately, ADAPTER), [1]);
    }
}
