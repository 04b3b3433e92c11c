//! How often something happens, by so many runs.

use serde::Serialize;

use crate::result::wilson;

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
        let [_, low, high] = wilson(happened as usize, runs as usize);
        Self {
            runs,
            happened,
            low,
            high,
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
