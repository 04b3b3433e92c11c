//! What `explain` says would have shortened an outage: each change is made to the scenario, and the outage measured again.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen::explain::counterfactual::{Change, considered};
use halfopen::plan::Case;
use halfopen::record::{Event, Observation};
use halfopen::verdict::judge;
use serde_json::Value;
use serde_yaml::{Mapping, Value as Yaml};

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
    /// The scenario's one case with the change made, which may not go with the matrix' other cases.
    fn changed(&self) -> String {
        let text = fs::read_to_string(&self.scenario).expect("a scenario");
        let mut scenario: Mapping = serde_yaml::from_str(&text).expect("YAML");
        // It is measured, whatever was expected of the case as it was.
        for expected in ["expect", "expect_when"] {
            scenario.remove(expected);
        }
        let empty = || Yaml::Mapping(Mapping::new());
        let matrix = scenario.entry("matrix".into()).or_insert_with(empty);
        let matrix = matrix.as_mapping_mut().expect("a mapping");
        for (_, values) in matrix.iter_mut() {
            match values {
                Yaml::Sequence(values) => values.retain(|value| self.has(value)),
                Yaml::Mapping(values) => values.retain(|name, _| self.has(name)),
                _ => {}
            }
        }
        for (path, value) in &self.change.settings {
            let value: Yaml = serde_yaml::from_str(value).expect("YAML");
            matrix.insert(path.as_str().into(), Yaml::Sequence(vec![value]));
        }
        serde_yaml::to_string(&scenario).expect("YAML")
    }

    /// Whether the case is one of those with this value in the matrix.
    fn has(&self, value: &Yaml) -> bool {
        let value = serde_yaml::to_string(value).expect("YAML");
        let mut parts = self.case.split([',', ' ']);
        parts.any(|part| part.split_once('=').is_some_and(|(_, v)| v == value.trim()))
    }

    /// What is wrong with the claim, by what was measured; nothing if it held.
    fn refuted(&self) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("changed.yaml");
        fs::write(&file, self.changed()).expect("written");
        let run = Run::of(&[&file], &["--clock", "virtual", "--allow-skipped"]);
        let mut own: Vec<&Value> = run.cases().iter().filter(|c| self.is_of(c)).collect();
        // Of repetitions the first, as it was proposed for: each of the others begins elsewhere in the client's rhythm.
        own.retain(
            |case| match case.get("repetition").filter(|r| !r.is_null()) {
                Some(repetition) => repetition["number"] == 1,
                None => case["distributions"].as_array().is_none_or(Vec::is_empty),
            },
        );
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
        // A report's times are whole microseconds.
        let holds = match client[key].as_f64() {
            Some(time) => (min - 1e-6..=max + 1e-6).contains(&time),
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
