//! Faults of whole cases: programs that are killed or hang, power that comes back, endpoints, delays, and how they heal.
//!
//! On the virtual clock, where a minute costs nothing.

use halfopen::record::{Event, Observation};

use crate::command::{self, Run, kernel_or_skip};

/// Two servers behind a service that pins the first connections to `aa-1`, on node 3; clients that poll every second,
/// by HTTP/1.1 and by HTTP/2, with 3 s for a request.
fn scenario(faults: &str) -> String {
    format!(
        "name: faults\nduration: 60s\nnodes: [node1, node2, node3]\n\
         servers: {{ aa-1: {{ node: node3 }}, aa-2: {{ node: node2 }}, other: {{ node: node3 }} }}\n\
         service:\n  aa: {{ address: '192.168.255.220:80', endpoints: [aa-1, aa-2], pin_first: aa-1 }}\n\
         clients:\n  \
           h1: {{ node: node1, url: http://aa-1/, profile: bare, transport: {{ request_timeout: 3s }}, workload: &poll {{ poll: {{ every: 1s }} }} }}\n  \
           h2: {{ node: node1, url: http://aa/, profile: go-http2, transport: {{ request_timeout: 3s }}, workload: *poll }}\n  \
           apart: {{ node: node2, url: http://other/, profile: go-http2, transport: {{ request_timeout: 3s }}, workload: *poll }}\n\
         faults:\n{faults}\n"
    )
}

/// What became of the case: its clients by name (cause, seconds to detection and to recovery, failed requests), and
/// its record.
struct Told {
    run: Run,
    events: Vec<Event>,
}

impl Told {
    fn of(faults: &str) -> Option<Self> {
        kernel_or_skip()?;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("faults.yaml");
        std::fs::write(&file, scenario(faults)).expect("written");
        let records = folder.path().join("records");
        let records = records.to_str().expect("UTF-8");
        let run = Run::of(&[&file], &["--clock", "virtual", "--record", records]);
        run.outcome.assert(0, &["virtual clock"]);
        let record = std::fs::read_to_string(format!("{records}/faults--default.ndjson"));
        let record = record.expect("a record");
        let events = record.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        let events = events.collect();
        Some(Self { run, events })
    }

    fn client(&self, name: &str) -> serde_json::Value {
        let cases = self.run.cases();
        command::client(&cases[0], name).clone()
    }

    fn figures(&self, name: &str) -> (String, Option<f64>, Option<f64>, u64) {
        let client = self.client(name);
        (
            client["cause"].as_str().unwrap_or("none").to_owned(),
            client["detected_after_s"].as_f64(),
            client["recovered_after_s"].as_f64(),
            client["requests_failed"].as_u64().expect("a number"),
        )
    }

    /// Of a client that no fault concerns.
    fn is_well(&self, name: &str) {
        let (_, detected, recovered, failed) = self.figures(name);
        assert_eq!((detected, failed), (None, 0), "{name}");
        assert!(
            recovered.is_some_and(|after| after < 1.1),
            "{name}: {recovered:?}"
        );
    }

    fn count(&self, wanted: fn(&Observation) -> bool) -> usize {
        self.events
            .iter()
            .filter(|event| wanted(&event.what))
            .count()
    }
}

fn near(measured: Option<f64>, low: f64, high: f64) {
    let seconds = measured.unwrap_or(f64::INFINITY);
    assert!(
        (low..=high).contains(&seconds),
        "{measured:?} is not in {low}..={high}"
    );
}

#[test]
fn a_killed_server_says_goodbye_refuses_and_is_started_again() {
    let Some(told) =
        Told::of("  - { at: 10s, for: 20s, fault: { process_kill: { server: aa-1 } } }")
    else {
        return;
    };
    let (cause, detected, recovered, failed) = told.figures("h1");
    assert_eq!(cause, "closed_by_peer");
    near(detected, 0.0, 0.01);
    // Each second a dial is refused at once, until it runs again.
    near(recovered, 20.0, 21.1);
    assert!((19..=21).contains(&failed), "{failed}");
    let refused = |o: &Observation| matches!(o, Observation::DialFailed { error, .. } if error.errno == Some(111));
    assert!(told.count(refused) >= 19);
    assert_eq!(
        told.count(|o| matches!(o, Observation::FaultHealed { .. })),
        1
    );
    told.is_well("apart");
}

#[test]
fn a_killed_client_is_gone_and_its_server_hears_of_it() {
    let Some(told) = Told::of("  - { at: 10s, fault: { process_kill: { client: h1 } } }") else {
        return;
    };
    let gone = |o: &Observation| matches!(o, Observation::ClientGone { client } if client == "h1");
    assert_eq!(told.count(gone), 1);
    assert_eq!(
        told.client("h1")["recovered_after_s"],
        serde_json::Value::Null
    );
    let closed = told.events.iter().find_map(|event| match &event.what {
        Observation::ServerClosed { server, .. } if server == "aa-1" => Some(event.at()),
        _ => None,
    });
    near(closed.map(|at| at.as_secs_f64()), 10.0, 10.1);
    told.is_well("h2");
    told.is_well("apart");
}

