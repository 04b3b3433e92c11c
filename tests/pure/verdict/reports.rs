//! Every report, as people and programs read it.

use std::collections::BTreeMap;

use halfopen::plan::{
    CountWindow, CounterExpectation, Direction, Effect, End, Growth, Location, MatrixValue,
    Packets, Path, Where,
};
use halfopen::record::{Event, Observation, Stage};
use halfopen::report::{Screen, Shown, formats, write_table};
use halfopen::verdict::{CaseResult, Verdict, judge};

use super::stories;
use super::story::seconds;

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
fn brief() {
    insta::assert_snapshot!(written("brief", &results()));
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
    let screen = Screen {
        colour: true,
        columns: None,
    };
    write_table(&results(), Shown::All, screen, &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains("\u{1b}[1;31mfail\u{1b}[0m")
    );
    assert!(!written("table", &results()).contains('\u{1b}'));
}

/// The formats for people.
const FOR_PEOPLE: [&str; 3] = ["table", "markdown", "junit"];

/// The table where there is room for a client in a line.
fn wide(results: &[CaseResult]) -> String {
    let screen = Screen {
        colour: false,
        columns: Some(200),
    };
    let mut out = Vec::new();
    write_table(results, Shown::All, screen, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The line that names the client, its cells without the blanks and bars between them.
fn cells<'a>(text: &'a str, client: &str) -> Vec<&'a str> {
    let line = text
        .lines()
        .find(|line| line.contains(client) && line.contains("affected"));
    let cells = line.unwrap_or_default().split(['|', ' ']);
    cells.filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn of_a_client_that_nothing_happened_to_there_is_no_recovery_and_no_never() {
    let mut story = stories::unaffected();
    story.predict("bystander", None, None, halfopen::plan::Cause::Never);
    let result = judge(&story.end());
    assert!(result.clients[0].recovered_after.is_some());
    let table = wide(&[result]);
    let expected = "bystander idle not affected – – 0 0 – pass";
    assert_eq!(cells(&table, "bystander").join(" "), expected);
}

#[test]
fn of_a_client_that_never_recovers_never_is_said() {
    let mut story = stories::never_recovers();
    story.predict("waiter", None, None, halfopen::plan::Cause::Never);
    let table = wide(&[judge(&story.end())]);
    let row = table.lines().find(|line| line.contains("waiter"));
    assert_eq!(
        row.unwrap_or_default().matches("never").count(),
        4,
        "{table}"
    );
}

#[test]
fn a_skipped_case_has_no_figures_though_a_fault_struck() {
    let mut record = stories::unaffected().cut_off();
    record.push(Event {
        t_ns: 11_000_000_000,
        what: Observation::Skipped {
            missing: "netem".to_owned(),
            location: None,
        },
    });
    let result = judge(&record);
    assert_eq!(result.verdict, Verdict::Skipped);
    assert!(result.faults[0].at.is_some() && !result.clients.is_empty());
    for format in FOR_PEOPLE {
        let text = written(format, std::slice::from_ref(&result));
        assert!(!text.contains("not affected"), "{text}");
    }
}

#[test]
fn a_fault_is_told_with_its_strength_and_its_end() {
    let mut story = stories::unaffected();
    let fault = &mut story.case.lab.faults[0];
    let path = Path {
        place: Where::At(End::Machine("node3".to_owned())),
        direction: Direction::In,
    };
    fault.kind = "loss".to_owned();
    fault.target = path.to_string();
    fault.detail = Some("5 %".to_owned());
    fault.effects = vec![Effect::Drop {
        path,
        packets: Packets::All,
        percent: 5.0,
    }];
    fault.lasts = Some(seconds(4.5));
    story.event(14.5, Observation::FaultHealed { fault: 0 });
    let result = judge(&story.end());
    for format in FOR_PEOPLE {
        let text = written(format, std::slice::from_ref(&result));
        let told = "loss of node3 (in) at 10.0 s, 5 %, for 4.5 s\n";
        assert!(text.contains(told), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&written("json", &[result])).unwrap();
    let fault = &json["cases"][0]["faults"][0];
    let expected = serde_json::json!({
        "kind": "loss", "target": "node3 (in)", "at_s": 10.0, "ends_at_s": 14.5, "lasts_s": 4.5, "detail": "5 %",
    });
    assert_eq!(*fault, expected);
}

/// Two counters of `node2`, the second of which must be as the first.
fn with_counters(drops: u64, overflows: u64) -> CaseResult {
    let mut story = stories::unaffected();
    let counter = |counter: &str, growth| CounterExpectation {
        of: "web".to_owned(),
        place: "node2".to_owned(),
        counter: counter.to_owned(),
        growth,
        text: format!("web {counter}: as wanted"),
        location: Location::default(),
    };
    let some = CountWindow { min: 1, max: None };
    story.case.counters = vec![
        counter("TcpExt.ListenDrops", Growth::Within(some)),
        counter(
            "TcpExt.ListenOverflows",
            Growth::SameAs("TcpExt.ListenDrops".to_owned()),
        ),
    ];
    let deltas = [
        ("TcpExt.ListenDrops", drops),
        ("TcpExt.ListenOverflows", overflows),
    ];
    let deltas: BTreeMap<_, _> = deltas.map(|(name, n)| (name.to_owned(), n)).into();
    let place = "node2".to_owned();
    let stage = Stage::End;
    story.event(
        39.0,
        Observation::Counters {
            place,
            stage,
            deltas,
        },
    );
    judge(&story.end())
}

#[test]
fn what_counters_grew_by_is_told_once() {
    let (held, failed) = (with_counters(34, 34), with_counters(34, 33));
    assert_eq!(
        [held.verdict, failed.verdict],
        [Verdict::Pass, Verdict::Fail]
    );
    let drops = "web: TcpExt.ListenDrops +34\n";
    let overflows = "web: TcpExt.ListenOverflows +34 (as TcpExt.ListenDrops)\n";
    for format in FOR_PEOPLE {
        let text = written(format, std::slice::from_ref(&held));
        assert!(text.contains(drops) && text.contains(overflows), "{text}");
        // One that did not is told as an expectation that failed.
        let text = written(format, std::slice::from_ref(&failed));
        assert!(text.contains(drops) && !text.contains("+33"), "{text}");
        assert!(text.contains("actual 33"), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&written("json", &[held])).unwrap();
    let expectations = json["cases"][0]["expectations"].as_array().unwrap();
    let counter = &expectations.last().unwrap()["counter"];
    let told = serde_json::json!({
        "name": "TcpExt.ListenOverflows", "grown": 34, "same_as": "TcpExt.ListenDrops",
    });
    assert_eq!(*counter, told);
    assert!(expectations[0]["counter"].is_null());
}

#[test]
fn every_report_for_people_tells_what_others_say_of_a_client() {
    let mut result = judge(&stories::a1_expected().end());
    result.clients[0].leads_after = Some(seconds(41.0));
    for format in FOR_PEOPLE {
        let text = written(format, std::slice::from_ref(&result));
        assert!(text.contains("standby: leads after 41.0 s"), "{text}");
    }
}

#[test]
fn of_a_failed_case_what_could_not_be_told_is_told_too() {
    let mut result = judge(&stories::everything_expected().end());
    assert_eq!(result.verdict, Verdict::Fail);
    let untold = &mut result.expectations[0];
    untold.verdict = Verdict::Error;
    untold.actual = "nothing was tested".to_owned();
    for format in FOR_PEOPLE {
        let text = written(format, std::slice::from_ref(&result));
        assert!(text.contains("nothing was tested"), "{text}");
    }
}

/// Cases of a matrix of two keys: all pass as one but the last, which fails.
fn of_a_matrix() -> Vec<CaseResult> {
    let value = |path: &str, value: &str| MatrixValue {
        path: path.to_owned(),
        key: path.rsplit('.').next().unwrap_or_default().to_owned(),
        value: value.to_owned(),
    };
    let passed = judge(&stories::a1_expected().end());
    let failed = judge(&stories::everything_expected().end());
    let case = |retries: &str, profile: &str| {
        let result = if retries == "5" && profile == "java" {
            &failed
        } else {
            &passed
        };
        let matrix = vec![
            value("sysctls.net.ipv4.tcp_retries2", retries),
            value("clients.standby.profile", profile),
        ];
        let case = format!("tcp_retries2={retries},profile={profile}");
        CaseResult {
            scenario: passed.scenario.clone(),
            case,
            matrix,
            clock: passed.clock,
            kernel: passed.kernel.clone(),
            hz: passed.hz,
            ..result.clone()
        }
    };
    let retries = ["5", "8", "15"];
    let each = retries
        .iter()
        .flat_map(|r| ["java", "go-http2"].map(|profile| case(r, profile)));
    each.collect()
}

#[test]
fn a_matrix_is_one_table_and_then_what_failed() {
    let results = of_a_matrix();
    insta::assert_snapshot!(written("table", &results));
    let shown = |what: Shown| {
        let mut out = Vec::new();
        write_table(&results, what, Screen::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (failures, counts) = (shown(Shown::Failures), shown(Shown::Counts));
    assert!(failures.starts_with("fail: "), "{failures}");
    assert!(!failures.contains("profile=go-http2"), "{failures}");
    assert_eq!(counts.lines().count(), 1, "{counts}");
    assert!(failures.ends_with(&counts) && counts.starts_with("6 cases: 5 passed, 1 failed"));
}

#[test]
fn a_matrix_s_values_are_fields_of_the_json() {
    let json: serde_json::Value = serde_json::from_str(&written("json", &of_a_matrix())).unwrap();
    let expected = serde_json::json!([
        { "path": "sysctls.net.ipv4.tcp_retries2", "key": "tcp_retries2", "value": "5" },
        { "path": "clients.standby.profile", "key": "profile", "value": "java" },
    ]);
    assert_eq!(json["cases"][0]["matrix"], expected);
}
