//! JSON for programs. Its shape is a contract: fields are added, never renamed.

use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use crate::verdict::{CaseResult, RunSummary};

/// Version of the JSON's shape; it rises when a field changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON report.
#[derive(Default)]
pub(super) struct Json;

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    summary: RunSummary,
    cases: &'a [CaseResult],
}

impl Report for Json {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let document = Document {
            schema_version: SCHEMA_VERSION,
            summary: RunSummary::of(results),
            cases: results,
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }
}