#[test]
fn a_hanging_server_is_acknowledged_and_accepted_for_and_never_answers() {
    let Some(told) = Told::of("  - { at: 10s, for: 20s, fault: { hang: { server: aa-1 } } }")
    else {
        return;
    };
    let (cause, detected, recovered, _) = told.figures("h1");
    assert_eq!(cause, "request_timeout");
    near(detected, 3.0, 4.1);
    near(recovered, 18.0, 24.1);
    // Dials succeed: the kernel accepts. Nothing is sent again: it acknowledges.
    assert_eq!(
        told.count(|o| matches!(o, Observation::DialFailed { .. })),
        0
    );
    let again = |o: &Observation| matches!(o, Observation::Segment(s) if s.retransmission > 0);
    assert_eq!(told.count(again), 0);
    // A stream's timeout leaves the connection, which goes on when the server does.
    let (_, detected, recovered, failed) = told.figures("h2");
    assert_eq!(detected, None);
    near(recovered, 18.0, 24.1);
    assert!((4..=6).contains(&failed), "{failed}");
    told.is_well("apart");
}

#[test]
fn power_that_comes_back_finds_nothing_and_answers_with_rst() {
    for faults in [
        "  - { at: 10s, fault: { power_loss: { node: node3, neighbour: dead } } }\n  - { at: 14s, fault: { power_restore: { node: node3 } } }",
        "  - { at: 10s, for: 4s, fault: { power_loss: { node: node3 } } }",
    ] {
        let Some(told) = Told::of(faults) else {
            return;
        };
        for client in ["h2", "apart"] {
            let (cause, detected, recovered, _) = told.figures(client);
            assert_eq!(cause, "reset", "{client}");
            // With the next packet that is sent again.
            near(detected, 4.0, 8.0);
            near(recovered, 4.0, 9.1);
        }
        let (_, _, recovered, _) = told.figures("h1");
        near(recovered, 4.0, 9.1);
        // Nothing of the old connections' ends came out of it.
        let fin = |o: &Observation| matches!(o, Observation::Segment(s) if s.flags.contains('F') && s.from.port() == 80);
        assert_eq!(told.count(fin), 0);
    }
}

#[test]
fn packets_are_late_and_none_is_lost_by_it() {
    let faults = "  - { at: 10s, for: 20s, fault: { delay: { server: aa-1, delay: 300ms, direction: out } } }";
    let Some(told) = Told::of(faults) else {
        return;
    };
    for client in ["h1", "h2"] {
        let (_, detected, recovered, failed) = told.figures(client);
        assert_eq!((detected, failed), (None, 0), "{client}");
        near(recovered, 0.3, 1.4);
    }
    let took = |client: &str| {
        let mut sent = None;
        let mut took = Vec::new();
        for event in &told.events {
            match &event.what {
                Observation::RequestSent { request, .. } if request.client == client => {
                    sent = Some(event.at());
                }
                Observation::Response { request, .. } if request.client == client => {
                    let begun = sent.expect("it was sent");
                    took.push((begun.as_secs_f64(), (event.at() - begun).as_secs_f64()));
                }
                _ => {}
            }
        }
        took
    };
    for client in ["h1", "h2", "apart"] {
        for (at, seconds) in took(client) {
            let late = client != "apart" && at > 10.0 && at < 29.9;
            let right = if late { 0.3..0.302 } else { 0.0..0.01 };
            // The first after 300 ms that were in force when it came.
            assert!(
                right.contains(&seconds) || (29.6..30.1).contains(&at),
                "{client} at {at}: {seconds}"
            );
        }
    }
    told.is_well("apart");
}

#[test]
fn a_blip_is_over_when_it_says() {
    let faults = "  - { at: 10s, for: 5s, fault: { loss: { node: node3, percent: 100 } } }";
    let Some(told) = Told::of(faults) else {
        return;
    };
    let (_, detected, recovered, _) = told.figures("h2");
    assert_eq!(detected, None);
    near(recovered, 5.0, 8.1);
    let healed = told
        .events
        .iter()
        .find(|e| matches!(e.what, Observation::FaultHealed { .. }));
    near(healed.map(|e| e.at().as_secs_f64()), 15.0, 15.01);
}

