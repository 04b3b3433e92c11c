//! Every report, as people and programs read it.

use halfopen::record::{Event, Observation};
use halfopen::report::formats;
use halfopen::verdict::{CaseResult, judge};

use crate::stories;

/// One case that passes, one that fails in many ways, one cut off, one skipped.
fn results() -> Vec<CaseResult> {
    let mut partial = stories::ping_ends().cut_off();
    partial.retain(|event| event.t_ns < 30_000_000_000);
    let mut skipped = stories::a2().cut_off();
    skipped.truncate(1);
    let missing = "netem on Linux 6.18.5".to_owned();
    skipped.push(Event {
        t_ns: 0,
        what: Observation::Skipped {
            missing,
            location: None,
        },
    });
    [
        stories::a1_expected().end(),
        stories::everything_expected().end(),
        partial,
        skipped,
    ]
    .map(|r| judge(&r))
    .to_vec()
}

fn written(format: &str, results: &[CaseResult]) -> String {
    let format = formats()
        .iter()
        .find(|f| f.name == format)
        .expect("a format");
    let mut out = Vec::new();
    (format.new)().write(results, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn table() {
    insta::assert_snapshot!(written("table", &results()));
}

#[test]
fn json() {
    insta::assert_snapshot!(written("json", &results()[1..]));
}

#[test]
fn junit() {
    insta::assert_snapshot!(written("junit", &results()));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(written("markdown", &results()));
}

#[test]
fn a_run_of_nothing() {
    assert_eq!(
        written("table", &[]),
        "0 cases: 0 passed, 0 failed (nothing was measured)\n"
    );
}

/// The contract: these names are relied on by other programs.
#[test]
fn json_has_every_field_of_the_contract() {
    let json: serde_json::Value = serde_json::from_str(&written("json", &results())).unwrap();
    assert_eq!(json["schema_version"], 1);
    let case = &json["cases"][0];
    for field in [
        "scenario",
        "case",
        "clock",
        "kernel",
        "hz",
        "verdict",
        "duration_s",
    ] {
        assert!(!case[field].is_null(), "{field}");
    }
    assert_eq!(
        case["faults"][0],
        serde_json::json!({"kind": "power_loss", "target": "node3", "at_s": 10.0, "ends_at_s": null})
    );
    let client = &case["clients"][0];
    assert_eq!(client["name"], "standby");
    assert_eq!(client["phase"], "idle");
    assert_eq!(client["cause"], "retransmission_timeout");
    assert_eq!(client["fault_at_s"], 10.0);
    assert_eq!(client["detected_after_s"], 928.2);
    assert_eq!(client["recovered_after_s"], 939.312);
    assert_eq!(client["requests_failed"], 72);
    assert_eq!(
        client["predicted"]["detection"],
        serde_json::json!({"min_s": 924.6, "max_s": 1044.6})
    );
    assert_eq!(
        client["predicted"]["recovery"],
        serde_json::json!({"min_s": 924.6, "max_s": 1058.0})
    );
    let connection = &client["connections"][0];
    assert_eq!(connection["id"], 1);
    assert_eq!(connection["opened_at_s"], 1.0012);
    assert_eq!(connection["closed_at_s"], 938.2);
    assert_eq!(connection["endpoint"], "aa-1");
    assert_eq!(connection["cause"], "retransmission_timeout");
    let expectation = &case["expectations"][0];
    for field in ["text", "verdict", "actual", "file", "line", "column"] {
        assert!(!expectation[field].is_null(), "{field}");
    }
}

#[test]
fn json_is_read_back_as_it_was_written() {
    let results = results();
    let mut json: serde_json::Value = serde_json::from_str(&written("json", &results)).unwrap();
    let read: Vec<CaseResult> = serde_json::from_value(json["cases"].take()).unwrap();
    assert_eq!(read, results);
}

/// What `never` is in JSON.
#[test]
fn never_is_null() {
    let result = judge(&stories::never_recovers().end());
    let json: serde_json::Value = serde_json::from_str(&written("json", &[result])).unwrap();
    let client = &json["cases"][0]["clients"][0];
    assert!(client["detected_after_s"].is_null() && client["recovered_after_s"].is_null());
    assert!(client["connections"][0]["closed_at_s"].is_null());
    assert_eq!(client["cause"], "never");
}

#[test]
fn one_case_on_two_kernels_has_two_names_in_junit() {
    let one = judge(&stories::a1_expected().end());
    let mut other = one.clone();
    other.kernel = Some("6.12.30".to_owned());
    let xml = written("junit", &[one, other]);
    for kernel in ["6.18.5", "6.12.30"] {
        let name = format!("name=\"leader-election-h2 / default (real clock) on {kernel}\"");
        assert!(xml.contains(&name), "{xml}");
    }
}

#[test]
fn colours_are_for_terminals_alone() {
    let mut out = Vec::new();
    halfopen::report::write_coloured(&results(), &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\u{1b}[1;31mfail\u{1b}[0m")
    );
    assert!(!written("table", &results()).contains('\u{1b}'));
}
