//! TCP keepalive, probe by probe.

use std::time::Duration;

use super::kernel::{Kernel, hull};
use super::series::{in_jiffies_up, jiffies};
use super::timer::{Rounding, wheel_bucket};
use crate::plan::{Keepalive, LONGEST_CASE, Window};

/// A longer time outlasts every case, whatever exactly it is.
const ENDLESS: Duration = Duration::from_secs(2 * LONGEST_CASE.as_secs());

/// Probes of a pause that are followed one by one; of a longer one only where in its rhythm of probes it ends is open.
const FOLLOWED: u32 = 200;

/// From a peer's death until keepalive gives up the connection to it (tcp_keepalive_timer()). The last data came `rested`
/// before the death, and nothing is outstanding; probes in between were answered after `rtt`.
///
/// The timer is not armed anew by every segment: it fires when it was to fire, sees how long ago the last one came, and
/// waits for the rest. So the first probe is late by what rounding makes of a delay that may be short. After a probe it waits
/// for an interval, answered or not: of a connection that was probed in an earlier rest already (`probed_before`), the first
/// probe of this one may come as late as that. With TCP_USER_TIMEOUT the count is ignored: the first timer after that time at which a
/// probe is unanswered ends it.
#[must_use]
pub fn keepalive(
    keepalive: &Keepalive,
    user_timeout: Option<Duration>,
    rtt: Duration,
    rested: Window,
    probed_before: bool,
    kernel: Kernel,
) -> Window {
    // A record may say anything, and the kernel counts in whole seconds.
    let told = |time: Duration| time.clamp(Duration::from_secs(1), ENDLESS);
    let keepalive = Keepalive {
        idle: told(keepalive.idle),
        interval: told(keepalive.interval),
        count: keepalive.count.max(1),
    };
    let period = keepalive.idle.max(keepalive.interval);
    let rested = match rested.max > period * FOLLOWED {
        true => Window::of(keepalive.idle, keepalive.idle + period * 3),
        false => rested,
    };
    kernel.around(period, |hz, start| {
        let of = |time| in_jiffies_up(time, hz);
        let idle = of(keepalive.idle);
        let latest = match probed_before {
            true => idle.max(of(keepalive.interval)),
            false => idle,
        };
        let limit = user_timeout.map(of);
        let interval = of(keepalive.interval);
        let (soonest, latest) = (start + idle, Rounding::Wheel.fires_at(start, latest));
        // Of a first probe in between, what matters is whether the timers after it just miss the user timeout, or just don't.
        let missed = limit.map(|limit| misses(start + limit, interval, latest));
        let firsts = missed
            .into_iter()
            .flatten()
            .take_while(|first| *first >= soonest)
            .flat_map(|first| [first, first + 1])
            .filter(|first| *first < latest)
            .chain([soonest, soonest + (latest - soonest) / 2, latest]);
        let each = firsts.map(|first| {
            let probing = Probing {
                idle,
                interval,
                count: keepalive.count,
                limit,
                rtt: of(rtt),
                start,
                first,
            };
            probing.ends(of(rested.min), of(rested.max), hz)
        });
        each.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .unwrap_or_default()
    })
}

/// The latest moments of a first probe after which the first, the second, the third … timer still fires before `limit`, from
/// about `latest` on.
fn misses(limit: u64, interval: u64, latest: u64) -> impl Iterator<Item = u64> {
    let bucket = wheel_bucket(interval);
    // From the second timer on, all of them fire on the bucket's multiples.
    let period = (interval / bucket + 1) * bucket;
    let last = limit.saturating_sub(1);
    let later = last.saturating_sub(latest.saturating_add(interval + period)) / period;
    let fires = std::iter::successors(Some(last - later * period), move |by| {
        by.checked_sub(period)
    });
    fires.map_while(move |by| (by / bucket * bucket).checked_sub(interval + 1))
}

/// A connection at rest since jiffy `start`, whose first probe goes out at `first`. Times are in jiffies.
struct Probing {
    idle: u64,
    interval: u64,
    count: u32,
    limit: Option<u64>,
    rtt: u64,
    start: u64,
    first: u64,
}

