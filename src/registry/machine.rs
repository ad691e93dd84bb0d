//! Controller index ↔ identity address. Sans-io.
//!
//! Events of the kernel can be lost without a trace when a socket's queue is full, and an index
//! is given to the next controller the moment its last owner is gone. So nothing is believed for
//! good: everything is listed and read again from time to time, and a controller whose appearance
//! has changed is a controller that was replugged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::adapter::messages::{Attach, ControllerInfo};
use crate::bond::{AdapterAddress, Appearance};
use crate::mgmt::{ControllerInformation, Event, Settings};

/// How often everything is listed again. Each time wakes the idle process; an event is only lost when hundreds of
/// controllers came and went unread, as the socket's filter lets nothing else into its queue.
pub const RELIST_INTERVAL: Duration = Duration::from_secs(120);

/// How soon a list that did not come is asked for again. A controller that cannot be read or attached is tried again as
/// soon, then after twice that, and so on up to [`RELIST_INTERVAL`]: one that never answers must not keep the process awake.
pub const RELIST_AFTER_FAILURE: Duration = Duration::from_secs(15);

/// How often the kernel's tables are looked at. Seldom enough for three small files not to be noticed: nothing but
/// a fault makes a difference there, and every load is looked at by itself.
const DRIFT_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// On the timer that there is anyway, so that nothing wakes up for it.
const LISTS_PER_DRIFT_CHECK: u32 = (DRIFT_CHECK_INTERVAL.as_secs() / RELIST_INTERVAL.as_secs()) as u32;

/// Something for the shell to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send Read Index List; answer with [`RegistryMachine::listed`].
    ReadIndexList,
    /// Send Read Controller Information and look at the appearance; answer with
    /// [`RegistryMachine::information`] or [`RegistryMachine::unreadable`].
    ReadInformation {
        index: u16,
    },
    Attach {
        adapter: AdapterAddress,
        attach: Attach,
    },
    Detach {
        adapter: AdapterAddress,
    },
    /// Let every adapter look at the kernel's tables.
    CheckDrift,
    /// A controller that nothing can be stored for yet; said once an appearance.
    Waiting {
        index: u16,
        why: &'static str,
    },
}

#[derive(Debug, Default)]
struct Controller {
    appearance: Option<Appearance>,
    seen_appearing: bool,
    attached_as: Option<AdapterAddress>,
    said_waiting: bool,
    /// Information was asked for and has not come.
    reading: bool,
    /// Times in a row that it could not be read or attached.
    failure_count: u32,
}

/// See the module text.
#[derive(Default)]
pub struct RegistryMachine {
    controllers: BTreeMap<u16, Controller>,
    next_list: Option<Instant>,
    list_count: u32,
    listed_once: bool,
    outputs: VecDeque<Output>,
}

