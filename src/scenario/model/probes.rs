//! The shape of `probes`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::yaml::value::{OffOr, Size, Spanned};

/// What is looked at besides what verdicts need. Where no dice decide, verdicts and times are the same without; dice fall
/// otherwise, as with any other change.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbesSpec {
    /// Every client's and server's sockets through time (default `on`).
    pub sockets: Option<Spanned<Switch>>,
    /// Counters of TCP, IP and conntrack at each fault and around it (default `on`).
    pub counters: Option<Spanned<Switch>>,
    /// The services' rules and connections at each fault and around it (default `on`).
    pub rules: Option<Spanned<Switch>>,
    /// Links whose packets are kept, beside a record kept with `--record`: a node's uplink, by its name; a server's or a
    /// client's own link, by its. Without it: the uplinks of all nodes with clients.
    pub packets: Option<Spanned<OffOr<Vec<Spanned<String>>>>>,
    /// Bytes of packets kept of each link, the newest (default 1MiB).
    pub packet_limit: Option<Spanned<Size>>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    #[serde(alias = "true")]
    On,
    /// Off.
    #[serde(alias = "false")]
    Off,
}

impl JsonSchema for Switch {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // For a reader of YAML 1.1 these words are booleans.
        json_schema!({
            "description": "On or off.",
            "oneOf": [
                { "enum": ["on", true], "description": "On." },
                { "enum": ["off", false], "description": "Off." },
            ],
        })
    }
}
