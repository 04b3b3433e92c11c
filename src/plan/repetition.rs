//! Cases that are run many times, since chance decides.

use serde::{Deserialize, Serialize};

use super::{Location, TimeWindow};

/// Which of a case's repetitions this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repetition {
    /// Name of the case that is repeated.
    pub case: String,
    /// From 1.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

/// What must hold of all repetitions together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantileExpectation {
    /// Client.
    pub client: String,
    /// Of which time.
    pub of: Time,
    /// Which quantile of it.
    pub quantile: Quantile,
    /// Where it must lie, from the fault.
    pub window: TimeWindow,
    /// As written, e.g. `standby.distribution.recovered.p95: within 54 s`.
    pub text: String,
    /// Where it stood.
    pub location: Location,
}

/// A measured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Time {
    /// From the fault until recovery.
    Recovered,
    /// From the fault until detection.
    Detected,
}

/// The smallest time that at least a share of the repetitions did not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantile {
    /// The shortest.
    Min,
    /// 0.5.
    Median,
    /// 0.95.
    P95,
    /// The longest.
    Max,
}

impl Quantile {
    /// Its share, from 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Min => 0.0,
            Self::Median => 0.5,
            Self::P95 => 0.95,
            Self::Max => 1.0,
        }
    }

    /// Its name in YAML and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Median => "median",
            Self::P95 => "p95",
            Self::Max => "max",
        }
    }
}
