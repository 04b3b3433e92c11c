//! `syn_drop`: nobody gets a new connection, and who has one keeps it.

use super::path::on_a_path;
use super::{Context, Kind, Resolved};
use crate::plan::{Effect, Packets};
use crate::yaml::source::Span;

on_a_path! {
    /// SYNs vanish.
    SynDropSpec {}
}

impl Kind for SynDropSpec {
    const ABOUT: &'static str = "SYNs vanish; established connections live on.";

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (path, span) = self.path().resolve(span, cx)?;
        Some(Resolved {
            target: path.to_string(),
            detail: None,
            effects: vec![Effect::Drop {
                path,
                packets: Packets::Syn,
                percent: 100.0,
            }],
            span,
        })
    }
}
