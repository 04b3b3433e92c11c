//! The series of a connection's retransmissions, jiffy by jiffy.

use std::time::Duration;

use super::timer::Rounding;

/// The kernel's clock and the RTO it starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Timer frequency, in hertz.
    pub hz: u64,
    /// How timers are rounded.
    pub rounding: Rounding,
    /// Jiffy of the first retransmission, as far as the timers' buckets care.
    pub start: u64,
    /// First RTO, in jiffies.
    pub first_rto: u64,
    /// Largest RTO, in jiffies.
    pub rto_max: u64,
}

impl Series {
    /// Times after the first retransmission at which the retransmission timer fires, without end.
    pub fn fires(self) -> impl Iterator<Item = Duration> {
        let Self { hz, start, .. } = self;
        let mut state = (start, self.first_rto.min(self.rto_max));
        std::iter::repeat_with(move || {
            // The back-off doubles the RTO before the timer is armed again.
            let rto = (state.1 * 2).min(self.rto_max);
            state = (self.rounding.fires_at(state.0, rto), rto);
            jiffies(state.0 - start, hz)
        })
    }

    /// Time after the first retransmission at which the connection is given up, with retransmissions bound to `bound`
    /// (retransmits_timed_out(): the first timer that fires after it).
    #[must_use]
    pub fn gives_up(self, bound: Duration) -> Duration {
        // The series grows by an RTO each time, so it passes every bound.
        self.fires().find(|t| *t >= bound).unwrap_or(bound)
    }

    /// The same with a TCP_USER_TIMEOUT of `limit`: it takes the bound's place, counts from the first retransmission too,
    /// and every timer is cut short so as not to pass it (tcp_clamp_rto_to_user_timeout()).
    #[must_use]
    pub fn gives_up_by_user_timeout(self, limit: Duration) -> Duration {
        // The kernel has 32 bits of milliseconds for it; a record may say anything.
        let limit = limit.min(Duration::from_millis(u32::MAX.into()));
        let limit = in_jiffies_up(limit, self.hz);
        let (mut now, mut rto) = (self.start, self.first_rto.min(self.rto_max));
        while now - self.start < limit {
            rto = (rto * 2).min(self.rto_max);
            let left = limit - (now - self.start);
            now = self.rounding.fires_at(now, rto.min(left));
        }
        jiffies(now - self.start, self.hz)
    }
}

/// The time that `count` jiffies take.
pub(super) fn jiffies(count: u64, hz: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / hz))
}

/// The jiffies of a time, rounded up as the kernel does (msecs_to_jiffies()).
pub(super) fn in_jiffies_up(time: Duration, hz: u64) -> u64 {
    let jiffies = (time.as_micros() * u128::from(hz)).div_ceil(1_000_000);
    u64::try_from(jiffies).unwrap_or(u64::MAX >> 8)
}
