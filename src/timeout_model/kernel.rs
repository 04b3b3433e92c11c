//! How long the kernel's own timers of a TCP connection take.
//!
//! Figures are Linux's (net/ipv4/tcp_timer.c). Every function gives a window: nobody knows beforehand where on the timer
//! wheel a timer is armed, nor the connection's first RTO to the jiffy.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::rto::{self, Path};
use super::series::{Series, Until, in_jiffies_up, jiffies};
use super::sysctls::TcpSysctls;
use super::timer::{Rounding, wheel_bucket};
use crate::plan::{Client, LabPlan, Window, kernel_version};

/// Timer frequencies Linux is built with; a plan must hold for each.
pub const HZ: [u64; 4] = [100, 250, 300, 1000];
/// Moments within the wheel's coarsest bucket from which timers are tried.
const STARTS: u64 = 32;
/// The first SYN's timer (TCP_TIMEOUT_INIT, RFC 6298, 2.1).
const SYN_TIMER: Duration = Duration::from_secs(1);
/// Timer frequencies of Linux on all its architectures (CONFIG_HZ: the lowest is MIPS's, the highest alpha's).
const HZ_OF_LINUX: RangeInclusive<u32> = 24..=1200;
/// Linux that knows `tcp_syn_linear_timeouts`.
const LINEAR_SINCE: (u32, u32) = (6, 5);

/// What is known of the kernel whose timers rule. Before a case runs, nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kernel {
    /// Timer frequency; `None` = any of [`HZ`].
    pub hz: Option<u32>,
    /// Its version, major and minor; `None` = any.
    pub version: Option<(u32, u32)>,
}

impl Kernel {
    /// What a record says of its kernel: `uname -r` and the timer frequency, if it is one that Linux can have.
    #[must_use]
    pub fn of(release: &str, hz: Option<u32>) -> Self {
        let version = kernel_version(release);
        // A record may say anything.
        let hz = hz.filter(|hz| HZ_OF_LINUX.contains(hz));
        Self { hz, version }
    }

    fn frequencies(self) -> Vec<u64> {
        self.hz.map_or_else(|| HZ.to_vec(), |hz| vec![hz.into()])
    }

    /// Every frequency, moments on its wheel within the bucket of a timer of `longest`, and how far apart these are.
    pub(super) fn tried(self, longest: Duration) -> impl Iterator<Item = (u64, u64, Duration)> {
        self.frequencies().into_iter().flat_map(move |hz| {
            let bucket = wheel_bucket(in_jiffies_up(longest, hz));
            let step = (bucket / STARTS).max(1);
            let starts = (0..bucket).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            starts.map(move |start| (hz, start, jiffies(step, hz)))
        })
    }

    /// Every frequency, and moments on its wheel from which timers are tried that are no longer than `longest`.
    pub(super) fn moments(self, longest: Duration) -> impl Iterator<Item = (u64, u64)> {
        self.frequencies().into_iter().flat_map(move |hz| {
            let bucket = wheel_bucket(in_jiffies_up(longest, hz));
            let step = usize::try_from((bucket / STARTS).max(1)).unwrap_or(usize::MAX);
            (0..bucket).step_by(step).map(move |start| (hz, start))
        })
    }

    /// The window around `time` for every frequency and every moment on the wheel within `bucket_of` jiffies' delay.
    pub(super) fn around(
        self,
        bucket_of: Duration,
        time: impl Fn(u64, u64) -> (Duration, Duration),
    ) -> Window {
        let each = self.frequencies().into_iter().map(|hz| {
            let bucket = wheel_bucket(in_jiffies_up(bucket_of, hz));
            let step = (bucket / STARTS).max(1);
            let starts = (0..bucket).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let windows = starts
                .map(|start| time(hz, start))
                .map(|(a, b)| Window::of(a, b));
            let all = windows.reduce(Window::around).unwrap_or_default();
            // Between two moments that are tried lie others, and a tick has two ends.
            let slack = jiffies(step, hz);
            Window::of(all.min.saturating_sub(slack), all.max + slack)
        });
        each.reduce(Window::around).unwrap_or_default()
    }
}