impl RegistryMachine {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`tick`](Self::tick) is due next.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next_list
    }

    /// Begins: lists what is there.
    pub fn start(&mut self, now: Instant) {
        self.list(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.next_list.is_some_and(|at| at <= now) {
            self.list(now);
        }
    }

    fn list(&mut self, now: Instant) {
        self.next_list = Some(now + RELIST_INTERVAL);
        self.outputs.push_back(Output::ReadIndexList);
        self.list_count = self.list_count.wrapping_add(1);
        if self.list_count.is_multiple_of(LISTS_PER_DRIFT_CHECK) {
            self.outputs.push_back(Output::CheckDrift);
        }
    }

    /// The list did not come, or cannot be believed.
    pub fn unlisted(&mut self, now: Instant) {
        self.next_list = Some(now + RELIST_AFTER_FAILURE);
    }

    /// An event for some index.
    pub fn event(&mut self, index: u16, event: &Event) {
        match event {
            Event::IndexAdded => {
                // The removal may have been lost.
                self.gone(index);
                self.controllers.insert(index, Controller { seen_appearing: true, ..Controller::default() });
                self.read(index);
            }
            Event::IndexRemoved => self.gone(index),
            _ => {}
        }
    }

    /// The kernel's list of configured controllers.
    pub fn listed(&mut self, indices: &[u16]) {
        let listed: BTreeSet<u16> = indices.iter().copied().collect();
        let gone: Vec<u16> =
            self.controllers.keys().copied().filter(|index| !listed.contains(index)).collect();
        for index in gone {
            self.gone(index);
        }
        for index in listed {
            // One that the first list shows was there before us; a later one came while we watched, and
            // its event was lost.
            let seen_appearing = self.listed_once;
            self.controllers
                .entry(index)
                .or_insert_with(|| Controller { seen_appearing, ..Controller::default() });
            self.read(index);
        }
        self.listed_once = true;
    }

    fn read(&mut self, index: u16) {
        if let Some(controller) = self.controllers.get_mut(&index)
            && !controller.reading
        {
            controller.reading = true;
            self.outputs.push_back(Output::ReadInformation { index });
        }
    }

    /// The controller could not be read: it has gone again, or a list before long will show.
    pub fn unreadable(&mut self, index: u16, now: Instant) {
        if let Some(controller) = self.controllers.get_mut(&index) {
            controller.reading = false;
            self.list_soon(index, now);
        }
    }

    fn list_soon(&mut self, index: u16, now: Instant) {
        let Some(controller) = self.controllers.get_mut(&index) else { return };
        let wait = RELIST_AFTER_FAILURE.saturating_mul(2u32.saturating_pow(controller.failure_count));
        controller.failure_count = controller.failure_count.saturating_add(1);
        let at = now + wait.min(RELIST_INTERVAL);
        self.next_list = Some(self.next_list.map_or(at, |next| next.min(at)));
    }

    /// What the controller at this index says of itself, and in which appearance.
    pub fn information(
        &mut self,
        index: u16,
        information: &ControllerInformation,
        appearance: Option<Appearance>,
    ) {
        let Some(controller) = self.controllers.get_mut(&index) else { return };
        controller.reading = false;
        let identity = information.identity().ok();
        let replugged = controller.appearance.is_some() && controller.appearance != appearance;
        let renamed = controller.attached_as.is_some() && controller.attached_as != identity;
        if replugged || renamed {
            self.gone(index);
            self.controllers.insert(index, Controller { seen_appearing: true, ..Controller::default() });
        }
        let taken = identity.is_some_and(|identity| {
            self.controllers.values().any(|other| other.attached_as == Some(identity))
        });
        let Some(controller) = self.controllers.get_mut(&index) else { return };
        controller.appearance.clone_from(&appearance);
        if controller.attached_as.is_some() {
            controller.failure_count = 0;
            return;
        }
        let waiting = match identity {
            None => Some(
                "it has no address yet (00:00:00:00:00:00 or FF:FF:FF:FF:FF:FF); bonds can be stored once it has one",
            ),
            Some(_) if taken => {
                Some("another controller with the same address is plugged in; unplug one of them")
            }
            Some(_) => None,
        };
        if let Some(why) = waiting {
            if !controller.said_waiting {
                controller.said_waiting = true;
                self.outputs.push_back(Output::Waiting { index, why });
            }
            return;
        }
        let Some(address) = identity else { return };
        controller.attached_as = Some(address);
        let info = ControllerInfo {
            address,
            name: information.name.clone(),
            powered: information.current.is_powered(),
            privacy: information.current.contains(Settings::PRIVACY),
            bredr: information.supports_bredr(),
        };
        let seen_appearing = controller.seen_appearing;
        let attach = Attach { index, info, appearance, seen_appearing, lately: Vec::new() };
        self.outputs.push_back(Output::Attach { adapter: address, attach });
    }

    /// The adapter could not be attached; a list before long tries again.
    pub fn attach_failed(&mut self, index: u16, now: Instant) {
        if let Some(controller) = self.controllers.get_mut(&index) {
            controller.attached_as = None;
            self.list_soon(index, now);
        }
    }

    fn gone(&mut self, index: u16) {
        let Some(controller) = self.controllers.remove(&index) else { return };
        if let Some(adapter) = controller.attached_as {
            self.outputs.push_back(Output::Detach { adapter });
        }
        // A twin that had to wait can take its place now.
        let waiting = self.controllers.iter().filter(|(_, other)| other.said_waiting);
        for index in waiting.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.read(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00:1A:7D:DA:71:11";
    const TWO: &str = "00:1A:7D:DA:71:12";

    fn information(address: &str) -> ControllerInformation {
        let octets: Vec<u8> =
            address.split(':').rev().map(|part| u8::from_str_radix(part, 16).unwrap()).collect();
        ControllerInformation {
            address: octets.try_into().unwrap(),
            bluetooth_version: 9,
            manufacturer: 2,
            supported: Settings(0),
            current: Settings(0),
            class_of_device: [0; 3],
            name: "hub".to_owned(),
            short_name: String::new(),
        }
    }

    fn appearance(inode: u64) -> Option<Appearance> {
        Some(Appearance { boot_id: "b".to_owned(), inode })
    }

    struct Rig {
        machine: RegistryMachine,
        now: Instant,
    }

    impl Rig {
        fn started_with(indices: &[u16]) -> Self {
            let mut rig = Self { machine: RegistryMachine::new(), now: Instant::now() };
            rig.machine.start(rig.now);
            assert_eq!(rig.said(), ["list"]);
            rig.machine.listed(indices);
            rig
        }

        fn said(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.machine.take_output())
                .map(|output| match output {
                    Output::ReadIndexList => "list".to_owned(),
                    Output::ReadInformation { index } => format!("read {index}"),
                    Output::Attach { adapter, attach } => {
                        format!("attach {adapter} at {} seen={}", attach.index, attach.seen_appearing)
                    }
                    Output::Detach { adapter } => format!("detach {adapter}"),
                    Output::CheckDrift => "check drift".to_owned(),
                    Output::Waiting { index, .. } => format!("waiting {index}"),
                })
                .collect()
        }
    }

    #[test]
    fn the_kernels_tables_are_looked_at_every_ten_minutes_on_the_timer_that_there_is() {
        let mut machine = RegistryMachine::new();
        let mut now = Instant::now();
        machine.start(now);
        let mut checks = 0;
        let end = now + 3 * DRIFT_CHECK_INTERVAL;
        while now < end {
            now += RELIST_INTERVAL;
            assert_eq!(machine.next_deadline(), Some(now));
            machine.tick(now);
            let outputs = std::iter::from_fn(|| machine.take_output());
            checks += outputs.filter(|output| matches!(output, Output::CheckDrift)).count();
        }
        assert_eq!(checks, 3);
    }

    #[test]
    fn an_adapter_that_was_there_is_attached_as_not_seen_appearing() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        assert_eq!(rig.said(), ["read 0".to_owned(), format!("attach {ONE} at 0 seen=false")]);
    }

    #[test]
    fn an_index_that_changes_hands_detaches_one_adapter_and_attaches_the_other() {
        let mut rig = Rig::started_with(&[]);
        rig.machine.event(0, &Event::IndexAdded);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.machine.event(0, &Event::IndexRemoved);
        rig.machine.event(0, &Event::IndexAdded);
        rig.machine.information(0, &information(TWO), appearance(2));
        let expected = [
            "read 0".to_owned(),
            format!("attach {ONE} at 0 seen=true"),
            format!("detach {ONE}"),
            "read 0".to_owned(),
            format!("attach {TWO} at 0 seen=true"),
        ];
        assert_eq!(rig.said(), expected);
    }

    #[test]
    fn a_replug_whose_events_were_lost_is_found_by_the_next_list() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.said();
        rig.now += RELIST_INTERVAL;
        rig.machine.tick(rig.now);
        rig.machine.listed(&[0]);
        rig.machine.information(0, &information(ONE), appearance(2));
        let expected = [
            "list".to_owned(),
            "read 0".to_owned(),
            format!("detach {ONE}"),
            format!("attach {ONE} at 0 seen=true"),
        ];
        assert_eq!(rig.said(), expected);
    }

    #[test]
    fn a_list_that_did_not_come_is_asked_for_again_sooner() {
        let mut rig = Rig::started_with(&[]);
        rig.said();
        rig.now += RELIST_INTERVAL;
        rig.machine.tick(rig.now);
        rig.machine.unlisted(rig.now);
        assert_eq!(rig.said(), ["list"]);
        rig.now += RELIST_AFTER_FAILURE;
        rig.machine.tick(rig.now);
        assert_eq!(rig.said(), ["list"]);
        assert_eq!(rig.machine.next_deadline(), Some(rig.now + RELIST_INTERVAL));
    }

    #[test]
    fn a_list_that_shows_nothing_new_changes_nothing() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.said();
        rig.machine.listed(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        assert_eq!(rig.said(), ["read 0"]);
    }

    #[test]
    fn a_removal_whose_event_was_lost_is_found_by_the_next_list() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.said();
        rig.machine.listed(&[]);
        assert_eq!(rig.said(), [format!("detach {ONE}")]);
    }

    #[test]
    fn a_controller_without_an_address_waits_and_is_said_once() {
        let mut rig = Rig::started_with(&[0]);
        for _ in 0..3 {
            rig.machine.information(0, &information("00:00:00:00:00:00"), appearance(1));
            rig.machine.listed(&[0]);
        }
        let said = rig.said();
        assert_eq!(said.iter().filter(|line| *line == "waiting 0").count(), 1);
        rig.machine.information(0, &information(ONE), appearance(1));
        assert_eq!(rig.said(), [format!("attach {ONE} at 0 seen=false")]);
    }

    #[test]
    fn a_twin_waits_until_the_first_is_gone() {
        let mut rig = Rig::started_with(&[0, 1]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.machine.information(1, &information(ONE), appearance(2));
        rig.machine.event(0, &Event::IndexRemoved);
        rig.machine.information(1, &information(ONE), appearance(2));
        let said = rig.said();
        assert_eq!(
            said[2..],
            [
                format!("attach {ONE} at 0 seen=false"),
                "waiting 1".to_owned(),
                format!("detach {ONE}"),
                "read 1".to_owned(),
                format!("attach {ONE} at 1 seen=false"),
            ]
        );
    }

    #[test]
    fn an_adapter_that_could_not_be_attached_is_tried_again_with_the_next_list() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.machine.attach_failed(0, rig.now);
        rig.said();
        rig.machine.listed(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        assert_eq!(rig.said(), ["read 0".to_owned(), format!("attach {ONE} at 0 seen=false")]);
    }

    #[test]
    fn an_unreadable_controller_is_read_again_with_the_next_list() {
        let mut rig = Rig::started_with(&[0]);
        rig.machine.unreadable(0, rig.now);
        rig.said();
        rig.machine.listed(&[0]);
        assert_eq!(rig.said(), ["read 0"]);
    }

    #[test]
    fn what_fails_is_tried_again_soon_and_less_often_while_it_goes_on_failing() {
        let mut rig = Rig::started_with(&[0]);
        let mut now = rig.now;
        let mut waits = Vec::new();
        for round in 0..6 {
            if round % 2 == 0 {
                rig.machine.unreadable(0, now);
            } else {
                rig.machine.information(0, &information(ONE), appearance(1));
                rig.machine.attach_failed(0, now);
            }
            let next = rig.machine.next_deadline().unwrap();
            waits.push((next - now).as_secs());
            now = next;
            rig.machine.tick(now);
            rig.machine.listed(&[0]);
        }
        assert_eq!(waits, [15, 30, 60, 120, 120, 120]);
        // One list on which all is well ends that.
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.machine.tick(now + RELIST_INTERVAL);
        rig.machine.listed(&[0]);
        rig.machine.information(0, &information(ONE), appearance(1));
        rig.machine.unreadable(0, now + RELIST_INTERVAL);
        assert_eq!(rig.machine.next_deadline().unwrap() - now, RELIST_INTERVAL + RELIST_AFTER_FAILURE);
    }
}
