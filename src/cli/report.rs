//! `halfopen report`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Exit, inputs, run, with_causes};
use crate::report::{ReportTarget, record_reader};
use crate::verdict::{CaseResult, RunSummary, judge};

pub(super) fn report(paths: &[PathBuf], reports: &[ReportTarget]) -> Exit {
    let files = match inputs::files(paths, &["ndjson"]) {
        Ok(files) => files,
        Err(error) => return Exit::usage(&error),
    };
    let results: Result<Vec<CaseResult>, String> =
        files.iter().map(|file| judge_file(file)).collect();
    match results {
        Ok(results) => {
            let exit = Exit::of_run(&RunSummary::of(&results), false);
            run::write_reports(&results, reports, exit)
        }
        Err(error) => Exit::usage(&error),
    }
}

fn judge_file(path: &Path) -> Result<CaseResult, String> {
    let file = File::open(path).map_err(|e| format!("failed to read {}: {e}", path.display()))?;
    let record = record_reader::read(BufReader::new(file))
        .map_err(|e| format!("{}: {}", path.display(), with_causes(&e)))?;
    if let Some(line) = record.cut_off_line {
        eprintln!(
            "warning: {}: line {line} is cut off and left out",
            path.display()
        );
    }
    Ok(judge(&record.events))
}