/// From the sending of a segment that nobody acknowledges until the connection is given up.
///
/// The tail loss probe goes out first, and the kernel does not count it; the bound, or a TCP_USER_TIMEOUT in its place,
/// counts from the first retransmission (retransmits_timed_out(); `retrans_stamp` is set by tcp_retransmit_skb(), which
/// the probe does not go through). Where data is unacknowledged, keepalive plays no part (tcp_keepalive_timer()).
#[must_use]
pub fn retransmission(
    sysctls: &TcpSysctls,
    path: Path,
    user_timeout: Option<Duration>,
    kernel: Kernel,
) -> Window {
    let (first, series) = first_and_series(sysctls, path, user_timeout, kernel);
    first.then(series)
}

/// How long a client's kernel goes on at most, whatever the client itself does: retransmitting, and then dialling once.
#[must_use]
pub fn longest_wait(client: &Client, plan: &LabPlan) -> Duration {
    let sysctls = TcpSysctls::with(plan.sysctls_at(&client.place));
    let path = Path {
        rtt: plan.round_trip(),
        exchanges: 0,
    };
    let (limit, any) = (client.transport.user_timeout, Kernel::default());
    retransmission(&sysctls, path, limit, any).max + connect(&sysctls, limit, any).max
}

/// From a segment's sending to the first retransmission that counts, and from that until the connection is given up.
pub(super) fn first_and_series(
    sysctls: &TcpSysctls,
    path: Path,
    user_timeout: Option<Duration>,
    kernel: Kernel,
) -> (Window, Window) {
    (
        first_retransmission(sysctls, path, kernel),
        series(sysctls, path, rule(sysctls, user_timeout), kernel),
    )
}

/// What ends the retransmissions of a socket that its program has not closed.
pub(super) fn rule(sysctls: &TcpSysctls, user_timeout: Option<Duration>) -> Until {
    match user_timeout {
        None => Until::Bound(sysctls.retransmission_bound()),
        Some(limit) => Until::UserTimeout(limit),
    }
}

/// From the sending of a segment that nobody acknowledges, on a connection that its program has closed since, until the
/// kernel drops it: `tcp_orphan_retries` rules instead of `tcp_retries2`, and a TCP_USER_TIMEOUT as ever.
#[must_use]
pub fn orphan(
    sysctls: &TcpSysctls,
    path: Path,
    user_timeout: Option<Duration>,
    kernel: Kernel,
) -> Window {
    let first = first_retransmission(sysctls, path, kernel);
    let rule = match user_timeout {
        None => Until::Bound(sysctls.orphan_bound()),
        Some(limit) => Until::UserTimeout(limit),
    };
    first.then(series(sysctls, path, rule, kernel))
}

/// From a segment's sending to the first retransmission that counts: one RTO, after a tail loss probe where there is one.
fn first_retransmission(sysctls: &TcpSysctls, path: Path, kernel: Kernel) -> Window {
    let rto = rto::first_rto(path, sysctls);
    let probe = match sysctls.loss_probe {
        true => rto::loss_probe(path, rto, sysctls),
        false => Window::default(),
    };
    let both = |probe: Duration, rto: Duration| timers(&[probe, rto], kernel);
    Window {
        // Where congestion control is not in its open state there is no probe (tcp_schedule_loss_probe()).
        min: both(Duration::ZERO, rto.min).min,
        max: both(probe.max, rto.max).max,
    }
}

type SeriesKey = (u64, u64, u32, Path, Until, Kernel);

thread_local! {
    /// A large matrix asks for the same few series again and again.
    static SERIES: RefCell<HashMap<SeriesKey, Window>> = RefCell::default();
}

/// From the first retransmission until the connection is given up.
fn series(sysctls: &TcpSysctls, path: Path, rule: Until, kernel: Kernel) -> Window {
    let linear = sysctls.linear_retransmissions();
    let key = (
        sysctls.rto_min_ms,
        sysctls.rto_max_ms,
        linear,
        path,
        rule,
        kernel,
    );
    if let Some(known) = SERIES.with_borrow(|all| all.get(&key).copied()) {
        return known;
    }
    let window = find_series(sysctls, path, rule, kernel);
    SERIES.with_borrow_mut(|all| all.insert(key, window));
    window
}

