//! When bluetoothd is asked. Sans-io.

use std::time::{Duration, Instant};

/// After it has appeared on the bus: it reads its devices one by one, and its adapters come when the
/// kernel has them ready.
const WHILE_IT_SETTLES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(30)];

/// Afterwards. Names and removals may wait that long; what is load-bearing comes from the monitor channel.
const AFTERWARDS: Duration = Duration::from_secs(15 * 60);

/// See the module text.
#[derive(Debug, Default)]
pub struct Schedule {
    present: Option<Present>,
}

#[derive(Debug)]
struct Present {
    asked_count: usize,
    next: Instant,
}

impl Schedule {
    /// bluetoothd has taken its name on the bus, or has it already.
    pub fn appeared(&mut self, now: Instant) {
        self.present = Some(Present { asked_count: 0, next: now });
    }

    /// It has left.
    pub fn vanished(&mut self) {
        self.present = None;
    }

    /// When to ask next.
    pub fn next(&self) -> Option<Instant> {
        self.present.as_ref().map(|present| present.next)
    }

    /// It has been asked.
    pub fn asked(&mut self, now: Instant) {
        if let Some(present) = &mut self.present {
            present.asked_count += 1;
            present.next = now + WHILE_IT_SETTLES.get(present.asked_count).copied().unwrap_or(AFTERWARDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_at_once_then_while_it_settles_and_then_rarely() {
        let mut now = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.next(), None);
        schedule.appeared(now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let next = schedule.next().unwrap();
            waits.push((next - now).as_secs());
            now = next;
            schedule.asked(now);
        }
        assert_eq!(waits, [0, 2, 8, 30, 900, 900]);
        schedule.vanished();
        assert_eq!(schedule.next(), None);
        schedule.appeared(now);
        assert_eq!(schedule.next(), Some(now), "a restarted one was not asked at once");
    }
}
