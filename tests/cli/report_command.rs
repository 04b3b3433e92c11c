//! Reports: of a run in every format, and of its records afterwards.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Run, changed, halfopen, kernel_or_skip, outcome, run, two_seconds};
use crate::command_line::{FAILS, HOLDS, NO_SUCH_SYSCTL, text};

#[test]
fn report_of_a_record_says_what_the_run_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let (records, again) = (
        folder.path().join("records"),
        folder.path().join("again.json"),
    );
    let (_failing, failing) = changed(&two_seconds(), &[(HOLDS, FAILS)]);
    let (_skipped, skipped) = changed(&two_seconds(), &[NO_SUCH_SYSCTL]);
    // Three cases of one name: each has a record of its own.
    let scenarios = [failing.as_path(), &two_seconds(), &skipped];
    let run = Run::of(&scenarios, &["--record", text(&records)]);
    assert_eq!(run.verdicts(), ["fail", "pass", "skipped"]);
    assert_eq!(files_in_order(&records).len(), 3);
    let all = fs::read_dir(&records).expect("records").count();
    assert_eq!(
        all,
        3 + 2 + 1,
        "and packets of each that was played, and which run it was"
    );

    let mut command = halfopen(["report", "--report", &format!("json={}", again.display())]);
    command.args(files_in_order(&records));
    let reported = outcome(&mut command);
    assert_eq!(reported.code, run.outcome.code);
    assert_eq!(reported.stdout, run.outcome.stdout);
    let again: Value =
        serde_json::from_str(&fs::read_to_string(again).expect("a report")).expect("JSON");
    assert_eq!(again, run.json);
}

/// The JSON report of the records below a folder.
fn reported(records: &Path) -> Value {
    let reported = run(["report", "--report", "json=-", text(records)]);
    serde_json::from_str(&reported.stdout).expect("JSON alone")
}

#[test]
fn report_compares_the_clocks_of_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (real, other) = (
        folder.path().join("1-real"),
        folder.path().join("2-virtual-6.18"),
    );
    let recorded = Run::of(
        &[&two_seconds()],
        &["--clock", "real", "--record", text(&real)],
    );
    recorded.outcome.assert(0, &[]);
    let name = "two-seconds--default.ndjson";
    let record = fs::read_to_string(real.join(name)).expect("a record");
    let moved = record.replacen("\"clock\":\"real\"", "\"clock\":\"virtual\"", 1);
    assert_ne!(moved, record);
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join(name), &moved).expect("written");
    let agree = |report: &Value| report.to_string().matches("both clocks agree").count();
    assert!(agree(&reported(folder.path())) > 0);
    // Two runs, as far as anybody can tell.
    fs::rename(&real, folder.path().join("real")).expect("renamed");
    assert_eq!(agree(&reported(folder.path())), 0);
}

#[test]
fn report_says_what_a_run_on_both_clocks_said() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let record = ["--clock", "both", "--record", text(folder.path())];
    let run = Run::of(&[&two_seconds()], &record);
    assert_eq!(reported(folder.path()), run.json);
}

/// The records in the order their cases were run: by what their names were made unique with.
fn files_in_order(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    let is_record = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "ndjson");
    let mut files: Vec<_> = paths.filter(is_record).collect();
    files.sort_by_key(|path| path.as_os_str().len());
    files[1..].sort();
    files
}

#[test]
fn reports_are_written_in_every_format_and_dash_is_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let begins = [
        ("json", "{\n  \"schema_version\": 1"),
        ("junit", "<?xml version=\"1.0\""),
        ("markdown", "#"),
        ("table", "pass: two-seconds / default"),
    ];
    // Standard output has the report alone, so that a program can read it.
    let mut command = halfopen(["run", text(&two_seconds()), "--report", "markdown=-"]);
    for (format, _) in begins {
        command.arg("--report");
        command.arg(format!("{format}={}", folder.path().join(format).display()));
    }
    let ended = outcome(&mut command);
    ended.assert(0, &[]);
    for (format, begin) in begins {
        let written = fs::read_to_string(folder.path().join(format)).expect("a report");
        assert!(written.starts_with(begin), "{format}: {written}");
        if format == "table" {
            assert!(ended.stderr.ends_with(&written), "{ended}");
        }
        if format == "markdown" {
            assert_eq!(ended.stdout, written);
        }
    }
}

#[test]
fn two_kernels_give_two_rows_and_two_folders_of_records() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    // The oldest beside the default; the same one twice where no other is built.
    let other = halfopen::clock::kernel::built().into_iter().next();
    let other = other.unwrap_or_else(|| kernel.clone());
    let run = Run::of(
        &[&two_seconds()],
        &[
            "--kernel",
            text(&kernel.path),
            "--kernel",
            text(&other.path),
            "--record",
            text(folder.path()),
        ],
    );
    run.outcome.assert(0, &["2 cases: 2 passed"]);
    let versions = [&kernel, &other].map(|k| k.about.as_ref().map(|about| about.version.clone()));
    let named: Vec<_> = run
        .cases()
        .iter()
        .map(|case| case["kernel"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(named, versions);
    for (number, version) in versions.iter().enumerate() {
        let version = version.as_deref().unwrap_or_default();
        let name = format!(
            "{}-virtual-{version}/two-seconds--default.ndjson",
            number + 1
        );
        let record = fs::read_to_string(folder.path().join(&name)).expect(&name);
        let first = record.lines().next().unwrap_or_default();
        assert!(
            first.contains(&format!("\"kernel\":\"{version}\"")),
            "{first}"
        );
    }
}
