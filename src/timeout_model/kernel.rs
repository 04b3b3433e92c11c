//! How long the kernel's own timers of a TCP connection take.
//!
//! Figures are Linux's (net/ipv4/tcp_timer.c). Every function gives a window, since a plan knows neither the kernel's
//! HZ nor the connection's first RTO to the millisecond.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::timer::Rounding;
use crate::plan::{Keepalive, Sysctl, Window};

/// Timer frequencies Linux is built with; a plan must hold for each.
pub const HZ: [u64; 4] = [100, 250, 300, 1000];
/// TCP_RTO_MIN: the base of the bound, whatever `tcp_rto_min_us` says.
const RTO_BASE_MS: u64 = 200;
/// What a path within one machine, delayed acknowledgements (40 ms) included, adds to the smallest RTO.
const RTO_ABOVE_MIN_MS: u64 = 50;
/// Moments within the wheel's coarsest buckets from which series are tried, in milliseconds.
const PHASES_MS: [u64; 6] = [0, 3, 37, 401, 5_003, 60_013];

/// The sysctls that time a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSysctls {
    /// `net.ipv4.tcp_retries2`.
    pub retries2: u32,
    /// `net.ipv4.tcp_rto_max_ms` (Linux 6.15 and later).
    pub rto_max_ms: u64,
    /// `net.ipv4.tcp_rto_min_us`, in milliseconds.
    pub rto_min_ms: u64,
    /// `net.ipv4.tcp_syn_retries`.
    pub syn_retries: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (Linux 6.5 and later).
    pub syn_linear_timeouts: u32,
}

impl Default for TcpSysctls {
    /// The kernel's defaults.
    fn default() -> Self {
        Self {
            retries2: 15,
            rto_max_ms: 120_000,
            rto_min_ms: 200,
            syn_retries: 6,
            syn_linear_timeouts: 4,
        }
    }
}

impl TcpSysctls {
    /// The defaults, and what `sysctls` says otherwise. Values that are no numbers are the machine's to refuse.
    #[must_use]
    pub fn with(sysctls: &[Sysctl]) -> Self {
        let mut all = Self::default();
        for sysctl in sysctls {
            let Some(key) = sysctl.key.strip_prefix("net.ipv4.tcp_") else {
                continue;
            };
            let Ok(value) = sysctl.value.trim().parse::<u32>() else {
                continue;
            };
            match key {
                "retries2" => all.retries2 = value.min(255),
                "rto_max_ms" => all.rto_max_ms = u64::from(value).clamp(1_000, 120_000),
                "rto_min_us" => all.rto_min_ms = u64::from(value).div_ceil(1000).clamp(1, 120_000),
                "syn_retries" => all.syn_retries = value.clamp(1, 127),
                "syn_linear_timeouts" => all.syn_linear_timeouts = value.min(127),
                _ => {}
            }
        }
        all
    }

    /// How long retransmissions go on, from the first one: the kernel gives up when its retransmission timer next
    /// fires after this.
    #[must_use]
    pub fn retransmission_bound(&self) -> Duration {
        let linear_from = (self.rto_max_ms / RTO_BASE_MS).max(1).ilog2();
        let doubling = self.retries2.min(linear_from);
        let linear = u64::from(self.retries2 - doubling);
        Duration::from_millis(((2 << doubling) - 1) * RTO_BASE_MS + linear * self.rto_max_ms)
    }
}

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

    /// Time after the first retransmission at which the connection is given up, with retransmissions bound to `bound`.
    #[must_use]
    pub fn gives_up(self, bound: Duration) -> Duration {
        // The series grows by an RTO each time, so it passes every bound.
        self.fires().find(|t| *t >= bound).unwrap_or(bound)
    }
}

fn jiffies(count: u64, hz: u64) -> Duration {
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / hz))
}

/// From the sending of a segment that nobody acknowledges until the connection is given up.
///
/// Lower bound: no tail loss probe, so the first retransmission follows after the smallest RTO, and the timer fires on
/// the bound. Upper bound: the slowest series of any first RTO, HZ and wheel position that a lab can have.
#[must_use]
pub fn retransmission(sysctls: &TcpSysctls, user_timeout: Option<Duration>) -> Window {
    let bound = sysctls.retransmission_bound();
    let first = first_retransmission(sysctls);
    let Some(limit) = user_timeout else {
        return Window {
            min: first.min + bound,
            max: first.max + slowest(sysctls, bound),
        };
    };
    // The user timeout takes the place of the bound, and the timer is cut short to fire on it.
    Window {
        min: first.min + limit,
        max: first.max + slowest_sum(&[limit]),
    }
}

/// From a segment's sending to the first retransmission that counts: one RTO, or a tail loss probe and then one.
fn first_retransmission(sysctls: &TcpSysctls) -> Window {
    let rto_max = Duration::from_millis(sysctls.rto_min_ms + RTO_ABOVE_MIN_MS);
    Window {
        min: Duration::from_millis(sysctls.rto_min_ms),
        max: slowest_sum(&[rto_max, rto_max]),
    }
}

