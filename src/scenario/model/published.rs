//! Figures that others have published of what a scenario reproduces.

use schemars::JsonSchema;

use crate::plan::{Since, Until};
use crate::yaml::value::{Spanned, Time};

/// What was published of a client. It decides no verdict; results print it beside what they measured.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedSpec {
    /// Times between two events.
    pub figures: Option<Spanned<Vec<Spanned<FigureSpec>>>>,
    /// When a segment was sent again, counted from its first sending.
    pub retransmissions: Option<Spanned<Vec<Spanned<Time>>>>,
    /// When the kernel gave that segment's connection up, counted from its first sending.
    pub gave_up: Option<Spanned<Time>>,
}

/// A published time, and between which two events it was taken.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// The event it begins with.
    pub from: Spanned<Since>,
    /// The event it ends with.
    pub until: Spanned<Until>,
    /// The published time.
    pub time: Spanned<Time>,
    /// Where it comes from and what to know of it, in a sentence or two.
    pub note: Option<Spanned<String>>,
}
