//! Windows of times and counts, as the file has them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Deserialize;

use crate::yaml::percent::Percent;
use crate::yaml::value::{Spanned, Time};

/// A lower and an upper bound.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Bounds<T>(pub Vec<Spanned<T>>);

impl<T: JsonSchema> JsonSchema for Bounds<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bounds_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let bound = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": bound, "minItems": 2, "maxItems": 2 })
    }
}

/// A window of time from the fault.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindowSpec {
    /// Not within the case.
    Never,
    /// Earliest and latest, both included.
    Between(Bounds<Time>),
    /// At most.
    Within(Time),
    /// At least, and not never.
    AtLeast(Time),
}

/// A window of a count.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountWindowSpec {
    /// Smallest and largest, both included.
    Between(Bounds<u32>),
    /// Largest.
    AtMost(u32),
    /// Smallest.
    AtLeast(u32),
    /// Just this many.
    Exactly(u32),
}

/// A window of a share of the whole.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareWindowSpec {
    /// Smallest, e.g. `99.9%`.
    AtLeast(Percent),
}