thread_local! {
    /// Slowest series by smallest RTO, largest RTO and bound: a large matrix asks the same few again and again.
    static SLOWEST: RefCell<HashMap<(u64, u64, Duration), Duration>> = RefCell::default();
}

fn slowest(sysctls: &TcpSysctls, bound: Duration) -> Duration {
    let key = (sysctls.rto_min_ms, sysctls.rto_max_ms, bound);
    if let Some(known) = SLOWEST.with_borrow(|all| all.get(&key).copied()) {
        return known;
    }
    let slowest = find_slowest(sysctls, bound);
    SLOWEST.with_borrow_mut(|all| all.insert(key, slowest));
    slowest
}

fn find_slowest(sysctls: &TcpSysctls, bound: Duration) -> Duration {
    let mut slowest = bound;
    for hz in HZ {
        for rto_ms in sysctls.rto_min_ms..=sysctls.rto_min_ms + RTO_ABOVE_MIN_MS {
            for phase in PHASES_MS {
                let series = Series {
                    hz,
                    rounding: Rounding::Wheel,
                    start: phase * hz / 1000,
                    first_rto: (rto_ms * hz).div_ceil(1000).max(1),
                    rto_max: (sysctls.rto_max_ms * hz).div_ceil(1000),
                };
                slowest = slowest.max(series.gives_up(bound));
            }
        }
    }
    slowest
}

/// The longest that timers of these delays, one armed as the other fires, can take.
fn slowest_sum(delays: &[Duration]) -> Duration {
    let sum = |hz: u64, phase: u64| {
        let start = phase * hz / 1000;
        let end = delays.iter().fold(start, |now, delay| {
            let delay = (delay.as_micros() * u128::from(hz)).div_ceil(1_000_000);
            Rounding::Wheel.fires_at(now, u64::try_from(delay).unwrap_or(u64::MAX >> 8))
        });
        jiffies(end - start, hz)
    };
    let all = HZ
        .iter()
        .flat_map(|hz| PHASES_MS.map(|phase| sum(*hz, phase)));
    all.max().unwrap_or_default()
}

/// From the last segment received until keepalive gives up an idle connection.
///
/// With TCP_USER_TIMEOUT the count is ignored: the first probe timer after that time ends it.
#[must_use]
pub fn keepalive(keepalive: &Keepalive, user_timeout: Option<Duration>) -> Window {
    let probes = match user_timeout {
        None => keepalive.count.max(1),
        Some(limit) => {
            let after_idle = limit.saturating_sub(keepalive.idle).as_nanos();
            let probes = after_idle.div_ceil(keepalive.interval.as_nanos().max(1));
            u32::try_from(probes).unwrap_or(u32::MAX).clamp(1, 1_000)
        }
    };
    let mut delays = vec![keepalive.idle];
    delays.extend(std::iter::repeat_n(keepalive.interval, probes as usize));
    Window {
        min: delays.iter().sum(),
        max: slowest_sum(&delays),
    }
}

