//! How often something happens, by so many runs.

use serde::Serialize;

/// The share of runs in which something happened, with an interval that holds the true one in 95 of 100 cases (Wilson, 1927).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Runs.
    pub runs: u32,
    /// Those in which it happened.
    pub happened: u32,
    /// Lower end of the interval, from 0 to 1.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Share {
    /// Of so many.
    #[must_use]
    pub fn of(happened: u32, runs: u32) -> Self {
        const Z: f64 = 1.96;
        let (n, k) = (f64::from(runs.max(1)), f64::from(happened));
        let p = k / n;
        let middle = p + Z * Z / (2.0 * n);
        let width = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let whole = 1.0 + Z * Z / n;
        let bound = |at: f64| (at / whole).clamp(0.0, 1.0);
        Self {
            runs,
            happened,
            low: bound(middle - width),
            high: bound(middle + width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_ten_says_less_than_none_of_a_hundred() {
        let (ten, hundred) = (Share::of(0, 10), Share::of(0, 100));
        assert_eq!(ten.low, 0.0);
        // Wilson's interval for 0 of 10 ends at 27.75 %.
        assert!((ten.high - 0.2775).abs() < 0.0005, "{ten:?}");
        assert!((hundred.high - 0.0370).abs() < 0.0005, "{hundred:?}");
        let half = Share::of(5, 10);
        assert!((half.low - 0.2366).abs() < 0.0005 && (half.high - 0.7634).abs() < 0.0005);
    }
}