/// A service of two endpoints on nodes that lose their power, which its client can tell apart; what became of the rules, as
/// (seconds, endpoint, whether it is in them).
fn rules(service: &str, faults: &str) -> Option<Vec<(f64, String, bool)>> {
    kernel_or_skip()?;
    let text = format!(
        r#"
name: returning
nodes: [node0, node1, node2]
servers:
  web-1: {{ node: node1 }}
  web-2: {{ node: node2 }}
service:
  web: {{ address: "10.96.0.20:80", endpoints: [web-1, web-2], pin_first: web-1, removal: 10s{service} }}
clients:
  c: {{ node: node0, url: http://web/, profile: go-http1, workload: {{ poll: {{ every: 500ms, timeout: 3s }} }} }}
faults:
{faults}
duration: 150s
"#
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("returning.yaml");
    std::fs::write(&file, text).expect("written");
    let records = folder.path().join("records");
    let records = records.to_str().expect("UTF-8");
    let run = Run::of(&[&file], &["--clock", "virtual", "--record", records]);
    run.outcome.assert(0, &["virtual clock"]);
    let record = std::fs::read_to_string(format!("{records}/returning--default.ndjson"));
    let record = record.expect("a record");
    let events = record.lines().map(|line| {
        serde_json::from_str::<halfopen::record::Event>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let changes = events.filter_map(|event| {
        let at = event.at().as_secs_f64();
        if let Observation::EndpointRemoved { endpoint, .. } = event.what {
            Some((at, endpoint, false))
        } else if let Observation::EndpointAdded { endpoint, .. } = event.what {
            Some((at, endpoint, true))
        } else {
            None
        }
    });
    Some(changes.collect())
}

#[track_caller]
fn changed_at(actual: Option<Vec<(f64, String, bool)>>, expected: &[(f64, &str, bool)]) {
    let Some(actual) = actual else { return };
    assert_eq!(actual.len(), expected.len(), "{actual:?}");
    for ((at, endpoint, is_in), wanted) in actual.iter().zip(expected) {
        assert_eq!(
            (endpoint.as_str(), *is_in),
            (wanted.1, wanted.2),
            "{actual:?}"
        );
        near(Some(*at), wanted.0, wanted.0 + 0.2);
    }
}

#[test]
fn a_node_that_is_back_is_in_the_service_again_when_it_is_ready() {
    // By `for` and by a fault; and lost again before it was ready, and after.
    let back = [(20.0, "web-1", false), (70.0, "web-1", true)];
    changed_at(
        rules(
            "",
            "  - { at: 10s, for: 50s, fault: { power_loss: { node: node1 } } }",
        ),
        &back,
    );
    changed_at(
        rules(
            ", readiness: 3s",
            "  - { at: 10s, fault: { power_loss: { node: node1 } } }\n  - { at: 60s, fault: { power_restore: { node: node1 } } }\n  - { at: 90s, for: 30s, fault: { power_loss: { node: node1 } } }",
        ),
        &[
            (20.0, "web-1", false),
            (63.0, "web-1", true),
            (100.0, "web-1", false),
            (123.0, "web-1", true),
        ],
    );
    changed_at(
        rules(
            "",
            "  - { at: 10s, for: 20s, fault: { power_loss: { node: node1 } } }\n  - { at: 35s, for: 15s, fault: { power_loss: { node: node1 } } }",
        ),
        &[(20.0, "web-1", false), (60.0, "web-1", true)],
    );
    // One that is back before the cluster has noticed never left.
    changed_at(
        rules(
            "",
            "  - { at: 10s, for: 5s, fault: { power_loss: { node: node1 } } }",
        ),
        &[],
    );
}

#[test]
fn an_endpoint_stays_out_if_the_scenario_says_so() {
    let lost = "  - { at: 10s, for: 50s, fault: { power_loss: { node: node1 } } }";
    changed_at(rules(", readiness: off", lost), &[(20.0, "web-1", false)]);
    // A fault of its own puts it back, later than it would come by itself.
    changed_at(
        rules(
            "",
            &format!(
                "{lost}\n  - {{ at: 90s, fault: {{ endpoint_added: {{ service: web, server: web-1 }} }} }}"
            ),
        ),
        &[(20.0, "web-1", false), (90.0, "web-1", true)],
    );
    // One keeps it out.
    changed_at(
        rules(
            "",
            &format!(
                "{lost}\n  - {{ at: 15s, fault: {{ endpoint_removed: {{ service: web, server: web-1 }} }} }}"
            ),
        ),
        &[(15.0, "web-1", false)],
    );
}

/// The second outage strikes who has come back by then, and the first one's removal has no part in it.
#[test]
fn a_rolling_loss_of_both_nodes_is_survived_on_the_one_that_is_back() {
    if kernel_or_skip().is_none() {
        return;
    }
    let text = r#"
name: rolling
nodes: [node0, node1, node2]
servers:
  web-1: { node: node1, tls: true }
  web-2: { node: node2, tls: true }
service:
  web: { address: "[fd00:ff::20]:443", endpoints: [web-1, web-2], pin_first: web-1, removal: 10s }
clients:
  c: { node: node0, url: "https://web/", profile: go-http1, workload: { poll: { every: 500ms, timeout: 3s } } }
faults:
  - { at: 10s, for: 50s, fault: { power_loss: { node: node1 } } }
  - { at: 90s, fault: { power_loss: { node: node2 } } }
duration: 240s
expect:
  c: { recovered: { within: 140s } }
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rolling.yaml");
    std::fs::write(&file, text).expect("written");
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    run.outcome.assert(0, &["1 passed"]);
}
