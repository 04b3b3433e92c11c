//! `power_loss`: a node and everything on it is gone, and says nothing.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::{Effect, Neighbour};
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A node and everything on it is gone, and says nothing.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerLossSpec {
    /// The node.
    pub node: Spanned<String>,
    /// Whether its link-layer address still resolves, as in cloud networks (default `resolves`).
    pub neighbour: Option<Spanned<Neighbour>>,
}

impl Kind for PowerLossSpec {
    const ABOUT: &'static str = "A node and everything on it is gone, and says nothing.";

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let node = cx.node(&self.node)?;
        let neighbour = match &self.neighbour {
            None => Neighbour::default(),
            Some(neighbour) => *neighbour.get()?,
        };
        Some(Resolved {
            target: node.clone(),
            detail: match neighbour {
                Neighbour::Resolves => None,
                Neighbour::Dead => Some("neighbour entry dead too".to_owned()),
            },
            // Silent first: nothing of what ends may say so.
            effects: vec![
                Effect::Silence {
                    node: node.clone(),
                    neighbour,
                },
                Effect::Stop { node },
            ],
            span: self.node.span,
        })
    }
}
