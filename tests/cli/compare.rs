//! `halfopen compare`: what has changed from one run to another, and which of it is for the worse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{Outcome, Run, halfopen, outcome, run, two_seconds};
use crate::command_line::text;

/// A report of one case, and another one that is changed from it.
struct Two {
    folder: TempDir,
}

impl Two {
    fn of(change: impl FnOnce(&mut Value)) -> Self {
        static REPORT: OnceLock<Value> = OnceLock::new();
        let report = REPORT.get_or_init(|| Run::of(&[&two_seconds()], &[]).json);
        Self::both(report.clone(), |report| {
            change(report);
        })
    }

    fn both(old: Value, change: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut new = old.clone();
        change(&mut new);
        for (name, report) in [("old.json", &old), ("new.json", &new)] {
            fs::write(folder.path().join(name), report.to_string()).expect("written");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compared(&self, more: &[&str]) -> Outcome {
        let mut command = halfopen(["compare"]);
        command.arg(self.path("old.json"));
        command.arg(self.path("new.json")).args(more);
        outcome(&mut command)
    }
}

/// The first client's result.
fn client(report: &mut Value) -> &mut Value {
    &mut report["cases"][0]["clients"][0]
}

/// Makes one of its times so many seconds longer.
fn longer(time: &str, by: f64) -> impl FnOnce(&mut Value) {
    move |report| {
        let time = &mut client(report)[time];
        *time = json!(time.as_f64().expect("a time") + by);
    }
}

#[test]
fn the_same_run_has_changed_in_nothing() {
    let same = Two::of(|_| {});
    same.compared(&[])
        .assert(0, &["1 case compared: nothing is worse\n"]);
}

#[test]
fn slower_is_for_the_worse_and_faster_is_not() {
    for time in ["detected_after_s", "recovered_after_s"] {
        let word = time.split('_').next().expect("a word");
        let slower = Two::of(longer(time, 0.5));
        slower
            .compared(&[])
            .assert(1, &[&format!("{word} slower"), "1 change is for the worse"]);
        let faster = Two::of(longer(time, -0.2));
        faster.compared(&[]).assert(
            0,
            &[
                &format!("{word} faster"),
                "nothing is worse, 1 other change",
            ],
        );
    }
}

#[test]
fn what_counts_as_no_change_can_be_said() {
    let slower = Two::of(longer("recovered_after_s", 0.5));
    slower
        .compared(&["--absolute", "600ms"])
        .assert(0, &["nothing is worse"]);
    slower
        .compared(&["--relative", "1000%"])
        .assert(0, &["nothing is worse"]);
    let little = Two::of(longer("recovered_after_s", 0.05));
    little.compared(&[]).assert(0, &["nothing is worse\n"]);
    let exact = ["--absolute", "0s", "--relative", "0"];
    little.compared(&exact).assert(1, &["recovered slower"]);
    slower.compared(&["--relative", "-1"]).assert(2, &[]);
    slower
        .compared(&["--absolute", "much"])
        .assert(2, &["much"]);
}

#[test]
fn never_is_slower_than_any_time() {
    let never = Two::of(|report| client(report)["recovered_after_s"] = Value::Null);
    never
        .compared(&[])
        .assert(1, &["recovered slower", "never"]);
    let mut turned = halfopen(["compare"]);
    turned
        .arg(never.path("new.json"))
        .arg(never.path("old.json"));
    outcome(&mut turned).assert(0, &["recovered faster", "never"]);
}

#[test]
fn causes_and_verdicts_are_compared_and_what_only_one_has_is_told() {
    let cause = Two::of(|report| client(report)["cause"] = json!("keepalive"));
    cause
        .compared(&[])
        .assert(0, &["another cause", "keepalive"]);
    for (verdict, code) in [("fail", 1), ("error", 1), ("skipped", 1), ("measured", 0)] {
        let other = Two::of(|report| report["cases"][0]["verdict"] = json!(verdict));
        other.compared(&[]).assert(code, &["verdict", verdict]);
    }
    let renamed = Two::of(|report| {
        let mut more = report["cases"][0].clone();
        more["case"] = json!("more");
        report["cases"].as_array_mut().expect("cases").push(more);
        client(report)["name"] = json!("another");
    });
    renamed
        .compared(&[])
        .assert(0, &["new", "two-seconds / more", "gone", "another"]);
}

#[test]
fn two_runs_without_a_case_in_common_compare_nothing() {
    let other = Two::of(|report| report["cases"][0]["case"] = json!("other"));
    other.compared(&[]).assert(3, &["nothing was compared"]);
    // Those of other names can be told to be the same.
    let named = ["--old-case", "default", "--new-case", "other"];
    other.compared(&named).assert(0, &["1 case compared"]);
    other
        .compared(&["--old-case", "default"])
        .assert(2, &["--new-case"]);
}

/// Twenty repetitions of the same case, `first` later each.
fn repeated(report: &mut Value, first: f64) {
    let case = report["cases"][0].clone();
    let all = (0..20_u32).map(|n| {
        let mut one = case.clone();
        one["case"] = json!(format!("default/{:02}", n + 1));
        one["repetition"] = json!({ "case": "default", "number": n + 1, "of": 20 });
        one["clients"][0]["recovered_after_s"] = json!(first + f64::from(n));
        one
    });
    report["cases"] = all.collect();
}

#[test]
fn repetitions_are_compared_as_distributions() {
    let of = |later: f64| {
        let mut old = Run::of(&[&two_seconds()], &[]).json;
        repeated(&mut old, 10.0);
        Two::both(old, |report| repeated(report, 10.0 + later))
    };
    // Chance makes as much of twenty runs.
    of(1.0)
        .compared(&[])
        .assert(0, &["1 case compared: nothing is worse\n"]);
    let later = of(9.0).compared(&[]);
    later.assert(
        1,
        &[
            "recovered slower",
            "19.0 s, 95 %",
            "28.0 s, 95 %",
            "37.0 s",
            "20, 20",
        ],
    );
}

#[test]
fn a_comparison_is_for_people_pages_and_programs() {
    let slower = Two::of(|report| {
        client(report)["cause"] = json!("keepalive");
        longer("recovered_after_s", 0.5)(report);
    });
    let markdown = slower.compared(&["--format", "markdown"]);
    markdown.assert(
        1,
        &[
            "## halfopen compare",
            "| recovered slower | two-seconds / default",
        ],
    );
    let programs = slower.compared(&["--format", "json"]);
    let parsed: Value = serde_json::from_str(&programs.stdout).expect("JSON");
    assert_eq!(
        (&parsed["regressions"], &parsed["compared"]),
        (&json!(1), &json!(1))
    );
    let [change, other] = &parsed["changes"].as_array().expect("changes")[..] else {
        panic!("{parsed:#}");
    };
    assert_eq!(
        (&change["what"], &change["regression"]),
        (&json!("recovered"), &json!(true))
    );
    let seconds = change["seconds"].as_array().expect("both");
    let longer = seconds[1].as_f64().expect("a time") - seconds[0].as_f64().expect("a time");
    assert!((longer - 0.5).abs() < 1e-9, "{longer}");
    assert_eq!(
        (&other["what"], &other["new"]),
        (&json!("cause"), &json!("keepalive"))
    );
}

#[test]
fn records_are_judged_again_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = folder.path().join("records");
    let run_ = Run::of(&[&two_seconds()], &["--record", text(&records)]);
    let report = folder.path().join("report.json");
    fs::write(&report, run_.json.to_string()).expect("written");
    let compared = run(["compare", text(&records), text(&report)]);
    compared.assert(0, &["1 case compared: nothing is worse\n"]);
}

#[test]
fn what_is_no_report_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let newer = write("newer.json", r#"{ "schema_version": 99, "cases": [] }"#);
    let other = write("other.json", "{}");
    let broken = write("broken.json", "{ \"schema_version\": 1,\n oh");
    let missing = folder.path().join("missing");
    let all: [(&Path, &str); 4] = [
        (&newer, "has schema_version 99"),
        (&other, "other.json is no JSON report"),
        (&broken, "line 2 column 2"),
        (&missing, "No such file or directory"),
    ];
    for (path, why) in all {
        run(["compare", text(path), text(path)]).assert(2, &[why]);
    }
}
