//! `link_down`: a link loses its carrier.

use schemars::JsonSchema;

use super::path::LinkSpec;
use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A link loses its carrier: that of one node, server or client.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkDownSpec {
    /// The uplink of this node.
    pub node: Option<Spanned<String>>,
    /// The link of this server's pod.
    pub server: Option<Spanned<String>>,
    /// The link of this client's pod.
    pub client: Option<Spanned<String>>,
}

impl Kind for LinkDownSpec {
    const ABOUT: &'static str = "A link loses its carrier: a node's uplink, or that of a pod, with the node's end of it taken down.";

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let link = LinkSpec {
            node: self.node.as_ref(),
            server: self.server.as_ref(),
            client: self.client.as_ref(),
        };
        let (behind, span) = link.resolve(span, cx)?;
        Some(Resolved {
            target: behind.to_string(),
            detail: None,
            effects: vec![Effect::Carrier { behind }],
            span,
        })
    }
}
