//! `halfopen report`.

use std::path::{Path, PathBuf};

use super::{Exit, inputs, run, with_causes};
use crate::report::{Output, read_record};
use crate::verdict::{CaseResult, RunSummary, judge};

pub(super) fn report(paths: &[PathBuf], reports: &[Output]) -> Exit {
    let files = match inputs::files(paths, &["ndjson"]) {
        Ok(files) => files,
        Err(error) => return Exit::usage(&error),
    };
    let results: Result<Vec<CaseResult>, String> = files.iter().map(|file| judge_file(file)).collect();
    match results {
        Ok(results) => {
            let exit = Exit::of_run(&RunSummary::of(&results), false);
            run::write_reports(&results, reports).unwrap_or(exit)
        }
        Err(error) => Exit::usage(&error),
    }
}

fn judge_file(path: &Path) -> Result<CaseResult, String> {
    let events = read_record(path).map_err(|e| with_causes(&e))?;
    Ok(judge(&events))
}
