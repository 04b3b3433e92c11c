//! Times as people read them.

use std::time::Duration;

/// A measured time, to a tenth of a second (`939.3 s`), or in milliseconds below one second (`320 ms`, `3.2 ms`).
#[must_use]
pub fn measured(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// A window in as many digits as [`measured`] has, the lower bound rounded down and the upper one up: what lies in the
/// window lies in the one shown.
#[must_use]
pub fn between(min: Duration, max: Duration) -> String {
    let (min, max) = widened(min, max);
    format!("{} to {}", measured(min), measured(max))
}

/// An upper bound, rounded up.
#[must_use]
pub fn at_most(max: Duration) -> String {
    measured(widened(max, max).1)
}

/// The window that [`between`] shows.
pub(crate) fn widened(min: Duration, max: Duration) -> (Duration, Duration) {
    let whole = |time: Duration, grains: u128| {
        let nanoseconds = grains * grain(time);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    };
    let down = min.as_nanos() / grain(min);
    let up = max.as_nanos().div_ceil(grain(max));
    (whole(min, down), whole(max, up))
}

/// The nanoseconds of the last digit that [`measured`] shows of a time.
fn grain(time: Duration) -> u128 {
    match time.as_micros() {
        0..9_950 => 100_000,
        9_950..999_500 => 1_000_000,
        _ => 100_000_000,
    }
}

/// A time as [`measured`] shows it.
pub(crate) fn rounded(time: Duration) -> Duration {
    let grain = grain(time);
    let nanoseconds = (time.as_nanos() + grain / 2) / grain * grain;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// A time with every digit it has, to the microsecond: `924 s`, `1.5 s`, `200 ms`.
#[must_use]
pub fn exact(time: Duration) -> String {
    let microseconds = time.as_nanos().div_ceil(1000);
    if microseconds == 0 {
        return String::from("0 s");
    }
    if microseconds < 1_000_000 {
        format!("{} ms", trimmed(microseconds, 3))
    } else {
        format!("{} s", trimmed(microseconds, 6))
    }
}

/// A share from 0 to 1 in percent, rounded down: what is not all is never shown as all.
#[must_use]
pub fn percent(share: f64) -> String {
    // A share of binary fractions may miss its last digit.
    let hundredths = (share * 10_000.0 + 1e-6).floor();
    format!("{} %", hundredths / 100.0)
}

/// `number` / 10^`digits` as a decimal without trailing zeroes.
fn trimmed(number: u128, digits: u32) -> String {
    let unit = 10_u128.pow(digits);
    let width = digits as usize;
    let text = format!("{}.{:0width$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_time_has_as_many_digits_as_people_need() {
        let shown =
            [939_300, 44_875, 1_000, 999, 320, 10, 3].map(|ms| measured(Duration::from_millis(ms)));
        assert_eq!(
            shown,
            [
                "939.3 s", "44.9 s", "1.0 s", "999 ms", "320 ms", "10 ms", "3.0 ms"
            ]
        );
        assert_eq!(measured(Duration::from_micros(999_600)), "1.0 s");
        assert_eq!(measured(Duration::ZERO), "0.0 ms");
    }

    #[test]
    fn a_window_is_shown_no_narrower_than_it_is() {
        let shown = |min, max| between(Duration::from_micros(min), Duration::from_micros(max));
        assert_eq!(shown(12_800_000, 169_079_984), "12.8 s to 169.1 s");
        assert_eq!(shown(12_890_000, 40_000_000), "12.8 s to 40.0 s");
        assert_eq!(shown(9_949, 320_001), "9.9 ms to 321 ms");
        assert_eq!(shown(0, 999_400), "0.0 ms to 1.0 s");
        assert_eq!(shown(999_999, 1_000_001), "900 ms to 1.1 s");
    }

    #[test]
    fn an_exact_time_has_no_digit_too_many() {
        let shown =
            [924_000_000, 1_500_000, 200_000, 1_500, 0].map(|us| exact(Duration::from_micros(us)));
        assert_eq!(shown, ["924 s", "1.5 s", "200 ms", "1.5 ms", "0 s"]);
        assert_eq!(exact(Duration::from_nanos(40_000_000_001)), "40.000001 s");
    }
}
