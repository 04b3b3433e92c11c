//! `halfopen explain`: the story as people read it, its parts, and what it says of files that are no records.

use std::fs;
use std::time::Duration;

use halfopen::explain::{Options, counterfactual, explain};
use halfopen::plan::{Case, Cause, CloseOnFailure, Trigger, Workload, Workloads};
use halfopen::record::{Event, Observation};
use halfopen::verdict::result::{ClientResult, Part, PartKind};
use halfopen::verdict::{CaseResult, judge};

use crate::command::run;
use crate::stored::{events, path};

/// Records in fixtures/records of all kinds of cases.
pub(crate) const RECORDS: [&str; 7] = [
    "a1",
    "a2",
    "a4",
    "d2",
    "other-faults",
    "quickstart",
    "timers",
];

/// On the virtual clock nothing takes time but what waits.
const UNEXPLAINED: Duration = Duration::from_millis(1);

fn told(record: &[Event], client: Option<&str>) -> String {
    let options = Options {
        client,
        ..Options::default()
    };
    explain(record, &judge(record), options).expect("it is explained")
}

#[test]
fn a1() {
    insta::assert_snapshot!(told(&events(&path("a1")), None));
}

#[test]
fn a4() {
    insta::assert_snapshot!(told(&events(&path("a4")), None));
}

#[test]
fn one_client_of_quickstart() {
    insta::assert_snapshot!(told(&events(&path("quickstart")), Some("h2-timeout")));
}

#[test]
fn keepalive_of_an_idle_connection() {
    insta::assert_snapshot!(told(&events(&path("timers")), Some("idle-keepalive")));
}

/// A server that hangs, a loss of packets that heals, and a program that is killed.
#[test]
fn other_faults() {
    insta::assert_snapshot!(told(&events(&path("other-faults")), None));
}

#[test]
fn dials_that_fail_without_a_fault() {
    insta::assert_snapshot!(told(&events(&path("d2")), None));
}

