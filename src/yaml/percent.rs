//! A number of percent, as the file has it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

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
        json_schema!({
            "description": "A number of percent: `30`, `99.9%`.",
            "anyOf": [
                { "type": "number", "exclusiveMinimum": 0, "maximum": 100 },
                { "type": "string", "pattern": "^[0-9]+([.][0-9]+)? *%$" },
            ],
        })
    }
}