/// From a SYN that nobody answers until connect() fails.
#[must_use]
pub fn connect(sysctls: &TcpSysctls, user_timeout: Option<Duration>) -> Window {
    let ones = std::iter::repeat_n(1, sysctls.syn_linear_timeouts as usize + 1);
    let longest = sysctls.rto_max_ms / 1000;
    let doubling = (1..=sysctls.syn_retries).map(|n| (1_u64 << n.min(30)).min(longest));
    let delays: Vec<Duration> = ones.chain(doubling).map(Duration::from_secs).collect();
    let kernel = Window {
        min: delays.iter().sum(),
        max: slowest_sum(&delays),
    };
    match user_timeout {
        Some(limit) if limit < kernel.min => Window {
            min: limit,
            max: slowest_sum(&[limit]).min(kernel.max),
        },
        _ => kernel,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound(retries2: u32, rto_max_ms: u64) -> f64 {
        let sysctls = TcpSysctls {
            retries2,
            rto_max_ms,
            ..TcpSysctls::default()
        };
        sysctls.retransmission_bound().as_secs_f64()
    }

    #[test]
    fn bounds_are_the_documented_ones() {
        for (retries2, seconds) in [(15, 924.6), (9, 204.6), (8, 102.2), (5, 12.6), (3, 3.0)] {
            assert_eq!(bound(retries2, 120_000), seconds, "tcp_retries2={retries2}");
        }
        assert_eq!(bound(15, 10_000), 112.6);
        assert_eq!(bound(15, 1_000), 14.4);
    }

    fn window(retries2: u32, rto_max_ms: u64) -> Window {
        let sysctls = TcpSysctls {
            retries2,
            rto_max_ms,
            ..TcpSysctls::default()
        };
        retransmission(&sysctls, None)
    }

    #[test]
    fn measured_outages_lie_in_their_windows() {
        // Measured on a 6.18 kernel (HZ=250), and under User Mode Linux (HZ=250 and 1000).
        let measured = [
            (15, 120_000, 937.8),
            (15, 120_000, 934.9),
            (15, 120_000, 939.0),
            (15, 120_000, 949.3),
            (15, 120_000, 928.1),
            (8, 120_000, 106.0),
            (8, 120_000, 108.0),
            (5, 120_000, 13.3),
            (3, 120_000, 6.7),
            (15, 10_000, 115.7),
            (15, 1_000, 15.0),
        ];
        for (retries2, rto_max, seconds) in measured {
            let window = window(retries2, rto_max);
            let seconds = Duration::from_secs_f64(seconds);
            assert!(
                window.min <= seconds && seconds <= window.max,
                "{retries2}/{rto_max}: {seconds:?} in {window:?}"
            );
        }
    }

    #[test]
    fn windows_are_no_wider_than_one_rto_with_its_rounding() {
        for (retries2, rto) in [(15, 122.88), (9, 122.88), (8, 122.88), (5, 15.0), (3, 4.0)] {
            let window = window(retries2, 120_000);
            let width = (window.max - window.min).as_secs_f64();
            assert!(width <= rto + 0.7, "tcp_retries2={retries2}: {window:?}");
        }
    }

    /// Seconds after the first sending, from the published packet capture; the last is the error.
    const PUBLISHED: [f64; 16] = [
        0.402, 0.805, 1.610, 3.222, 6.446, 12.902, 25.798, 51.590, 103.174, 206.214, 326.534,
        446.854, 567.174, 687.494, 807.814, 928.134,
    ];

    /// Largest difference in milliseconds between the published series and one that starts at jiffy `start`.
    fn misfit(rounding: Rounding, hz: u64, first_rto: u64, start: u64) -> u128 {
        let series = Series {
            hz,
            rounding,
            start,
            first_rto,
            rto_max: 120 * hz,
        };
        let fires = series.fires().zip(&PUBLISHED[1..]);
        let differences = fires.map(|(t, published)| {
            let published = Duration::from_secs_f64(published - PUBLISHED[0]);
            t.abs_diff(published).as_millis()
        });
        differences.max().unwrap_or(u128::MAX)
    }

    #[test]
    fn the_published_series_is_a_kernel_before_the_wheel_at_hz_1000() {
        // To the millisecond: first RTO 201 ms, slack rounding.
        assert_eq!(misfit(Rounding::Slack, 1000, 201, 12), 0);
        // The wheel fits for no HZ: its 120 s timer takes 120.832 s or 122.88 s, the capture's 120.320 s.
        for hz in HZ {
            let first_rto = (201 * hz).div_ceil(1000);
            let best = (0..4096)
                .map(|start| misfit(Rounding::Wheel, hz, first_rto, start))
                .min();
            assert!(best.is_some_and(|ms| ms > 500), "HZ={hz}: {best:?} ms");
        }
    }

    #[test]
    fn connects_take_as_long_as_measured() {
        let at = |linear| {
            let sysctls = TcpSysctls {
                syn_linear_timeouts: linear,
                ..TcpSysctls::default()
            };
            connect(&sysctls, None)
        };
        assert_eq!(at(4).min, Duration::from_secs(131));
        assert_eq!(at(0).min, Duration::from_secs(127));
        assert!(at(4).max >= Duration::from_secs(135));
    }

    #[test]
    fn keepalive_is_idle_and_then_all_intervals() {
        let of = |idle, interval, count| Keepalive {
            idle: Duration::from_secs(idle),
            interval: Duration::from_secs(interval),
            count,
        };
        let go = keepalive(&of(30, 30, 9), None);
        assert_eq!(go.min, Duration::from_secs(300));
        // A3's idle watch: 09:26:31 → 09:31:34.
        assert!(go.max >= Duration::from_secs(303) && go.max < Duration::from_secs(320));
        let reqwest = keepalive(&of(15, 15, 3), Some(Duration::from_secs(30)));
        assert_eq!(reqwest.min, Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn more_retries_never_wait_less(retries2 in 0_u32..20, rto_max_ms in 1_000_u64..120_000) {
            prop_assert!(bound(retries2, rto_max_ms) <= bound(retries2 + 1, rto_max_ms));
            prop_assert!(bound(retries2, rto_max_ms) <= bound(retries2, rto_max_ms + 1_000));
        }

        #[test]
        fn a_user_timeout_moves_the_window_with_it(a in 1_u64..100, b in 1_u64..100) {
            let of = |s| retransmission(&TcpSysctls::default(), Some(Duration::from_secs(s)));
            let (short, long) = (of(a.min(b)), of(a.max(b)));
            prop_assert!(short.min <= long.min && short.max <= long.max);
        }

        #[test]
        fn more_probes_never_wait_less(idle in 1_u64..1000, interval in 1_u64..100, count in 1_u32..20) {
            let of = |count| keepalive(&Keepalive {
                idle: Duration::from_secs(idle),
                interval: Duration::from_secs(interval),
                count,
            }, None);
            prop_assert!(of(count).min < of(count + 1).min && of(count).max < of(count + 1).max);
        }
    }
}
