//! `halfopen report`.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::args::ReportArguments;
use super::merge::{self, Entry, Missing};
use super::{Exit, inputs, reports, run, with_causes};
use crate::explain;
use crate::input;
use crate::plan::Case;
use crate::printable::printable_path;
use crate::record::{ClockName, Event, Observation};
use crate::report::record_reader;
use crate::result::History;
use crate::verdict::{self, Allowed, CaseResult, RunSummary, judge};

pub(super) fn report(
    paths: &[PathBuf],
    written: &ReportArguments,
    allowed: Allowed,
    allow_missing: bool,
) -> Exit {
    let treated = match allow_missing {
        true => Lost::LeftOut,
        false => Lost::Errors,
    };
    let results = match judged_with(paths, treated, written.show_history()) {
        Ok(results) => results,
        Err(error) => return Exit::usage(&error),
    };
    let reports = match reports::open(&written.targets) {
        Ok(reports) => reports,
        Err(exit) => return exit,
    };
    let exit = Exit::of_run(&RunSummary::of(&results), allowed);
    reports::write(&results, &reports, written.shown(), exit)
}

/// How cases are reported whose records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// As such that could not be run.
    Errors,
    /// Not at all.
    LeftOut,
}

/// What the records below `paths` come to. What is missing among them is told, and left out.
///
/// # Errors
/// A sentence, if one can't be read or there is none.
pub(super) fn judged(paths: &[PathBuf]) -> Result<Vec<CaseResult>, String> {
    judged_with(paths, Lost::LeftOut, false)
}

/// As [`judged`], with what happened by time if that is to be shown.
fn judged_with(paths: &[PathBuf], lost: Lost, history: bool) -> Result<Vec<CaseResult>, String> {
    let found = merge::find(paths)?;
    let mut judged = Vec::new();
    for entry in found.entries {
        match entry {
            Entry::Record(file) => judged.push(judge_file(&file, history)?),
            Entry::Missing(missing) if lost == Lost::Errors => judged.push(not_there(&missing)),
            Entry::Missing(_) => {}
        }
    }
    for text in &found.warnings {
        eprintln!("warning: {text}");
    }
    for text in &found.missing {
        match lost {
            Lost::Errors => eprintln!("error: {text}; --allow-missing reports without"),
            Lost::LeftOut => eprintln!("warning: {text}"),
        }
    }
    compare_clocks(&mut judged);
    Ok(folded(judged))
}

/// The result of a case without a record.
fn not_there(missing: &Missing) -> Judged {
    Judged {
        path: PathBuf::new(),
        case: None,
        result: CaseResult::without_record(&missing.scenario, &missing.case, &missing.why),
    }
}

/// A record's result, and what it is of.
struct Judged {
    path: PathBuf,
    case: Option<Case>,
    result: CaseResult,
}

fn judge_file(path: &Path, history: bool) -> Result<Judged, String> {
    let shown = printable_path(path);
    let file = input::open(path).map_err(|e| inputs::unread(path, &e))?;
    let record = record_reader::read(BufReader::new(file))
        .map_err(|e| format!("{shown}: {}", with_causes(&e)))?;
    if let Some(line) = record.cut_off_line {
        eprintln!("warning: {shown}: line {line} is cut off and left out");
    }
    let mut result = judge(&record.events);
    if history {
        result.history = history_of(path, &record.events, &result);
    }
    Ok(Judged {
        path: path.to_owned(),
        case: case_of(&record.events),
        result,
    })
}

/// What happened by time in a record, which lies at `path` with its packets beside it.
fn history_of(path: &Path, record: &[Event], result: &CaseResult) -> Option<Box<History>> {
    let history = explain::history(record, result)?;
    let packets = path.with_extension("pcapng");
    Some(Box::new(History {
        record: Some(path.to_owned()),
        packets: packets.is_file().then_some(packets),
        ..history
    }))
}

/// The results, and those of repetitions that lie one after the other.
fn folded(judged: Vec<Judged>) -> Vec<CaseResult> {
    // A record without a case has no repetitions.
    let mut results = Vec::new();
    let mut pending: (Vec<Case>, Vec<CaseResult>) = Default::default();
    for Judged { case, result, .. } in judged {
        match case {
            Some(case) => {
                pending.0.push(case);
                pending.1.push(result);
            }
            None => {
                let (cases, of_cases) = std::mem::take(&mut pending);
                results.extend(verdict::fold(&cases, of_cases));
                results.push(result);
            }
        }
    }
    results.extend(verdict::fold(&pending.0, pending.1));
    results
}

fn case_of(record: &[Event]) -> Option<Case> {
    record.iter().find_map(|event| match &event.what {
        Observation::CaseStarted { case, .. } => Some(case.as_ref().clone()),
        _ => None,
    })
}

/// Holds each record of the virtual clock against the same case's on the real one, where one run left both.
fn compare_clocks(judged: &mut [Judged]) {
    for index in 0..judged.len() {
        let Some(real) = judged.iter().position(|it| same_case(it, &judged[index])) else {
            continue;
        };
        let on_real = judged[real].result.clone();
        let Judged { case, result, .. } = &mut judged[index];
        if let Some(case) = case {
            verdict::compare(case, &on_real, result);
        }
    }
}

/// Whether two records are of one case, run on the real clock and on a virtual one: `run --clock both` keeps them under
/// one name in folders side by side.
fn same_case(real: &Judged, other: &Judged) -> bool {
    let folders = |it: &Judged| it.path.parent().and_then(Path::parent).map(Path::to_owned);
    let folder = real.path.parent().and_then(Path::file_name);
    real.result.clock == Some(ClockName::Real)
        && other.result.clock == Some(ClockName::Virtual)
        && folder.is_some_and(|name| name == run::REAL_FOLDER)
        && folders(real) == folders(other)
        && real.path.file_name() == other.path.file_name()
        && real.result.scenario == other.result.scenario
        && real.result.case == other.result.case
}
