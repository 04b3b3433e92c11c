//! The retransmission timeout that a connection begins with, from its round trips.

use std::time::Duration;

use super::sysctls::TcpSysctls;
use crate::plan::Window;

/// What scheduling and delayed acknowledgements (40 ms, TCP_DELACK_MIN) add to a round trip as the kernel measures it.
const MEASURED_ABOVE: Duration = Duration::from_millis(50);
/// After as many round trips an estimate is settled.
const SETTLED: u32 = 100;

/// The path of a connection, as far as it decides about retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Path {
    /// Its round trip.
    pub rtt: Duration,
    /// Round trips that the kernel has measured on it at the least, besides the handshake's.
    pub exchanges: u32,
}

/// The kernel's estimate of a round trip (tcp_rtt_estimator(), RFC 6298, 2), in microseconds.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    smoothed: i64,
    /// Four times the mean deviation, as the kernel keeps it.
    deviation: i64,
    largest_deviation: i64,
    variation: i64,
    least: i64,
}

impl Estimate {
    /// After the handshake.
    fn first(round_trip: Duration, least: Duration) -> Self {
        let (round_trip, least) = (micros(round_trip), micros(least));
        let deviation = round_trip * 2;
        let variation = deviation.max(least);
        Self {
            smoothed: round_trip,
            deviation,
            largest_deviation: variation,
            variation,
            least,
        }
    }

    /// After one more.
    fn after(mut self, round_trip: Duration) -> Self {
        let error = micros(round_trip) - self.smoothed;
        self.smoothed += error / 8;
        let mut change = error.abs() - self.deviation / 4;
        // A path that became shorter makes the deviation grow more slowly.
        if error < 0 && change > 0 {
            change /= 8;
        }
        self.deviation += change;
        self.largest_deviation = self.largest_deviation.max(self.deviation);
        self.variation = self.variation.max(self.largest_deviation);
        // Once a round trip the variation follows, but never below the smallest RTO.
        self.variation -= (self.variation - self.largest_deviation) / 4;
        self.largest_deviation = self.least;
        self
    }

    /// __tcp_set_rto(): the smoothed round trip and its variation, in which the smallest RTO is already.
    fn timeout(self) -> Duration {
        time(self.smoothed + self.variation)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX >> 8)
}

fn time(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The RTO of a connection whose handshake took `handshake`, after `exchanges` round trips that took `rtt`.
#[must_use]
pub fn settled_rto(
    handshake: Duration,
    rtt: Duration,
    exchanges: u32,
    rto_min: Duration,
) -> Duration {
    settled(handshake, rtt, exchanges, rto_min).timeout()
}

fn settled(handshake: Duration, rtt: Duration, exchanges: u32, rto_min: Duration) -> Estimate {
    let first = Estimate::first(handshake, rto_min);
    (0..exchanges.min(SETTLED)).fold(first, |estimate, _| estimate.after(rtt))
}

/// The slowest estimate: the first SYN waited for its neighbour's address, so that the handshake took two round trips
/// (measured in guests: RTO 432 ms on a path of 72 ms), and every acknowledgement was delayed.
fn slowest(path: Path, sysctls: &TcpSysctls) -> Estimate {
    let least = Duration::from_millis(sysctls.rto_min_ms);
    // A deviation counts four times.
    let least = least.max(MEASURED_ABOVE * 4);
    let rtt = path.rtt + MEASURED_ABOVE;
    settled(path.rtt * 2 + MEASURED_ABOVE, rtt, path.exchanges, least)
}

/// The RTO of a connection that has carried a request. How many of its round trips were measured with a delayed
/// acknowledgement in them nobody knows beforehand.
#[must_use]
pub fn first_rto(path: Path, sysctls: &TcpSysctls) -> Window {
    Window {
        min: path.rtt + Duration::from_millis(sysctls.rto_min_ms),
        max: slowest(path, sysctls).timeout(),
    }
}

/// From a segment's sending to its tail loss probe: two round trips and the smallest RTO, for the acknowledgement may be
/// delayed; but never after the retransmission would be due (tcp_schedule_loss_probe()).
pub(super) fn loss_probe(path: Path, rto: Window, sysctls: &TcpSysctls) -> Window {
    let after = |rtt: Duration| rtt * 2 + Duration::from_millis(sysctls.rto_min_ms);
    Window {
        min: after(path.rtt).min(rto.min),
        max: after(time(slowest(path, sysctls).smoothed)).min(rto.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn path(rtt: u64, exchanges: u32) -> Path {
        Path {
            rtt: ms(rtt),
            exchanges,
        }
    }

    #[test]
    fn a_short_path_has_the_smallest_rto_on_top_of_its_round_trip() {
        for exchanges in [0, 9] {
            assert_eq!(settled_rto(ms(0), ms(0), exchanges, ms(200)), ms(200));
            assert_eq!(settled_rto(ms(40), ms(40), exchanges, ms(200)), ms(240));
        }
    }

    #[test]
    fn a_long_path_begins_with_three_round_trips_and_settles() {
        // RFC 6298, 2.2: SRTT + 4 · R/2.
        let after = |n| settled_rto(ms(300), ms(300), n, ms(200));
        assert_eq!(after(0), ms(900));
        let times: Vec<_> = (0..40).map(after).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        assert!(times[39] < ms(502) && times[39] >= ms(500), "{times:?}");
    }

    /// What the kernel's tcp_rtt_estimator() makes of it, which keeps eight times the smoothed round trip.
    #[test]
    fn an_estimate_follows_a_path_that_changes() {
        let after = |handshake, rtt| {
            let rto = |n| settled_rto(ms(handshake), ms(rtt), n, ms(200)).as_millis();
            [0, 1, 2, 3].map(rto)
        };
        assert_eq!(after(800, 100), [2400, 2350, 2298, 2246]);
        assert_eq!(after(600, 300), [1800, 1762, 1720, 1669]);
        assert_eq!(after(300, 900), [900, 1425, 1753, 1941]);
    }

    /// The handshake in two round trips, and 50 ms for each acknowledgement.
    #[test]
    fn the_window_ends_with_the_slowest_estimate() {
        let max = |rtt, exchanges| {
            let window = first_rto(path(rtt, exchanges), &TcpSysctls::default());
            window.max.as_millis()
        };
        assert_eq!((max(0, 0), max(0, 1)), (250, 250));
        // 250 ms and twice as much; then the estimate goes an eighth of the way to 150 ms.
        assert_eq!((max(100, 0), max(100, 1)), (750, 737));
    }

    #[test]
    fn every_settled_rto_lies_in_the_window() {
        let sysctls = TcpSysctls::default();
        for rtt in [0, 1, 20, 40, 90, 150, 300, 600] {
            for exchanges in 1..100 {
                let window = first_rto(path(rtt, exchanges), &sysctls);
                for handshake in [rtt, rtt * 2] {
                    let rto = settled_rto(ms(handshake), ms(rtt), exchanges, ms(200));
                    assert!(
                        (window.min..=window.max).contains(&rto),
                        "{rtt} ms, {exchanges}: {rto:?} in {window:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_loss_probe_comes_no_later_than_the_retransmission_would() {
        let sysctls = TcpSysctls::default();
        let of = |rtt| {
            let path = path(rtt, 1);
            loss_probe(path, first_rto(path, &sysctls), &sysctls)
        };
        assert_eq!(of(0).min, ms(200));
        assert_eq!(of(300).min, ms(500));
    }
}
