//! Which series of retransmissions a measured one is.
//!
//! A series has two unknowns: the first RTO (a whole number of jiffies), and where on the timer wheel it starts (the
//! wheel turns from the kernel's boot). The first gap leaves a few values for the one, the last fire tells the other:
//! it stands at the edge of its bucket. All other times are then the wheel's own, and can be compared.

use std::time::Duration;

use super::series::Series;
use super::timer::{Rounding, wheel_bucket};

impl Series {
    /// The series on the wheel of `hz` that is nearest to `fires`, the times after the first retransmission at which the
    /// timer fired again; `rto_max` in jiffies. `None` of fewer than two.
    #[must_use]
    pub fn fitted(fires: &[Duration], hz: u64, rto_max: u64) -> Option<Self> {
        let (&[first, _, ..], &[.., last]) = (fires, fires) else {
            return None;
        };
        let (first, last) = (in_jiffies(first, hz), in_jiffies(last, hz));
        let least = first.saturating_sub(wheel_bucket(first)) / 2;
        let candidates = (least.max(1)..=first / 2).flat_map(|first_rto| {
            let bucket = wheel_bucket(doubled(first_rto, fires.len(), rto_max));
            // One jiffy to either side: a processor that was busy handles its timers late.
            (0..3).map(move |late| Self {
                hz,
                rounding: Rounding::Wheel,
                start: (2 * bucket + late - 1 - last % bucket) % bucket,
                first_rto,
                rto_max,
                linear: 0,
            })
        });
        candidates.min_by_key(|series| series.distance(fires))
    }

    /// When the connection is given up, with `retransmissions` fires behind it that the series was fitted to; `None`
    /// where its timer may be coarser than all of those, so that they do not tell.
    #[must_use]
    pub fn gives_up_after(self, retransmissions: usize, bound: Duration) -> Option<Duration> {
        let delay = |n| doubled(self.first_rto, n, self.rto_max);
        let told = wheel_bucket(delay(retransmissions)) == wheel_bucket(delay(retransmissions + 1));
        told.then(|| self.gives_up(bound))
    }

    /// All differences from measured fires together.
    fn distance(self, fires: &[Duration]) -> Duration {
        let each = self.fires().zip(fires);
        each.map(|(computed, measured)| computed.abs_diff(*measured))
            .sum()
    }
}

/// The delay of a series' n-th timer.
fn doubled(first_rto: u64, n: usize, rto_max: u64) -> u64 {
    (0..n).fold(first_rto.min(rto_max), |rto, _| (rto * 2).min(rto_max))
}

fn in_jiffies(time: Duration, hz: u64) -> u64 {
    let jiffies = (time.as_nanos() * u128::from(hz) + 500_000_000) / 1_000_000_000;
    u64::try_from(jiffies).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds after the first retransmission, by the packets' stamps: a 6.18 kernel at HZ=250, on a machine whose
    /// processors were busy with other things.
    const REAL: [f64; 14] = [
        0.412036, 1.244033, 2.908017, 6.268013, 12.924049, 26.240057, 54.144007, 107.388084,
        213.884034, 334.716014, 455.548043, 576.380016, 697.212056, 818.048015,
    ];

    /// The same under User Mode Linux 7.3, where time stands still while anything computes.
    const VIRTUAL: [f64; 14] = [
        0.428, 1.26, 2.892, 6.316, 12.972, 26.028, 53.164, 106.412, 210.86, 331.692, 452.524,
        573.356, 694.188, 815.02,
    ];

    fn seconds(times: &[f64]) -> Vec<Duration> {
        times.iter().map(|t| Duration::from_secs_f64(*t)).collect()
    }

    /// Milliseconds by which each of the measured times is away from the wheel's, and the time it gives up.
    fn compared(measured: &[f64]) -> (Vec<u128>, Option<Duration>) {
        let fires = seconds(measured);
        let series = Series::fitted(&fires, 250, 30_000).expect("enough of them");
        let differences = series.fires().zip(&fires);
        let differences = differences.map(|(t, measured)| t.abs_diff(*measured).as_millis());
        let bound = Duration::from_millis(924_600);
        (differences.collect(), series.gives_up_after(14, bound))
    }

    #[test]
    fn a_measured_series_is_the_wheels_to_the_millisecond() {
        let (differences, gives_up) = compared(&VIRTUAL);
        assert_eq!(differences, [0; 14]);
        assert_eq!(gives_up, Some(Duration::from_millis(935_852)));
    }

    #[test]
    fn on_a_busy_machine_some_timers_are_handled_a_jiffy_late() {
        let (differences, gives_up) = compared(&REAL);
        let late: Vec<_> = differences.iter().filter(|ms| **ms > 0).collect();
        assert!(
            late.len() <= 3 && late.iter().all(|ms| **ms <= 4),
            "{differences:?}"
        );
        assert_eq!(gives_up, Some(Duration::from_millis(938_876)));
    }

    #[test]
    fn a_series_of_another_kernel_fits_no_wheel() {
        // The published capture, of a kernel before 4.8 at HZ=1000.
        let capture = [
            0.403, 1.208, 2.820, 6.044, 12.500, 25.396, 51.188, 102.772, 205.812, 326.132, 446.452,
        ];
        let fires = seconds(&capture);
        let series = Series::fitted(&fires, 1000, 120_000).expect("enough of them");
        assert!(series.distance(&fires) > Duration::from_secs(2));
    }

    #[test]
    fn a_coarser_timer_than_all_before_is_not_foretold() {
        // Timers of 100 and 200 jiffies are behind it, 400 ahead, on the same level; then 800, on the next.
        let series = Series::fitted(&seconds(&[0.428, 1.26]), 250, 30_000).expect("two");
        assert!(series.gives_up_after(2, Duration::from_secs(3)).is_some());
        assert!(series.gives_up_after(3, Duration::from_secs(6)).is_none());
    }

    proptest! {
        #[test]
        fn a_computed_series_is_found_again(
            first_rto in 40_u64..60, start in 0_u64..512, length in 2_usize..16,
        ) {
            let series = Series {
                hz: 250, rounding: Rounding::Wheel, start, first_rto, rto_max: 30_000, linear: 0,
            };
            let fires: Vec<_> = series.fires().take(length).collect();
            let found = Series::fitted(&fires, 250, 30_000).expect("enough of them");
            prop_assert_eq!(found.distance(&fires), Duration::ZERO);
        }

        #[test]
        fn nothing_measured_is_too_odd(fires in proptest::collection::vec(0_u64..1 << 40, 0..20)) {
            let fires: Vec<_> = fires.into_iter().map(Duration::from_nanos).collect();
            let _ = Series::fitted(&fires, 1000, 120_000);
        }
    }
}