impl Probing {
    /// From the death to the end, the earliest and the latest, of a peer that dies between `least` and `most` after the
    /// beginning.
    fn ends(&self, least: u64, most: u64, hz: u64) -> (Duration, Duration) {
        let (least, most) = (self.start + least, self.start + most);
        let probes = self.answered_until(most);
        // What matters is which probe was the last that found the peer alive, and how long before its death.
        let one_way = self.rtt / 2;
        let around = probes.iter().map(|probe| probe + one_way);
        let deaths = around.flat_map(|at| [at.saturating_sub(1), at, at + 1]);
        let deaths = deaths.filter(|at| (least..=most).contains(at));
        let deaths = deaths.chain([least, most]);
        hull(deaths.map(|death| {
            let alive = probes.iter().take_while(|probe| **probe + one_way < death);
            let end = match alive.last() {
                None => self.end(self.first, self.start),
                Some(probe) => {
                    let heard = probe + self.rtt;
                    self.end(self.next(*probe, heard), heard)
                }
            };
            jiffies(end.saturating_sub(death), hz)
        }))
    }

    /// The probes that go out until `by`, while each is answered.
    fn answered_until(&self, by: u64) -> Vec<u64> {
        let next = |probe: &u64| Some(self.next(*probe, probe + self.rtt));
        std::iter::successors(Some(self.first), next)
            .take_while(|probe| *probe <= by)
            .collect()
    }

    /// The probe after one that was answered at `heard`.
    fn next(&self, probe: u64, heard: u64) -> u64 {
        let fired = Rounding::Wheel.fires_at(probe, self.interval);
        match (heard + self.idle).checked_sub(fired) {
            Some(rest) if rest > 0 => Rounding::Wheel.fires_at(fired, rest),
            _ => fired,
        }
    }

