//! `reject`: a router answers in the place of who is asked.

use super::path::on_a_path;
use super::{Context, Kind, Resolved};
use crate::plan::{Effect, RejectWith};
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

on_a_path! {
    /// A router answers, and lets nothing pass. (With `node`, what stays within the node meets no router.)
    RejectSpec {
        /// `rst`: TCP RST, and what is not TCP passes; `icmp`: host unreachable.
        with: Spanned<RejectWith>,
    }
}

impl Kind for RejectSpec {
    const ABOUT: &'static str = "A router answers, and lets nothing pass.";

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (path, span) = self.path().resolve(span, cx)?;
        let with = *self.with.get()?;
        let detail = match with {
            RejectWith::Rst => "with RST",
            RejectWith::Icmp => "with ICMP host unreachable",
        };
        Some(Resolved {
            target: path.to_string(),
            detail: Some(detail.to_owned()),
            effects: vec![Effect::Answer { path, with }],
            span,
        })
    }
}
