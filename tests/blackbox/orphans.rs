//! Bonds that their manager no longer loads stay what they are, whatever becomes of the store.

use serde_json::json;

use super::coexistence::{OURS, beside_bluetoothd, kernel_comes_to_hold};
use super::scene::{HUB, Scene};
use super::simulated_scene;
use super::world::World;
use super::world_sim::SimWorld;

fn three_orphans() -> Scene<SimWorld> {
    let mut scene = simulated_scene();
    beside_bluetoothd(&mut scene);
    scene.world.stop_bluetoothd();
    scene.world.wipe_bluetoothd();
    scene.world.start_bluetoothd();
    are_orphans(&mut scene);
    scene
}

fn are_orphans(scene: &mut Scene<SimWorld>) {
    scene.state("three orphans", HUB, |state| state["orphaned"] == 3);
    kernel_comes_to_hold(scene, &[OURS]);
}

/// What is undone comes from a checkpoint on the disk.
#[test]
fn an_adoption_that_is_undone_leaves_orphans_again() {
    let mut scene = three_orphans();
    scene.ask("bonds/adopt", json!({ "adapter": HUB }));
    scene.state("no orphan", HUB, |state| state["orphaned"] == 0);
    scene.ask("bonds/undo", json!({ "adapter": HUB }));
    scene.state("three orphans again", HUB, |state| state["orphaned"] == 3);
    scene.stop_service();
    scene.start();
    scene.state("three orphans after a restart", HUB, |state| state["orphaned"] == 3);
}

#[test]
fn orphans_are_orphans_after_the_database_was_lost_and_no_load_brings_them_back() {
    let mut scene = three_orphans();
    scene.stop_service();
    std::fs::remove_dir_all(scene.setup.data_dir().join("store/sled")).unwrap();
    scene.start();
    are_orphans(&mut scene);
    // Its loads are seen again, so everything that is taken for its own is loaded with ours.
    scene.world.stop_bluetoothd();
    scene.world.start_bluetoothd();
    are_orphans(&mut scene);
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    are_orphans(&mut scene);
}
