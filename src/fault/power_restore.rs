//! `power_restore`: a node that lost its power comes back, empty.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A node that lost its power comes back.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRestoreSpec {
    /// The node.
    pub node: Spanned<String>,
}

impl Kind for PowerRestoreSpec {
    const ABOUT: &'static str = "A node that lost its power comes back empty: its servers listen again, and RST answers what is left of old\nconnections. Clients that ran there stay gone.";

    fn done_at_once(&self) -> Option<&'static str> {
        Some("`power_restore` has no `for`: the power stays on")
    }

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let node = cx.node(&self.node)?;
        Some(Resolved {
            target: node.clone(),
            detail: None,
            effects: vec![Effect::Restore { node }],
            span: self.node.span,
        })
    }
}
