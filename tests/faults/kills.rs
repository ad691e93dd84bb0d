//! Whatever was announced is there after a kill at any moment.

use std::time::Duration;

use super::random::Random;
use super::{amount, scene, storm};

/// How often the service is killed; more with `BONDKEEPER_TEST_KILLS`.
const KILLS: u64 = 50;

#[test]
fn every_announced_bond_is_there_after_kills_at_any_moment() {
    let kills = amount("BONDKEEPER_TEST_KILLS", KILLS);
    let mut random = Random::seeded();
    let mut scene = scene();
    scene.setup.set("LOG_LEVEL", "info");
    scene.start();
    scene.plug_hub();
    let mut number = 0;
    for kill in 0..kills {
        for _ in 0..=random.below(4) {
            number += 1;
            storm::report_pairing(&scene, number, random.below(u64::MAX));
            std::thread::sleep(Duration::from_millis(random.below(40)));
        }
        // Before, within and after the 300 ms in which a pairing is waited out, and the commit.
        std::thread::sleep(Duration::from_millis(random.below(450)));
        scene.kill_service();
        let promised = storm::announced(&scene);
        let since = scene.observer.mark();
        scene.start();
        storm::list(&scene, &format!("the bonds after kill {kill}"), since, |_| true);
        let missing: Vec<String> = promised.difference(&storm::everybody(&scene)).cloned().collect();
        assert!(missing.is_empty(), "kill {kill} has cost {missing:?}");
        // And nothing is damaged: no alarm.
        scene.observer.wait_latest_since(
            &format!("a store in order after kill {kill}"),
            "bridge/info",
            since,
            |info| info["store"]["state"] == "ok",
        );
    }
    assert!(
        storm::announced(&scene).len() as u64 > kills / 4,
        "hardly anything was announced: nothing was shown"
    );
}
