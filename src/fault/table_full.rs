//! `table_full`: a middlebox has no room for connections that it does not know.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::{Direction, Effect, End, Packets, Path, Where};
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A middlebox without room.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableFullSpec {
    /// The middlebox.
    pub middlebox: Spanned<String>,
}

impl Kind for TableFullSpec {
    const ABOUT: &'static str = "A middlebox has no room for more connections: SYNs that pass it vanish, both ways. Those that it knows go on.";

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (middlebox, node) = cx.middlebox(&self.middlebox)?;
        let path = Path {
            place: Where::At(End::Machine(node)),
            direction: Direction::Both,
        };
        Some(Resolved {
            target: middlebox,
            detail: None,
            effects: vec![Effect::Drop {
                path,
                packets: Packets::Syn,
                percent: 100.0,
            }],
            span: self.middlebox.span,
        })
    }
}