fn find_series(sysctls: &TcpSysctls, path: Path, rule: Until, kernel: Kernel) -> Window {
    let rto = rto::first_rto(path, sysctls);
    let rto_max = Duration::from_millis(sysctls.rto_max_ms);
    let (least, longest) = match rule {
        Until::Bound(bound) => (bound, rto_max.min(bound + rto.max * 2)),
        Until::UserTimeout(limit) => (limit, rto_max.min(limit)),
    };
    let window = kernel.around(longest, |hz, start| {
        let series = |first_rto| Series {
            hz,
            rounding: Rounding::Wheel,
            start,
            first_rto,
            rto_max: in_jiffies_up(rto_max, hz),
            linear: sysctls.linear_retransmissions(),
        };
        let (low, high) = (
            in_jiffies_up(rto.min, hz).max(1),
            in_jiffies_up(rto.max, hz).max(1),
        );
        match rule {
            Until::Bound(bound) => ends_within(series, low, high, bound),
            Until::UserTimeout(limit) => {
                let step = usize::try_from(((high - low) / 3).max(1)).unwrap_or(usize::MAX);
                let firsts = (low..=high).step_by(step).chain([high]);
                hull(firsts.map(|first_rto| series(first_rto).gives_up_by_user_timeout(limit)))
            }
        }
    });
    Window::of(window.min.max(least), window.max)
}

/// When series whose first RTO lies between `low` and `high` pass `bound`, the earliest and the latest.
///
/// A longer RTO never fires sooner, so of those that pass it with one and the same timer the shortest and the longest are
/// found by halving.
fn ends_within(
    series: impl Fn(u64) -> Series,
    low: u64,
    high: u64,
    bound: Duration,
) -> (Duration, Duration) {
    let fire = |first_rto, n| series(first_rto).fires().nth(n).unwrap_or(bound);
    let passed = |first_rto, n: Option<usize>| n.is_some_and(|n| fire(first_rto, n) >= bound);
    // The first RTO with which the n-th timer passes the bound; beyond `high` if none does.
    let from = |n: Option<usize>| {
        let (mut least, mut beyond) = (low, high + 1);
        while least < beyond {
            let middle = least + (beyond - least) / 2;
            match passed(middle, n) {
                true => beyond = middle,
                false => least = middle + 1,
            }
        }
        least
    };
    let count = |first_rto| {
        series(first_rto)
            .fires()
            .position(|t| t >= bound)
            .unwrap_or(0)
    };
    let ends = (count(high)..=count(low)).filter_map(|n| {
        let (shortest, longest) = (from(Some(n)), from(n.checked_sub(1)) - 1);
        (shortest <= longest).then(|| (fire(shortest, n), fire(longest, n)))
    });
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .unwrap_or((bound, bound))
}

pub(super) fn hull(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let both = times.map(|time| (time, time));
    both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .unwrap_or_default()
}

/// What timers of these delays take, one armed as the other fires. A delay of nothing is no timer.
pub(super) fn timers(delays: &[Duration], kernel: Kernel) -> Window {
    let longest = delays.iter().copied().max().unwrap_or_default();
    let window = kernel.around(longest, |hz, start| {
        let end = delays
            .iter()
            .filter(|delay| !delay.is_zero())
            .fold(start, |now, delay| {
                Rounding::Wheel.fires_at(now, in_jiffies_up(*delay, hz))
            });
        hull(std::iter::once(jiffies(end - start, hz)))
    });
    Window::of(delays.iter().sum(), window.max)
}

