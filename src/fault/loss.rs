//! `loss`: packets vanish, all of them or some by chance.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::path::on_a_path;
use super::{Context, Kind, Resolved};
use crate::plan::{Effect, Packets};
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

/// Some of a hundred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of percent such as `30` or `0.5`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                let number = text.strip_suffix('%').unwrap_or(text).trim().parse();
                match number.ok().filter(|n: &f64| *n > 0.0 && *n <= 100.0) {
                    Some(number) => Ok(Percent(number)),
                    None => Err(E::custom(format!(
                        "`{text}` is not a number of percent above 0 and at most 100\nwrite e.g. `30` or `0.5`"
                    ))),
                }
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 100 })
    }
}
