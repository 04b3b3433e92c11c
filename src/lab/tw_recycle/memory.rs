//! The check itself: what was last seen of a source, and which SYNs are behind it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// For how long a source's timestamp is remembered (the kernel's TCP_PAWS_MSL).
const REMEMBERED: Duration = Duration::from_secs(60);
/// By how much a timestamp may be behind (the kernel's TCP_PAWS_WINDOW), in ticks of the sender's clock.
const WINDOW: i32 = 1;

/// The last timestamp of each source.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: HashMap<IpAddr, Seen>,
}

/// A timestamp, and when it was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    value: u32,
    at: Duration,
}

impl Memory {
    /// Whether a SYN from `source` with the timestamp `value` is let in at `now`. If it is, its timestamp is remembered.
    pub(super) fn lets_in(&mut self, source: IpAddr, value: u32, now: Duration) -> bool {
        if let Some(seen) = self.last.get(&source)
            && now.saturating_sub(seen.at) < REMEMBERED
            && behind(value, seen.value) > WINDOW
        {
            return false;
        }
        self.last.insert(source, Seen { value, at: now });
        true
    }
}

/// By how much `value` is behind `last`, on a clock of 32 bits that begins anew; negative if it is ahead.
fn behind(value: u32, last: u32) -> i32 {
    last.wrapping_sub(value).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// What comes of a second SYN, so much later and with a timestamp so much lower.
    fn second(first: u32, lower: u32, later: Duration) -> bool {
        let mut memory = Memory::default();
        assert!(memory.lets_in(ONE, first, Duration::ZERO));
        memory.lets_in(ONE, first.wrapping_sub(lower), later)
    }

    #[test]
    fn one_tick_behind_is_let_in_and_two_are_not() {
        let later = Duration::from_secs(1);
        assert!(second(1000, 1, later));
        assert!(!second(1000, 2, later));
    }

    #[test]
    fn after_a_minute_all_is_forgotten() {
        assert!(!second(1000, 500, REMEMBERED - Duration::from_nanos(1)));
        assert!(second(1000, 500, REMEMBERED));
    }

    #[test]
    fn a_dropped_syn_is_not_remembered() {
        let mut memory = Memory::default();
        assert!(memory.lets_in(ONE, 1000, Duration::ZERO));
        assert!(!memory.lets_in(ONE, 10, Duration::from_secs(40)));
        // Neither its value nor its time: a minute after the first one the address is free.
        assert!(!memory.lets_in(ONE, 20, Duration::from_secs(59)));
        assert!(memory.lets_in(ONE, 20, Duration::from_secs(60)));
    }

    #[test]
    fn each_source_has_its_own() {
        let mut memory = Memory::default();
        assert!(memory.lets_in(ONE, 1000, Duration::ZERO));
        assert!(memory.lets_in(OTHER, 10, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn a_syn_is_dropped_if_and_only_if_it_is_behind_by_more_than_one_within_a_minute(
            first: u32,
            lower: u32,
            later in 0_u64..120_000,
        ) {
            // From half the clock's range on it reads as ahead.
            let is_behind = (2..1 << 31).contains(&lower);
            let later = Duration::from_millis(later);
            prop_assert_eq!(second(first, lower, later), !(is_behind && later < REMEMBERED));
        }

        #[test]
        fn whoever_s_clock_only_runs_on_is_never_dropped(
            start: u32,
            steps in proptest::collection::vec(0_u32..1 << 20, 0..40),
        ) {
            let (mut memory, mut value, mut now) = (Memory::default(), start, Duration::ZERO);
            for step in steps {
                value = value.wrapping_add(step);
                now += Duration::from_millis(step.into());
                prop_assert!(memory.lets_in(ONE, value, now));
            }
        }
    }
}
