//! What `explain` says would have shortened an outage: each change is made to the scenario, and the outage measured again.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen::explain::counterfactual::{Change, considered};
use halfopen::plan::Case;
use halfopen::record::{Event, Observation};
use halfopen::verdict::judge;
use serde_json::Value;

use crate::command::{Run, client, kernel_or_skip, repository};

/// Of so many changes one is tried.
const SAMPLE: usize = 12;

/// A change proposed for a client of a case.
struct Proposed {
    scenario: PathBuf,
    case: String,
    client: String,
    change: Change,
}

fn events(record: &Path) -> Vec<Event> {
    let text = fs::read_to_string(record).expect("a record");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("events")
}

fn case_of(record: &[Event]) -> &Case {
    match record.first().map(|e| &e.what) {
        Some(Observation::CaseStarted { case, .. }) => case,
        _ => panic!("a record begins with its case"),
    }
}

/// All changes that are proposed for what a scenario's cases came to; of repetitions, for the first.
fn proposed(scenario: &Path) -> Vec<Proposed> {
    let folder = tempfile::tempdir().expect("a folder");
    let records = folder.path().join("records");
    let into = records.to_str().expect("UTF-8");
    let arguments = ["--clock", "virtual", "--allow-skipped", "--record", into];
    let _ = Run::of(&[scenario], &arguments);
    let files = fs::read_dir(&records).expect("records");
    let mut files: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "ndjson"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let record = events(&file);
        let case = case_of(&record);
        if case.repetition.as_ref().is_some_and(|r| r.number > 1) {
            continue;
        }
        let result = judge(&record);
        let name = case.repetition.as_ref().map_or(&case.name, |r| &r.case);
        for planned in &case.lab.clients {
            let considered = considered(planned, case, &result).unwrap_or_default();
            all.extend(considered.shorten.into_iter().map(|change| Proposed {
                scenario: scenario.to_owned(),
                case: name.clone(),
                client: planned.name.clone(),
                change,
            }));
        }
    }
    all
}

impl Proposed {
    /// The scenario with the change made, as a matrix of one value.
    fn changed(&self) -> String {
        let text = fs::read_to_string(&self.scenario).expect("a scenario");
        let rows = self.change.settings.iter();
        let rows: String = rows
            .map(|(path, value)| format!("  {path}: [{value}]\n"))
            .collect();
        match text.contains("\nmatrix:\n") {
            true => text.replace("\nmatrix:\n", &format!("\nmatrix:\n{rows}")),
            false => format!("{text}\nmatrix:\n{rows}"),
        }
    }

    /// What is wrong with the claim, by what was measured; nothing if it held.
    fn refuted(&self) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("changed.yaml");
        fs::write(&file, self.changed()).expect("written");
        let run = Run::of(&[&file], &["--clock", "virtual", "--allow-skipped"]);
        let mut own: Vec<&Value> = run.cases().iter().filter(|c| self.is_of(c)).collect();
        own.retain(|case| {
            case.get("distributions")
                .is_none_or(|all| all.as_array().is_none_or(Vec::is_empty))
        });
        assert!(
            !own.is_empty(),
            "{}: no such case: {}",
            self.name(),
            run.outcome
        );
        own.into_iter()
            .filter_map(|case| self.outside(case))
            .collect()
    }

    fn is_of(&self, case: &Value) -> bool {
        let name = case["case"].as_str().expect("a name");
        self.case == "default" || self.case.split(", ").all(|part| name.contains(part))
    }

    fn outside(&self, case: &Value) -> Option<String> {
        let client = client(case, &self.client);
        let key = match self.change.of_recovery {
            true => "recovered_after_s",
            false => "detected_after_s",
        };
        let window = &self.change.window;
        let (min, max) = (window.min.as_secs_f64(), window.max.as_secs_f64());
        let lasted = case["duration_s"].as_f64().unwrap_or_default()
            - client["fault_at_s"].as_f64().unwrap_or_default();
        let holds = match client[key].as_f64() {
            Some(time) => (min..=max).contains(&time),
            None => lasted < max,
        };
        let measured = &client[key];
        (!holds).then(|| format!("{}: {key} {measured}, not {min} to {max}", self.name()))
    }

    fn name(&self) -> String {
        let file = self.scenario.file_stem().unwrap_or_default().display();
        format!(
            "{file} / {} / {}: {}",
            self.case, self.client, self.change.knob
        )
    }
}

/// Tries one in `sample` of all changes proposed for the incidents.
fn try_changes(sample: usize) {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = fs::read_dir(repository("scenarios/incidents")).expect("the folder is there");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("a file").path()).collect();
    // The Go program is not in PATH here.
    files.retain(|path| !path.ends_with("a4-httptest-go.yaml"));
    files.sort();
    let all: Vec<Proposed> = files.iter().flat_map(|file| proposed(file)).collect();
    let all: Vec<_> = all
        .into_iter()
        .filter(|p| !p.change.settings.is_empty())
        .collect();
    assert!(all.len() > 50, "only {} changes are proposed", all.len());
    let tried: Vec<_> = all.iter().step_by(sample).collect();
    let wrong: Vec<String> = tried.iter().flat_map(|p| p.refuted()).collect();
    assert!(wrong.is_empty(), "of {} changes: {wrong:#?}", tried.len());
}

#[test]
#[ignore = "takes minutes: every incident, and a sample of the changes that are proposed for it"]
fn a_change_does_what_was_said_of_it() {
    try_changes(SAMPLE);
}

#[test]
#[ignore = "takes minutes: every change that is proposed for any incident"]
fn every_change_does_what_was_said_of_it() {
    try_changes(1);
}
