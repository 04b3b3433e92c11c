//! Machines, as the file has them: names alone, or with settings.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::yaml::value::{Named, Spanned, Text};

/// Nodes, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodes(pub Vec<(Spanned<String>, NodeSpec)>);

impl Nodes {
    /// Names and settings, where they could be read.
    pub fn iter(&self) -> impl Iterator<Item = (&Spanned<String>, &str, &NodeSpec)> {
        self.0
            .iter()
            .filter_map(|(name, spec)| Some((name, name.get()?.as_str(), spec)))
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of node names, or a mapping from node names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nodes, E> {
                Err(E::custom(format!(
                    "expected a list of node names, found `{text}`\nwrite `[{text}]`"
                )))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Nodes, A::Error> {
                let mut nodes = Vec::new();
                while let Some(name) = items.next_element()? {
                    nodes.push((name, NodeSpec::default()));
                }
                Ok(Nodes(nodes))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Nodes, A::Error> {
                let mut nodes = Vec::new();
                while let Some((name, spec)) = map.next_entry::<_, Spanned<NodeSpec>>()? {
                    nodes.push((name, spec.value.unwrap_or_default()));
                }
                Ok(Nodes(nodes))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Nodes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Nodes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let node = generator.subschema_for::<NodeSpec>();
        json_schema!({ "anyOf": [
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            { "type": "object", "additionalProperties": { "anyOf": [node, { "type": "null" }] } },
        ] })
    }
}

/// A machine that can lose power.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Sysctls of the node itself. Its pods do not see them: a pod has a network namespace of its own.
    pub sysctls: Option<Spanned<Named<Text>>>,
    /// Whatever its pods send beyond their network bears the node's own address, as CNI's `ipMasq` has it (default false).
    /// What packets show of these pods' connections is then unknown: no `cause` can be expected of them.
    pub masquerade: Option<Spanned<bool>>,
}
