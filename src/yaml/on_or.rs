//! A knob that is `on`, or has a value.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

/// The name by which the decoder knows it.
pub(crate) const ON_OR: &str = "$halfopen::OnOr";

/// A knob that can be `on`, with nothing more said.
#[derive(Debug, Clone, PartialEq)]
pub enum OnOr<T> {
    /// `on`.
    On,
    /// A value.
    Own(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Choice<T> {
            type Value = OnOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`on` or a value")
            }

            fn visit_none<E>(self) -> Result<OnOr<T>, E> {
                Ok(OnOr::On)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<OnOr<T>, D::Error> {
                T::deserialize(inner).map(OnOr::Own)
            }
        }
        deserializer.deserialize_newtype_struct(ON_OR, Choice(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OnOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OnOr_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // For a reader of YAML 1.1 `on` is a boolean.
        json_schema!({ "anyOf": [{ "enum": ["on", true] }, generator.subschema_for::<T>()] })
    }
}
