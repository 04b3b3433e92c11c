//! How a client's times are distributed over all repetitions of a case.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::plan::Cause;

/// A client's times over all repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Client.
    pub client: String,
    /// From the fault until it gave up the dead connection, or its connection was killed.
    pub detected: Spread,
    /// From the fault until it recovered.
    pub recovered: Spread,
    /// From one response, or part of one, to the next: the longest time after the fault. Of those who ask all the time only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_response: Option<Spread>,
    /// How often each cause ended the wait; `None` = it held no connection to what died.
    pub causes: Vec<(Option<Cause>, usize)>,
}

/// How a time is distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Repetitions.
    pub count: usize,
    /// Those in which it happened.
    pub happened: usize,
    /// The share of them, with the interval in which the true share lies with 95 % confidence (Wilson's score interval).
    pub share: [f64; 3],
    /// Shortest; `None` = never in any.
    #[serde(rename = "min_s", with = "seconds::option")]
    pub min: Option<Duration>,
    /// Half of all repetitions; `None` = it never happened in so many.
    #[serde(rename = "median_s", with = "seconds::option")]
    pub median: Option<Duration>,
    /// 95 of 100; `None` as above.
    #[serde(rename = "p95_s", with = "seconds::option")]
    pub p95: Option<Duration>,
    /// It is the same in every repetition, to the millisecond: one value, found many times, of which neither the share nor
    /// the quantiles tell more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_value: bool,
    /// Longest; `None` = there is one in which it never happened.
    #[serde(rename = "max_s", with = "seconds::option")]
    pub max: Option<Duration>,
}
