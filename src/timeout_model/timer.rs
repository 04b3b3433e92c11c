//! When a kernel timer fires that was armed for a given delay.
//!
//! Kernel timers are coarse: they may fire late, never early, and the longer the delay the coarser they are. That is why
//! a 120 s retransmission timer takes 120.832 s at HZ=250. Times are in jiffies (1/HZ s).

/// How the kernel rounds timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The timer wheel of Linux 4.8 and later: eight times coarser a level, always rounded up.
    Wheel,
    /// The slack of earlier kernels: up to 1/256 of the delay later, to the roundest number within that.
    Slack,
}

/// Buckets of a level of the wheel (kernel: `LVL_SIZE`).
const LEVEL_SIZE: u64 = 64;
/// Bits by which a level is coarser than the one below (kernel: `LVL_CLK_SHIFT`).
const LEVEL_SHIFT: u32 = 3;
/// Levels of the wheel at HZ > 100 (kernel: `LVL_DEPTH`); the last one is out of reach here.
const LEVELS: u32 = 9;

impl Rounding {
    /// The jiffy at which a timer fires that is armed at jiffy `now` for `delay` jiffies.
    #[must_use]
    pub fn fires_at(self, now: u64, delay: u64) -> u64 {
        let expires = now + delay;
        match self {
            Self::Wheel => {
                let bucket = wheel_bucket(delay);
                (expires / bucket + 1) * bucket
            }
            Self::Slack => {
                let latest = expires + delay / 256;
                match (expires ^ latest).checked_ilog2() {
                    Some(bit) => latest >> bit << bit,
                    None => expires,
                }
            }
        }
    }
}

/// Jiffies of the wheel's bucket that takes a delay: the timer fires on a multiple of it.
///
/// A timer that is armed as one fires meets a wheel that has turned on by a jiffy already (__run_timers() advances
/// `base->clk` before it calls what has expired), so its delay counts as one less. Measured on Linux 7.3: 504 jiffies took
/// 512, a level 1 timer, where a level begins at 504.
pub(super) fn wheel_bucket(delay: u64) -> u64 {
    1 << (LEVEL_SHIFT * level(delay.saturating_sub(1)))
}

/// The level of the wheel that takes a delay: level n begins at 63 · 8^(n−1) jiffies (kernel: `LVL_START`).
fn level(delay: u64) -> u32 {
    (1..LEVELS)
        .take_while(|n| delay >= (LEVEL_SIZE - 1) << (LEVEL_SHIFT * (n - 1)))
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A timer that is armed again and again at the moment it fires, in milliseconds a round.
    fn steady(hz: u64, delay_s: u64) -> u64 {
        let first = Rounding::Wheel.fires_at(4711, delay_s * hz);
        let second = Rounding::Wheel.fires_at(first, delay_s * hz);
        (second - first) * 1000 / hz
    }

    #[test]
    fn a_timer_of_120_s_takes_what_was_seen_on_the_wire() {
        assert_eq!(steady(250, 120), 120_832);
        assert_eq!(steady(1000, 120), 122_880);
        assert_eq!(steady(100, 120), 122_880);
    }

    #[test]
    fn at_the_edge_of_a_level_the_finer_one_counts() {
        assert_eq!((wheel_bucket(63), wheel_bucket(64)), (1, 8));
        assert_eq!((wheel_bucket(504), wheel_bucket(505)), (8, 64));
        // HZ=250, first RTO 252 ms: the fourth timer, of 2.016 s, took 2.048 s.
        let start = (1 << 32) - 75_000 + 4_872;
        assert_eq!(Rounding::Wheel.fires_at(start, 504) - start, 512);
    }

    #[test]
    fn slack_rounds_to_the_roundest_number_within_a_256th() {
        assert_eq!(Rounding::Slack.fires_at(0, 255), 255);
        assert_eq!(Rounding::Slack.fires_at(0, 120_000), 120_320);
    }

    proptest! {
        #[test]
        fn timers_are_never_early_and_late_by_an_eighth_at_most(
            now in 0_u64..1 << 40,
            delay in 1_u64..100_000_000,
        ) {
            let wheel = Rounding::Wheel.fires_at(now, delay) - now;
            prop_assert!(wheel > delay && wheel <= delay + delay / 7 + 1);
            let slack = Rounding::Slack.fires_at(now, delay) - now;
            prop_assert!(slack >= delay && slack <= delay + delay / 256);
        }

        #[test]
        fn a_longer_delay_never_fires_sooner(now in 0_u64..1 << 40, delay in 1_u64..1_000_000) {
            let fires = |delay| Rounding::Wheel.fires_at(now, delay);
            prop_assert!(fires(delay) <= fires(delay + 1));
        }
    }
}
