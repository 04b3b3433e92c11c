//! How long a machine has been up, as the file has it: what may be longer than any scenario.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::plan::LONGEST_UPTIME;
use crate::yaml::value::{TIME_PATTERN, parse_any_time};

/// A duration of at most [`LONGEST_UPTIME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime(pub Duration);

impl<'de> Deserialize<'de> for Uptime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Uptime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an uptime such as `5days`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Uptime, E> {
                parse(text).map_err(|(message, help)| E::custom(format!("{message}\n{help}")))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Uptime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Uptime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An uptime with its unit, at most 24days: `5days`, `1h`.",
            "pattern": TIME_PATTERN,
            "examples": ["5days", "1h"],
        })
    }
}

/// Reads an uptime; the error is what is wrong and what would be right.
fn parse(text: &str) -> Result<Uptime, (String, String)> {
    let uptime = parse_any_time(text)?;
    if uptime > LONGEST_UPTIME {
        let help =
            "timestamps are 32 bits of milliseconds: beyond half of them, older reads as younger";
        let message = format!("`{}` is more than 24 days", text.trim());
        return Err((message, help.to_owned()));
    }
    Ok(Uptime(uptime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_may_be_days_but_not_more_than_half_the_clock() {
        assert_eq!(parse("5days"), Ok(Uptime(Duration::from_secs(5 * 86_400))));
        assert!(parse("24days").is_ok());
        assert!(parse("25days").expect_err("long").0.contains("24 days"));
        assert!(parse("5").expect_err("no unit").0.contains("no unit"));
    }
}
