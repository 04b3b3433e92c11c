//! `halfopen report`.

use std::path::PathBuf;

use super::{Exit, inputs, run, with_causes};
use crate::report::{Output, read_record};
use crate::verdict::{RunSummary, judge};

pub(super) fn report(paths: &[PathBuf], reports: &[String]) -> Exit {
    let outputs = match Output::parse_all(reports) {
        Ok(outputs) => outputs,
        Err(error) => return Exit::usage(&error.to_string()),
    };
    let files = match inputs::files(paths, &["ndjson"]) {
        Ok(files) => files,
        Err(error) => return Exit::usage(&error),
    };
    let mut results = Vec::new();
    for file in files {
        match read_record(&file) {
            Ok(events) => results.push(judge(&events)),
            Err(error) => return Exit::usage(&with_causes(&error)),
        }
    }
    let exit = match RunSummary::of(&results).exit_code(false) {
        0 => Exit::Held,
        1 => Exit::Failed,
        _ => Exit::Broken,
    };
    run::write_reports(&results, &outputs).unwrap_or(exit)
}
