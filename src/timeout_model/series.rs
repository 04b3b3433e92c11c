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
    /// Retransmissions after each of which the RTO is the first one again; 0 = it doubles from the first one on.
    pub linear: u32,
}

impl Series {
    /// Times after the first retransmission at which the retransmission timer fires, without end.
    pub fn fires(self) -> impl Iterator<Item = Duration> {
        let Self { hz, start, .. } = self;
        let (mut now, mut rtos) = (start, self.rtos());
        std::iter::repeat_with(move || {
            now = self
                .rounding
                .fires_at(now, rtos.next().unwrap_or(self.rto_max));
            jiffies(now - start, hz)
        })
    }

    /// The RTO after each retransmission, without end: the back-off doubles it before the timer is armed again, unless the
    /// flow is thin (tcp_retransmit_timer()).
    fn rtos(self) -> impl Iterator<Item = u64> {
        let (mut rto, mut sent) = (self.first_rto.min(self.rto_max), 0);
        std::iter::repeat_with(move || {
            sent += 1;
            if sent > self.linear {
                rto = (rto * 2).min(self.rto_max);
            }
            rto
        })
    }

    /// All that is sent after the first retransmission until the connection is given up, and when that is.
    pub(super) fn until_given_up(self, limit: Until) -> (Vec<Duration>, Duration) {
        match limit {
            Until::Bound(bound) => {
                let sent: Vec<_> = self.fires().take_while(|at| *at < bound).collect();
                (sent, self.gives_up(bound))
            }
            Until::UserTimeout(limit) => {
                let mut sent = self.fires_by_user_timeout(limit);
                let end = sent.pop().unwrap_or_default();
                (sent, end)
            }
        }
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
        let fires = self.fires_by_user_timeout(limit);
        fires.last().copied().unwrap_or_default()
    }

    /// When the timer fires with a TCP_USER_TIMEOUT; with the last of it the connection is given up.
    fn fires_by_user_timeout(self, limit: Duration) -> Vec<Duration> {
        // The kernel has 32 bits of milliseconds for it; a record may say anything.
        let limit = limit.min(Duration::from_millis(u32::MAX.into()));
        let limit = in_jiffies_up(limit, self.hz);
        let (mut now, mut rtos, mut fires) = (self.start, self.rtos(), Vec::new());
        while now - self.start < limit {
            let rto = rtos.next().unwrap_or(self.rto_max);
            let left = limit - (now - self.start);
            now = self.rounding.fires_at(now, rto.min(left));
            fires.push(jiffies(now - self.start, self.hz));
        }
        fires
    }
}

/// What ends a series of retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Until {
    /// The first timer that fires after this time.
    Bound(Duration),
    /// TCP_USER_TIMEOUT.
    UserTimeout(Duration),
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
