//! `hang`: a server's program does nothing, and its kernel goes on.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A server's program does nothing.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HangSpec {
    /// The server.
    pub server: Spanned<String>,
}

impl Kind for HangSpec {
    const ABOUT: &'static str =
        "A server's program does nothing at all. Its kernel goes on acknowledging and accepting.";

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let server = cx.server(&self.server)?;
        Some(Resolved {
            target: server.clone(),
            detail: None,
            effects: vec![Effect::Hang { server }],
            span: self.server.span,
        })
    }
}