#[test]
fn a_case_that_was_skipped_has_no_story() {
    let mut record = events(&path("a2"));
    let missing = String::from("the program `curl` (not in PATH)");
    record[1].what = Observation::Skipped {
        missing,
        location: None,
    };
    let told = told(&record, None);
    let lines: Vec<_> = told.lines().skip(1).collect();
    let expected = [
        "skipped: the program `curl` (not in PATH)",
        "nothing was tested, so there is nothing to explain",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_record_that_was_cut_off() {
    let mut record = events(&path("a1"));
    record.retain(|event| event.t_ns < 200_000_000_000);
    insta::assert_snapshot!(told(&record, None));
}

#[test]
fn a_record_without_its_fault() {
    let mut record = events(&path("quickstart"));
    record.retain(|event| event.t_ns < 3_000_000_000);
    insta::assert_snapshot!(told(&record, None));
}

#[test]
fn a_short_story_fits_a_screen_and_a_long_one_has_everything() {
    let record = events(&path("a1"));
    let lines = told(&record, None).lines().count();
    // A screen of fifty lines, and one for each of its three expectations.
    assert!(lines <= 53, "{lines} lines");
    let options = Options {
        verbose: true,
        ..Options::default()
    };
    let long = explain(&record, &judge(&record), options).expect("it is explained");
    for text in [
        "packet ",
        "socket ended",
        "counters of standby",
        "PUSH",
        "KUBE-SVC",
    ] {
        assert_eq!(long.contains(text), text != "PUSH", "{text}");
    }
    for event in &record {
        if let Observation::RequestFailed { request, .. } = &event.what {
            let text = format!("request {} fails", request.number);
            assert!(long.contains(&text), "{text}");
        }
    }
}

/// Every client of every record, with its case's result.
fn each_client(mut check: impl FnMut(&str, &CaseResult, &ClientResult)) {
    for name in RECORDS {
        let result = judge(&events(&path(name)));
        assert!(result.judged, "{name}: {:?}", result.reason);
        for client in &result.clients {
            check(name, &result, client);
        }
    }
}

#[test]
fn the_parts_make_up_the_outage_and_leave_next_to_nothing_unexplained() {
    let mut seen = 0;
    each_client(|name, result, client| {
        let Some(unexplained) = client.unexplained else {
            return;
        };
        seen += 1;
        let who = format!("{name}/{}", client.name);
        assert!(
            unexplained <= UNEXPLAINED,
            "{who}: {unexplained:?}\n{:#?}",
            client.parts
        );
        let fault = client.fault_at.expect("a fault");
        let until = client
            .recovered_after
            .map_or(result.duration, |after| fault + after);
        let sum: Duration = client.parts.iter().map(Part::lasted).sum();
        let outage = until - fault;
        assert!(
            outage.abs_diff(sum + unexplained) < Duration::from_micros(50),
            "{who}"
        );
        for pair in client.parts.windows(2) {
            assert!(pair[0].to <= pair[1].from, "{who}: {pair:?}");
        }
        for part in &client.parts {
            assert!(part.from < part.to, "{who}: {part:?}");
            assert!(
                !part.begins_with.is_empty() && !part.ends_with.is_empty(),
                "{who}: {part:?}"
            );
            assert_ne!(part.begins_with, part.ends_with, "{who}");
        }
    });
    assert!(seen >= 14, "only {seen} outages");
}

#[test]
fn a_dead_connection_lasts_until_the_detection() {
    each_client(|name, _, client| {
        let Some(detected) = client.detected_after else {
            return;
        };
        if client.cause == Some(Cause::DialTimeout) {
            // It held nothing, and waited on its first dial in vain.
            let until = client.fault_at.expect("a fault") + detected;
            let mut dials = client.parts.iter();
            let dial = dials
                .find(|part| part.kind == PartKind::DeadDial)
                .expect("a dial");
            let apart = dial.to.abs_diff(until);
            assert!(apart < Duration::from_micros(10), "{name}: {dial:?}");
            return;
        }
        let dead = client
            .parts
            .iter()
            .find(|part| part.kind == PartKind::DeadConnection);
        let dead = dead.unwrap_or_else(|| panic!("{name}/{}: {:?}", client.name, client.parts));
        let apart = dead.lasted().abs_diff(detected);
        assert!(
            apart < Duration::from_micros(10),
            "{name}/{}: {dead:?}",
            client.name
        );
    });
}

#[test]
fn what_was_measured_lies_in_the_predicted_window() {
    each_client(|name, _, client| {
        let Some(window) = client.predicted.as_ref().and_then(|p| p.detection) else {
            return;
        };
        let who = format!("{name}/{}", client.name);
        if let Some(detected) = client.detected_after {
            assert!(
                window.min <= detected && detected <= window.max,
                "{who}: {detected:?}"
            );
        }
        let cause = client.predicted.as_ref().map(|p| p.cause);
        let unknown = cause == Some(Cause::Unknown) || client.cause == Some(Cause::Never);
        assert!(unknown || client.cause == cause, "{who}: {cause:?}");
    });
}

#[test]
fn a_change_that_helps_is_named_and_one_that_does_not_is_not() {
    let knobs = |name: &str, client: &str, recovered: Duration| -> Vec<String> {
        let record = events(&path(name));
        let mut result = judge(&record);
        for client in &mut result.clients {
            client.recovered_after = Some(recovered);
        }
        let Some(Observation::CaseStarted { case, .. }) = record.first().map(|e| &e.what) else {
            panic!("{name} begins with its case");
        };
        let planned = case
            .lab
            .clients
            .iter()
            .find(|c| c.name == client)
            .expect("a client");
        let changes = counterfactual::changes(planned, case, &result).expect("a prediction");
        changes.into_iter().map(|change| change.knob).collect()
    };
    let a1 = knobs("a1", "standby", Duration::from_secs(944));
    for knob in [
        "tcp_retries2=8",
        "tcp_retries2=5",
        "TCP_USER_TIMEOUT",
        "PING",
        "HTTP/1.1",
        "tcp_rto_max_ms",
    ] {
        assert!(
            a1.iter().any(|known| known.starts_with(knob)),
            "{knob}: {a1:?}"
        );
    }
    // Data is unacknowledged, and 40 s are long over: neither of them decides.
    for knob in ["keepalive", "endpoint removal", "dial timeout"] {
        assert!(
            a1.iter().all(|known| !known.starts_with(knob)),
            "{knob}: {a1:?}"
        );
    }
    // As long as it takes when its dials meet the dead endpoint: the record's met none.
    let a2 = knobs("a2", "standby", Duration::from_secs(41));
    assert!(
        a2.iter().any(|known| known.starts_with("endpoint removal")),
        "{a2:?}"
    );
    assert!(
        a2.iter().all(|known| !known.starts_with("tcp_retries2")),
        "{a2:?}"
    );
}

#[test]
fn a_change_is_named_only_where_it_can_be_known_to_help() {
    let record = events(&path("a1"));
    let Some(Observation::CaseStarted { case, .. }) = record.first().map(|e| &e.what) else {
        panic!("a1 begins with its case");
    };
    let standby = case.lab.clients.iter().find(|c| c.name == "standby");
    let standby = standby.expect("a client");
    let mut result = judge(&record);
    let knobs = |case: &Case, result: &CaseResult| -> Option<Vec<String>> {
        let changes = counterfactual::changes(standby, case, result)?;
        Some(changes.into_iter().map(|change| change.knob).collect())
    };
    let all = knobs(case, &result).expect("a prediction");
    assert!(all.iter().any(|knob| knob.starts_with("HTTP/1.1")));

    let mut grpc = standby.clone();
    grpc.profile = String::from("grpc-go");
    let of_grpc = counterfactual::changes(&grpc, case, &result).expect("a prediction");
    assert!(!of_grpc.is_empty());
    assert!(of_grpc.iter().all(|c| !c.knob.starts_with("HTTP/1.1")));

    let mut healed = case.as_ref().clone();
    healed.lab.faults[0].lasts = Some(Duration::from_secs(10));
    assert!(knobs(&healed, &result).is_some());
    // Of two that heal nothing is known.
    let mut again = healed.lab.faults[0].clone();
    again.trigger = Trigger::At(Duration::from_secs(60));
    healed.lab.faults.push(again);
    assert_eq!(knobs(&healed, &result), None);
    let mut watching = standby.clone();
    watching.workloads = Workloads::one(
        Workload::Watch {
            push: None,
            every: Duration::from_secs(1),
        },
        None,
    );
    watching.transport.request_timeout = None;
    // No limit on its requests: that would cut a healthy watch.
    let with = |client: &halfopen::plan::Client| {
        let mut case = case.as_ref().clone();
        let own = case.lab.clients.iter_mut().find(|c| c.name == client.name);
        own.expect("a client").clone_from(client);
        case
    };
    let of_watching = counterfactual::changes(&watching, &with(&watching), &result);
    let of_watching = of_watching.expect("a prediction");
    let knobs_of_watching: Vec<&str> = of_watching.iter().map(|c| c.knob.as_str()).collect();
    assert!(!of_watching.is_empty());
    assert!(
        knobs_of_watching
            .iter()
            .all(|knob| !knob.contains("request") && !knob.contains("read")),
        "{knobs_of_watching:?}"
    );
    // Of one that closes its connections at will the kernel's part alone is known.
    let mut beating = standby.clone();
    beating.workloads = Workloads::one(
        Workload::Heartbeat {
            every: Duration::from_secs(10),
            grace: Duration::from_secs(40),
            lease: Some(Duration::from_secs(40)),
            attempts: 5,
            close_on_failure: Some(CloseOnFailure::Idle),
        },
        None,
    );
    let of_beating = counterfactual::changes(&beating, &with(&beating), &result);
    let of_beating = of_beating.expect("the kernel's part");
    let of_kernel = |knob: &str| knob.starts_with("tcp_");
    assert!(!of_beating.is_empty());
    assert!(
        of_beating
            .iter()
            .all(|c| of_kernel(&c.knob) && !c.of_recovery)
    );
    let mut by_itself = result.clone();
    for client in &mut by_itself.clients {
        client.cause = Some(halfopen::plan::Cause::RequestTimeout);
    }
    assert_eq!(counterfactual::changes(&beating, case, &by_itself), None);

    // Something else helped: what the model says of the rest is no better.
    let standby = result.clients.iter_mut().find(|c| c.name == "standby");
    standby.expect("a client").recovered_after = Some(Duration::from_secs(1));
    assert_eq!(knobs(case, &result).as_deref(), Some(&[][..]));
}

#[test]
fn what_is_no_record_is_bad_usage_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let whole = fs::read_to_string(path("a2")).expect("a record");
    let first = whole.lines().next().expect("a line");
    let bad = file(
        "bad.ndjson",
        &format!("{first}\n{{\"t_ns\":1,\"event\":\"power_failure\"}}\n"),
    );
    run(["explain", &bad]).assert(2, &["bad.ndjson: line 2: not an event", "power_failure"]);
    run(["explain", "README.md"]).assert(2, &["README.md: line 1: not an event"]);
    run(["explain", &file("empty.ndjson", "")]).assert(2, &["the record is empty"]);
    run(["explain", &file("x.pcapng", "\n\r\r\n")])
        .assert(2, &["not a record: its record is", "x.ndjson, beside it"]);
    run(["explain", &file("x.bin", "\n\r\r\nrest")]).assert(2, &["x.bin: not a record"]);
    run(["explain", "fixtures/no-such-file.ndjson"]).assert(2, &["failed to read"]);
    let both = folder.path().to_str().expect("UTF-8");
    run(["explain", both]).assert(2, &["2 records; choose one", "bad.ndjson"]);
    let a2 = path("a2");
    let a2 = a2.to_str().expect("UTF-8");
    run(["explain", a2, "--client", "nobody"]).assert(2, &["no client \"nobody\"", "standby"]);
    let cut = file("cut.ndjson", &whole[..whole.len() / 2]);
    run(["explain", &cut]).assert(0, &["is cut off and left out", "the record is cut off"]);
    let told = run(["explain", a2]);
    told.assert(0, &["standby"]);
    assert!(
        !told.stdout.contains('\u{1b}'),
        "no colour but on a terminal"
    );
}
