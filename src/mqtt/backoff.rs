//! How long to wait before the next attempt to connect. Pure: the jitter comes in.

use std::time::Duration;

/// The first wait: a broker that is only restarted is back by then.
pub const WAIT_MIN: Duration = Duration::from_millis(500);

/// The longest wait: how late at most we notice that the broker is back.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A connection that lasted this long was a good one, and the next wait is the shortest again. A
/// broker that accepts and throws out at once is not asked twice a second for ever.
pub const STABLE_AFTER: Duration = Duration::from_secs(20);

/// Waits that double, each with up to half of it taken off at random, so that a house full of
/// clients does not come back in one moment.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `jitter` is any random number.
    pub fn wait(&mut self, jitter: u64) -> Duration {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let whole = WAIT_MIN.saturating_mul(doubled).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        let half_us = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
        whole - Duration::from_micros(jitter % (half_us + 1))
    }

    /// A connection has ended after this long.
    pub fn connection_lasted(&mut self, lasted: Duration) {
        if lasted >= STABLE_AFTER {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_half_a_second_to_thirty() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.wait(0).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        for _ in 0..100 {
            assert_eq!(backoff.wait(0), WAIT_MAX);
        }
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        for jitter in [1, 7_777, 250_000, 250_001, u64::MAX] {
            let wait = Backoff::default().wait(jitter);
            assert!(wait >= WAIT_MIN / 2 && wait <= WAIT_MIN, "{jitter}: {wait:?}");
        }
        assert_ne!(Backoff::default().wait(1), Backoff::default().wait(2));
    }

    #[test]
    fn only_a_connection_that_lasted_shortens_the_next_wait() {
        let mut backoff = Backoff::default();
        backoff.wait(0);
        backoff.wait(0);
        backoff.connection_lasted(STABLE_AFTER - Duration::from_millis(1));
        assert_eq!(backoff.wait(0), WAIT_MIN * 4);
        backoff.connection_lasted(STABLE_AFTER);
        assert_eq!(backoff.wait(0), WAIT_MIN);
    }
}
