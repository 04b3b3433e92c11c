//! What must hold of the counters of a namespace, as the file has it.

use schemars::JsonSchema;

use super::window::Bounds;
use crate::yaml::value::Named;

/// By node, server or client: counters of its network namespace by the kernel's name with its group.
pub type CountersSpec = Named<Named<CounterSpec>>;

/// By how much a counter must have grown from the case's start to its end.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CounterSpec {
    /// Smallest and largest, both included.
    Between(Bounds<u32>),
    /// Largest.
    AtMost(u32),
    /// Smallest.
    AtLeast(u32),
    /// Just this much.
    Exactly(u32),
    /// As much as another counter of the same namespace.
    SameAs(String),
}
