//! A scenario: one YAML file, its shape, and everything that can be wrong with it.
//!
//! Text becomes a tree that knows its places, the matrix makes a tree for every case, a tree becomes a
//! [`model::Scenario`], and that is resolved into plain numbers. All errors of a file come at once. Nothing here looks at
//! the machine: a file that is read here is read everywhere.

mod cx;
mod load;
pub mod model;
mod resolve;
mod sysctls;
mod template;
mod topology;

pub use crate::yaml::{Diagnostic, render, render_within};
pub use load::{MAX_BYTES, load, parse};
pub use resolve::PlanOptions;
pub(crate) use template::{Put, Template};

/// The JSON Schema of a scenario file.
#[must_use]
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings
        .into_generator()
        .into_root_schema_for::<model::Scenario>()
        .to_value()
}