/// From a SYN that nobody answers until connect() fails (tcp_write_timeout(), in SYN_SENT): one timer of a second, as many
/// more as `tcp_syn_linear_timeouts` says, and then one for every retry, each twice as long as the one before.
///
/// But no longer than the bound of the retries alone, from a second on: with few retries it cuts the linear ones short. That
/// bound and a TCP_USER_TIMEOUT count from the first SYN (tcp_connect_init() sets `retrans_stamp`), though the timer of a
/// second comes first in any case.
#[must_use]
pub fn connect(sysctls: &TcpSysctls, user_timeout: Option<Duration>, kernel: Kernel) -> Window {
    let each = linear_syns(sysctls, kernel).into_iter();
    each.map(|linear| connect_with(sysctls, linear, user_timeout, kernel))
        .reduce(Window::around)
        .unwrap_or_default()
}

/// Numbers of timers of one second before a SYN's back-off begins that a kernel may have.
pub(super) fn linear_syns(sysctls: &TcpSysctls, kernel: Kernel) -> Vec<u32> {
    match kernel.version {
        Some(version) if version < LINEAR_SINCE => vec![0],
        Some(_) => vec![sysctls.syn_linear_timeouts],
        None => vec![0, sysctls.syn_linear_timeouts],
    }
}

fn connect_with(
    sysctls: &TcpSysctls,
    linear: u32,
    user_timeout: Option<Duration>,
    kernel: Kernel,
) -> Window {
    let longest = Duration::from_millis(sysctls.rto_max_ms);
    let window = kernel.around(longest, |hz, start| {
        let fires = syn_timers(sysctls, linear, user_timeout, (hz, start));
        hull(fires.last().copied().into_iter())
    });
    Window::of(window.min.max(SYN_TIMER), window.max)
}

/// When the timer of a SYN fires, from jiffy `start` of a wheel: each time it is sent again, but with the last one connect() fails.
pub(super) fn syn_timers(
    sysctls: &TcpSysctls,
    linear: u32,
    user_timeout: Option<Duration>,
    (hz, start): (u64, u64),
) -> Vec<Duration> {
    let longest = Duration::from_millis(sysctls.rto_max_ms);
    let ones = std::iter::repeat_n(SYN_TIMER, linear as usize);
    let doubling = (1..=sysctls.syn_retries).map(|n| (SYN_TIMER * (1 << n.min(20))).min(longest));
    let ends = in_jiffies_up(user_timeout.unwrap_or(sysctls.syn_bound()), hz);
    let mut now = Rounding::Wheel.fires_at(start, in_jiffies_up(SYN_TIMER, hz));
    let mut fires = vec![jiffies(now - start, hz)];
    for delay in ones.chain(doubling) {
        let delay = in_jiffies_up(delay, hz);
        let left = user_timeout.map_or(delay, |limit| {
            in_jiffies_up(limit, hz).saturating_sub(now - start).max(1)
        });
        now = Rounding::Wheel.fires_at(now, delay.min(left));
        fires.push(jiffies(now - start, hz));
        if now - start >= ends {
            break;
        }
    }
    fires
}

/// From the last answer to a zero-window probe until the connection is given up, of a peer that closed its window, went on
/// answering `answered` probes, and then died (tcp_probe_timer()).
///
/// An answer resets the count of probes but not their back-off, so a window that was shut for long makes the death a long
/// one: `tcp_retries2` probes more, and the timer after them.
#[must_use]
pub fn zero_window(sysctls: &TcpSysctls, path: Path, answered: u32, kernel: Kernel) -> Window {
    let rto = rto::first_rto(path, sysctls);
    let longest = Duration::from_millis(sysctls.rto_max_ms);
    let delays = |rto: Duration| {
        // tcp_probe0_base(): never below TCP_RTO_MIN.
        let base = rto.max(Duration::from_millis(200));
        let timer = |n: u32| (base * (1 << n.min(20))).min(longest);
        // The back-off stops growing at `tcp_retries2`.
        let all = answered..=answered + sysctls.retries2;
        let all = all.map(|n| timer(n.min(sysctls.retries2)));
        all.collect::<Vec<_>>()
    };
    Window::of(
        timers(&delays(rto.min), kernel).min,
        timers(&delays(rto.max), kernel).max,
    )
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
