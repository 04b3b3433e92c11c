//! What must hold, by client, and of servers.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::expect::ExpectSpec;
use super::window::Bounds;
use crate::plan::Cause;
use crate::yaml::value::{Named, OneOrList, Spanned, Time};

/// The key that is no client.
pub(crate) const SERVERS: &str = "servers";

/// What must hold: of clients, by name, and of servers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectationsSpec {
    /// Of clients.
    pub clients: Named<ExpectSpec>,
    /// Of servers, by name.
    pub servers: Option<Spanned<Named<ExpectServerSpec>>>,
}

/// What must hold of a server.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectServerSpec {
    /// How long it keeps the connections that a client had with it: until its kernel or its program ends the last of them.
    pub forgot: Option<Spanned<OneOrList<ForgotSpec>>>,
}

/// When a server has no connection of a client any more that it had when a fault came. Times count from the fault.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgotSpec {
    /// Whose connections.
    pub client: Spanned<String>,
    /// The fault by its `name` (default: the one that ended the client, else the first).
    pub fault: Option<Spanned<String>>,
    /// At most.
    pub within: Option<Spanned<Time>>,
    /// Earliest and latest, both included.
    pub between: Option<Spanned<Bounds<Time>>>,
    /// At least, and not never.
    pub at_least: Option<Spanned<Time>>,
    /// Not within the case.
    pub never: Option<Spanned<bool>>,
    /// What ended the last of them: as of a client's connections, or `closed_by_server`.
    pub cause: Option<Spanned<OneOrList<Cause>>>,
}

impl<'de> Deserialize<'de> for ExpectationsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = ExpectationsSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from clients' names")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ExpectationsSpec, A::Error> {
                let mut all = ExpectationsSpec::default();
                while let Some(name) = map.next_key::<Spanned<String>>()? {
                    match name.get().map(String::as_str) {
                        Some(SERVERS) => all.servers = Some(map.next_value()?),
                        Some(_) | None => all.clients.0.push((name, map.next_value()?)),
                    }
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl JsonSchema for ExpectationsSpec {
    fn schema_name() -> Cow<'static, str> {
        "ExpectationsSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// The key that is no client's name.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is asked for")]
        struct Others {
            /// What must hold of servers, by name.
            servers: Option<Spanned<Named<ExpectServerSpec>>>,
        }
        let mut schema = Others::json_schema(generator);
        let about = "What must hold: of clients, by name, and of servers.";
        schema.insert("description".to_owned(), about.into());
        let of_client = generator.subschema_for::<Spanned<ExpectSpec>>();
        schema.insert("additionalProperties".to_owned(), of_client.into());
        schema
    }
}
