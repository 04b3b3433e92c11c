//! `state_lost`: a middlebox forgets all connections.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A middlebox that forgets.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateLostSpec {
    /// The middlebox.
    pub middlebox: Spanned<String>,
}

impl Kind for StateLostSpec {
    const ABOUT: &'static str = "A middlebox forgets all connections, as one that is started anew or another that takes over. New ones pass.";

    fn done_at_once(&self) -> Option<&'static str> {
        Some("`state_lost` has no `for`: it happens at one instant")
    }

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (middlebox, _) = cx.middlebox(&self.middlebox)?;
        Some(Resolved {
            target: middlebox.clone(),
            detail: None,
            effects: vec![Effect::LoseState {
                middlebox,
                idle_of: None,
            }],
            span: self.middlebox.span,
        })
    }
}
