//! The retransmission timeout that a connection begins with, from its round trips.

use std::time::Duration;

use super::sysctls::TcpSysctls;
use crate::plan::Window;

/// What a path within one machine (scheduling) and delayed acknowledgements (40 ms, TCP_DELACK_MIN) add to a round trip as
/// the kernel measures it.
const MEASURED_ABOVE: Duration = Duration::from_millis(50);
/// Round trips measured on a connection that has carried a request: the handshake's and the request's own, at least.
const LEAST_EXCHANGES: u32 = 1;

/// The kernel's estimate of a round trip (tcp_rtt_estimator(), RFC 6298, 2), in microseconds.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    smoothed: u64,
    deviation: u64,
    largest_deviation: u64,
    variation: u64,
    least: u64,
}

impl Estimate {
    /// After the handshake.
    fn first(round_trip: u64, least: u64) -> Self {
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

    /// After one more that took as long as the smoothed one: the estimate settles.
    fn settled(mut self) -> Self {
        self.deviation -= self.deviation / 4;
        self.largest_deviation = self.largest_deviation.max(self.deviation);
        self.variation = self.variation.max(self.largest_deviation);
        // Once a round trip the variation follows, but never below the smallest RTO.
        self.variation -= (self.variation - self.largest_deviation) / 4;
        self.largest_deviation = self.least;
        self
    }

    /// __tcp_set_rto(): the smoothed round trip and its variation, in which the smallest RTO is already.
    fn timeout(self) -> Duration {
        Duration::from_micros(self.smoothed + self.variation)
    }
}

/// The RTO of a connection after its handshake and `exchanges` round trips that all took `rtt`.
#[must_use]
pub fn settled_rto(rtt: Duration, exchanges: u32, rto_min: Duration) -> Duration {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 8);
    let first = Estimate::first(micros(rtt), micros(rto_min));
    (0..exchanges)
        .fold(first, |estimate, _| estimate.settled())
        .timeout()
}

/// The RTO of a connection that has carried a request, on a path with a round trip of `rtt`. How many round trips were
/// measured, and how many of them with a delayed acknowledgement in them, nobody knows beforehand.
#[must_use]
pub fn first_rto(rtt: Duration, sysctls: &TcpSysctls) -> Window {
    let least = Duration::from_millis(sysctls.rto_min_ms);
    Window {
        min: rtt + least,
        // A deviation counts four times.
        max: settled_rto(
            rtt + MEASURED_ABOVE,
            LEAST_EXCHANGES,
            least.max(MEASURED_ABOVE * 4),
        ),
    }
}

/// From a segment's sending to its tail loss probe: two round trips and the smallest RTO, for the acknowledgement may be
/// delayed; but never after the retransmission would be due (tcp_schedule_loss_probe()).
pub(super) fn loss_probe(rtt: Duration, rto: Window, sysctls: &TcpSysctls) -> Window {
    let after = |rtt: Duration| rtt * 2 + Duration::from_millis(sysctls.rto_min_ms);
    Window {
        min: after(rtt).min(rto.min),
        max: after(rtt + MEASURED_ABOVE).min(rto.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_short_path_has_the_smallest_rto_on_top_of_its_round_trip() {
        assert_eq!(settled_rto(ms(0), 0, ms(200)), ms(200));
        assert_eq!(settled_rto(ms(40), 0, ms(200)), ms(240));
        assert_eq!(settled_rto(ms(40), 9, ms(200)), ms(240));
    }

    #[test]
    fn a_long_path_begins_with_three_round_trips_and_settles() {
        // RFC 6298, 2.2: SRTT + 4 · R/2.
        assert_eq!(settled_rto(ms(300), 0, ms(200)), ms(900));
        let times: Vec<_> = (0..40).map(|n| settled_rto(ms(300), n, ms(200))).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        assert!(times[39] < ms(502) && times[39] >= ms(500), "{times:?}");
    }

    #[test]
    fn every_settled_rto_lies_in_the_window() {
        let sysctls = TcpSysctls::default();
        for rtt in [0, 1, 20, 40, 90, 150, 300, 600] {
            let window = first_rto(ms(rtt), &sysctls);
            for exchanges in 1..100 {
                let rto = settled_rto(ms(rtt), exchanges, ms(200));
                assert!(
                    (window.min..=window.max).contains(&rto),
                    "{rtt} ms, {exchanges}: {rto:?} in {window:?}"
                );
            }
        }
    }

    #[test]
    fn the_loss_probe_comes_no_later_than_the_retransmission_would() {
        let sysctls = TcpSysctls::default();
        let of = |rtt| loss_probe(rtt, first_rto(rtt, &sysctls), &sysctls);
        assert_eq!(of(ms(0)).min, ms(200));
        assert_eq!(of(ms(300)).min, ms(500));
    }
}
