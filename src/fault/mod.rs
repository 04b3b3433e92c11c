//! Faults as a scenario writes them. One file a fault: its YAML, its checks, and the effects that it resolves to.
//!
//! A new fault made of known effects is a file and a line in the list below. What an effect does, and what follows from
//! it, the lab and the verdict know: see [`crate::plan::Effect`].

mod context;
mod endpoint;
mod path;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::plan::Effect;
use crate::yaml::source::Span;
pub(crate) use context::Context;
pub use endpoint::EndpointSpec;

/// What a fault's file says of it.
pub(crate) trait Kind {
    /// What it is, for the JSON Schema.
    const ABOUT: &'static str;

    /// Why there is no `for` of it; `None` if there is.
    fn done_at_once(&self) -> Option<&'static str> {
        None
    }

    /// Checks it and resolves it. `span` is where the whole of it stands. `None` if something is wrong with it, which is
    /// reported then.
    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved>;
}

/// A fault in which nothing is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    /// What it strikes, in words.
    pub(crate) target: String,
    /// How strong it is, or of which kind, in people's units.
    pub(crate) detail: Option<String>,
    /// What it does.
    pub(crate) effects: Vec<Effect>,
    /// Where the name of what it strikes stands.
    pub(crate) span: Span,
}

/// Declares the faults: `module: Variant(Spec)`. The module's name is the fault's in YAML.
macro_rules! faults {
    ($($module:ident: $variant:ident($spec:ident),)*) => {
        $(pub mod $module;)*

        /// What breaks.
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultKindSpec {
            $(
                #[doc = concat!("See [`", stringify!($module), "`].")]
                $variant($module::$spec),
            )*
        }

        impl FaultKindSpec {
            /// Its name in YAML and reports.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($module),)*
                }
            }

            /// Why there is no `for` of it; `None` if there is.
            pub(crate) fn done_at_once(&self) -> Option<&'static str> {
                match self {
                    $(Self::$variant(spec) => spec.done_at_once(),)*
                }
            }

            /// Checks it and resolves it; see [`Kind::resolve`].
            pub(crate) fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
                match self {
                    $(Self::$variant(spec) => spec.resolve(span, cx),)*
                }
            }
        }

        impl JsonSchema for FaultKindSpec {
            fn schema_name() -> Cow<'static, str> {
                "FaultKindSpec".into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                one_of(vec![$(
                    (
                        stringify!($module),
                        <$module::$spec as Kind>::ABOUT,
                        generator.subschema_for::<$module::$spec>(),
                    ),
                )*])
            }
        }
    };
}

faults! {
    power_loss: PowerLoss(PowerLossSpec),
    power_restore: PowerRestore(PowerRestoreSpec),
    process_kill: ProcessKill(ProcessKillSpec),
    hang: Hang(HangSpec),
    link_down: LinkDown(LinkDownSpec),
    loss: Loss(LossSpec),
    delay: Delay(DelaySpec),
    reject: Reject(RejectSpec),
    syn_drop: SynDrop(SynDropSpec),
    endpoint_removed: EndpointRemoved(EndpointRemovedSpec),
    endpoint_added: EndpointAdded(EndpointAddedSpec),
    conntrack_deleted: ConntrackDeleted(ConntrackDeletedSpec),
    state_lost: StateLost(StateLostSpec),
    table_full: TableFull(TableFullSpec),
    socket_destroyed: SocketDestroyed(SocketDestroyedSpec),
}

/// The schema of a mapping with just one of some keys: its name, what is said of it, and the schema of its value.
fn one_of(choices: Vec<(&str, &str, Schema)>) -> Schema {
    let each: Vec<_> = choices
        .into_iter()
        .map(|(name, about, value)| {
            serde_json::json!({
                "type": "object",
                "description": about,
                "properties": { name: value },
                "required": [name],
                "additionalProperties": false,
            })
        })
        .collect();
    json_schema!({ "description": "What breaks.", "oneOf": each })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list's names are those that serde knows.
    #[test]
    fn every_fault_goes_by_its_module_s_name() {
        let schema = schemars::schema_for!(FaultKindSpec).to_value();
        let choices = schema["oneOf"].as_array().expect("a list");
        let error = serde_json::from_str::<FaultKindSpec>(r#"{ "no_such_fault": {} }"#)
            .expect_err("no fault")
            .to_string();
        for choice in choices {
            let name = choice["required"][0].as_str().expect("a name");
            assert!(error.contains(&format!("`{name}`")), "{name}: {error}");
        }
        assert_eq!(error.matches('`').count(), 2 * (choices.len() + 1));
    }
}