    /// When the connection is given up whose first unanswered probe goes out at `probe`.
    fn end(&self, probe: u64, heard: u64) -> u64 {
        let over = |fires: u64, probes: u32| match self.limit {
            Some(limit) => fires.saturating_sub(heard) >= limit,
            None => probes >= self.count,
        };
        let first = Rounding::Wheel.fires_at(probe, self.interval);
        if over(first, 1) {
            return first;
        }
        let second = Rounding::Wheel.fires_at(first, self.interval);
        if over(second, 2) {
            return second;
        }
        // From here on the timer fires after equal times (see `misses`), and there may be any number of them.
        let period = Rounding::Wheel.fires_at(second, self.interval) - second;
        let more = match self.limit {
            Some(limit) => (limit + heard).saturating_sub(second).div_ceil(period),
            None => u64::from(self.count - 2),
        };
        second.saturating_add(more.saturating_mul(period))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Step by step, as the kernel's timer goes.
    fn steps(probing: &Probing, probe: u64, heard: u64) -> u64 {
        let (mut now, mut probes) = (probe, 0);
        loop {
            (now, probes) = (Rounding::Wheel.fires_at(now, probing.interval), probes + 1);
            let over = match probing.limit {
                Some(limit) => now.saturating_sub(heard) >= limit,
                None => probes >= probing.count,
            };
            if over {
                return now;
            }
        }
    }

    proptest! {
        #[test]
        fn the_end_is_reckoned_as_if_step_by_step(
            interval in 100u64..40_000,
            count in 1u32..300,
            limit in prop::option::of(1u64..2_000_000),
            probe in 0u64..1_000_000,
            ago in 0u64..200_000,
        ) {
            let probing = Probing { idle: 1, interval, count, limit, rtt: 1, start: 0, first: probe };
            let heard = probe.saturating_sub(ago);
            prop_assert_eq!(probing.end(probe, heard), steps(&probing, probe, heard));
        }
    }

    #[test]
    fn what_no_kernel_takes_is_reckoned_at_once() {
        let kernel = Kernel::default();
        for limit in [None, Some(Duration::from_secs(315_360_000))] {
            let told = Keepalive {
                idle: Duration::from_secs(0),
                interval: Duration::from_secs(0),
                count: u32::MAX,
            };
            let rested = Window::of(Duration::ZERO, Duration::from_secs(400_000));
            let window = keepalive(&told, limit, seconds(0.04), rested, true, kernel);
            assert!(window.max > Duration::from_secs(86_400), "{window:?}");
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn options(idle: u64, interval: u64, count: u32) -> Keepalive {
        Keepalive {
            idle: Duration::from_secs(idle),
            interval: Duration::from_secs(interval),
            count,
        }
    }

    /// At HZ=250, at rest for `rested` seconds.
    fn after(options: &Keepalive, user_timeout: Option<f64>, rtt: f64, rested: f64) -> (f64, f64) {
        let window = keepalive(
            options,
            user_timeout.map(seconds),
            seconds(rtt),
            Window::exactly(seconds(rested)),
            false,
            Kernel::of("7.3", Some(250)),
        );
        (window.min.as_secs_f64(), window.max.as_secs_f64())
    }

    /// At HZ=1000. An interval of 1 s is one of 16 buckets of 64 jiffies: the timers fire at multiples of that.
    #[test]
    fn a_probe_on_its_way_when_the_peer_dies_has_no_answer() {
        let probing = Probing {
            idle: 1000,
            interval: 1000,
            count: 1,
            limit: None,
            rtt: 400,
            start: 0,
            first: 1000,
        };
        let end = |death| probing.ends(death, death, 1000).0.as_millis();
        // The probe goes out at 1 s and is there at 1.2 s.
        assert_eq!(end(1100), 2048 - 1100);
        // It is answered at 1.4 s, and the timer of 2.048 s waits for the rest of the second after that: until 2.408 s.
        assert_eq!(probing.next(1000, 1400), 2408);
        assert_eq!(end(1300), 3456 - 1300);
        // An answer that came a whole second before leaves nothing to wait for.
        assert_eq!(probing.next(1000, 1048), 2048);
        assert_eq!(probing.next(1000, 1049), 2050);
    }

    #[test]
    fn it_is_idle_and_then_all_intervals() {
        let (min, max) = after(&options(30, 30, 9), None, 0.0, 0.0);
        // 30 s are 30.72 s of the wheel, of which the first may be shorter.
        assert!(
            (300.0..306.0).contains(&min) && (307.2..310.0).contains(&max),
            "{min} to {max}"
        );
    }

    #[test]
    fn a_user_timeout_takes_the_place_of_the_count() {
        let (min, max) = after(&options(15, 15, 3), Some(30.0), 0.0, 0.0);
        assert!((29.9..30.1).contains(&min) && max < 32.5, "{min} to {max}");
    }

    /// Measured on Linux 7.3 with an interval longer than the idle time: probes come every interval.
    #[test]
    fn a_probed_connection_waits_for_an_interval_first() {
        for (options, rtt, rested, measured) in [
            (options(5, 9, 2), 0.208, 17.9, 24.104),
            (options(1, 10, 1), 0.0, 3.736, 17.735),
        ] {
            let (min, max) = after(&options, None, rtt, rested);
            assert!(
                min <= measured && measured <= max,
                "{min} to {max}: {measured}"
            );
            assert!(max - min < 2.0, "{min} to {max}");
        }
    }

    /// Measured on Linux 7.3: idle 2 s, interval 16 s, TCP_USER_TIMEOUT 30 s, requests every 7 s: 40.74 s.
    #[test]
    fn the_timer_of_an_earlier_probe_may_still_run() {
        let options = options(2, 16, 2);
        let of = |probed_before| {
            let limit = Some(seconds(30.004));
            let rested = Window::exactly(seconds(0.1));
            let kernel = Kernel::of("7.3", Some(250));
            keepalive(&options, limit, seconds(0.0), rested, probed_before, kernel).max
        };
        assert!(of(false) < seconds(35.5) && of(true) > seconds(40.74));
    }

    /// Measured on Linux 7.3: idle 3 s, interval 14 s, TCP_USER_TIMEOUT 27.469 s: 39.87 s after the fault.
    #[test]
    fn a_timer_may_just_miss_the_user_timeout() {
        let options = options(3, 14, 1);
        let limit = Some(seconds(27.469));
        let kernel = Kernel::of("7.3", Some(250));
        let rested = Window::exactly(seconds(0.1));
        let window = keepalive(&options, limit, seconds(0.0), rested, true, kernel);
        assert!(
            window.max > seconds(40.9) && window.max < seconds(42.0),
            "{window:?}"
        );
    }

    #[test]
    fn of_a_long_pause_nobody_knows_which_probe_was_the_last() {
        let (min, max) = after(&options(1, 1, 1), None, 0.0, 5_000.0);
        assert!(min < 1.1 && max > 1.9 && max < 2.6, "{min} to {max}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn more_probes_never_wait_less(idle in 1_u64..1000, interval in 1_u64..100, count in 1_u32..20) {
            let of = |count| after(&options(idle, interval, count), None, 0.0, 0.0);
            prop_assert!(of(count).0 < of(count + 1).0 && of(count).1 < of(count + 1).1);
        }
    }
}
