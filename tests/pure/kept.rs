//! What is made of kept records, and foreseen of this repository's scenarios, to the last figure: no line of the judge or of
//! the timeout model may change that without somebody looking at it. (That the figures are right, the other tests show.)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use halfopen::scenario::{self, PlanOptions};
use serde_json::Value;

use crate::command::{repository, run};

/// Records, where they lie in fixtures/records, whose results are not told of by others.
const FOLDERS: [&str; 2] = ["", "incidents"];

#[test]
fn results_of_kept_records() {
    for folder in FOLDERS {
        for case in reported(&repository("fixtures/records").join(folder)) {
            let scenario = case["scenario"].as_str().expect("a name");
            let name = plain(&format!("{folder}--{scenario}--{}", name(&case)));
            insta::assert_snapshot!(format!("result-{name}"), pretty(&case));
        }
    }
}

/// What a report for programs says of the records directly in a folder.
fn reported(folder: &Path) -> Vec<Value> {
    let own = tempfile::tempdir().expect("a folder");
    for file in files(folder, "ndjson") {
        let name = file.file_name().expect("a name");
        fs::copy(&file, own.path().join(name)).expect("copied");
    }
    let json = own.path().join("report.json");
    let target = format!("json={}", json.display());
    let outcome = run([
        "report",
        own.path().to_str().expect("UTF-8"),
        "--report",
        &target,
    ]);
    let report = fs::read(json).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    report["cases"].as_array().expect("cases").clone()
}

#[test]
fn predictions_of_all_scenarios() {
    let folders = [
        "scenarios",
        "scenarios/incidents",
        "scenarios/libraries",
        "fixtures/scenarios",
    ];
    for file in folders
        .iter()
        .flat_map(|folder| files(&repository(folder), "yaml"))
    {
        let cases = scenario::load(&file, &PlanOptions::default());
        let cases = cases.unwrap_or_else(|_| panic!("{} is right", file.display()));
        let foreseen: BTreeMap<_, _> = cases
            .iter()
            // Two throws of the dice say what any number does.
            .filter(|case| case.repetition.as_ref().is_none_or(|it| it.number <= 2))
            .map(|case| {
                (
                    case.name.clone(),
                    serde_json::to_value(&case.predictions).expect("JSON"),
                )
            })
            .collect();
        let name = file.file_stem().expect("a name").to_string_lossy();
        insta::assert_snapshot!(
            format!("foreseen-{}", plain(&name)),
            pretty(&serde_json::to_value(foreseen).expect("JSON"))
        );
    }
}

/// The files directly in a folder that end so, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .collect();
    files.sort();
    files
}

fn name(case: &Value) -> &str {
    case["case"].as_str().expect("a name")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

/// As a file name.
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_alphanumeric() && c != '-', "_")
}
