//! Cases that are run many times, since chance decides.

use schemars::JsonSchema;

use super::window::TimeWindowSpec;
use crate::plan::Quantile;
use crate::yaml::value::Spanned;

/// What must hold of all repetitions together. One in which it never happened counts as later than all others.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistributionSpec {
    /// Of recoveries.
    pub recovered: Option<Spanned<QuantilesSpec>>,
    /// Of detections.
    pub detected: Option<Spanned<QuantilesSpec>>,
}

/// Windows of a distribution's quantiles. A quantile is the smallest time that at least that share of the repetitions did
/// not exceed.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantilesSpec {
    /// The shortest.
    pub min: Option<Spanned<TimeWindowSpec>>,
    /// Half of all.
    pub median: Option<Spanned<TimeWindowSpec>>,
    /// 95 of 100.
    pub p95: Option<Spanned<TimeWindowSpec>>,
    /// The longest.
    pub max: Option<Spanned<TimeWindowSpec>>,
}

impl QuantilesSpec {
    /// Those that are given.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (Quantile, &Spanned<TimeWindowSpec>)> {
        let all = [
            (Quantile::Min, &self.min),
            (Quantile::Median, &self.median),
            (Quantile::P95, &self.p95),
            (Quantile::Max, &self.max),
        ];
        all.into_iter()
            .filter_map(|(quantile, window)| Some((quantile, window.as_ref()?)))
    }
}
