//! `loss`: packets vanish, all of them or some by chance.

use super::path::on_a_path;
use super::{Context, Kind, Resolved};
use crate::plan::{Effect, Packets};
use crate::yaml::percent::Percent;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

on_a_path! {
    /// Packets vanish.
    LossSpec {
        /// How many of a hundred: above 0, at most 100. Each packet by chance, whatever became of others.
        percent: Spanned<Percent>,
    }
}

impl Kind for LossSpec {
    const ABOUT: &'static str =
        "Packets vanish, all of them or some by chance. (ARP and neighbour discovery do not.)";

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (path, span) = self.path().resolve(span, cx)?;
        let Percent(percent) = *self.percent.get()?;
        Some(Resolved {
            target: path.to_string(),
            detail: Some(format!("{percent} %")),
            effects: vec![Effect::Drop {
                path,
                packets: Packets::All,
                percent,
            }],
            span,
        })
    }
}
