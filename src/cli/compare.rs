//! `halfopen compare`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::stdout::say;
use super::{Exit, inputs, report, screen};
use crate::comparison::{Comparison, Tolerance};
use crate::printable::printable_path;
use crate::report::{ComparisonFormat, SCHEMA_VERSION, write_comparison};
use crate::result::CaseResult;

/// Compares an old run and a new one: where each is, and what the names of its cases must contain.
pub(super) fn compare(
    runs: &[(PathBuf, Option<String>); 2],
    tolerance: Tolerance,
    format: ComparisonFormat,
) -> Exit {
    let [old, new] = runs;
    let of = |(path, part): &(PathBuf, Option<String>)| {
        results(path).map(|all| chosen(all, part.as_deref()))
    };
    let (old, new) = match (of(old), of(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(error), _) | (_, Err(error)) => return Exit::usage(&error),
    };
    let comparison = Comparison::of(&old, &new, tolerance);
    if comparison.compared == 0 {
        return Exit::broken("the two have no case in common: nothing was compared");
    }
    let exit = match comparison.regressions().next() {
        None => Exit::Held,
        Some(_) => Exit::Failed,
    };
    let mut text = Vec::new();
    let columns = screen::width_of_stdout().filter(|_| format == ComparisonFormat::Table);
    match write_comparison(&comparison, format, columns, &mut text) {
        Ok(()) => {
            let text = String::from_utf8_lossy(&text);
            // It is ended by who says it.
            let text = screen::folded(text.strip_suffix('\n').unwrap_or(&text), columns);
            say(&text, exit)
        }
        Err(error) => Exit::broken(&format!("failed to write the comparison: {error}")),
    }
}

/// The cases whose names contain `part`, which is left out.
fn chosen(mut results: Vec<CaseResult>, part: Option<&str>) -> Vec<CaseResult> {
    if let Some(part) = part.filter(|part| !part.is_empty()) {
        results.retain(|result| result.case.contains(part));
        for result in &mut results {
            result.case = result.case.replacen(part, "…", 1);
            if let Some(repetition) = &mut result.repetition {
                repetition.case = repetition.case.replacen(part, "…", 1);
            }
        }
    }
    results
}

/// What a run came to: by its JSON report, or by its records, judged again.
fn results(path: &Path) -> Result<Vec<CaseResult>, String> {
    let metadata = path.metadata().map_err(|e| inputs::unread(path, &e))?;
    let is_record = path.extension().is_some_and(|e| e == "ndjson");
    if metadata.is_dir() || is_record {
        return report::judged(&[PathBuf::from(path)]);
    }
    let shown = printable_path(path);
    let text = fs::read_to_string(path).map_err(|e| inputs::unread(path, &e))?;
    let document: Document = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{shown} is no JSON report of `halfopen run --report json={shown}`: {error}; a folder of records will do as well"
        )
    })?;
    if document.schema_version > SCHEMA_VERSION {
        return Err(format!(
            "{shown} has schema_version {}, and this halfopen reads up to {SCHEMA_VERSION}",
            document.schema_version
        ));
    }
    Ok(document.cases)
}

/// A JSON report.
#[derive(Deserialize)]
struct Document {
    schema_version: u32,
    cases: Vec<CaseResult>,
}
