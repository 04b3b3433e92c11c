//! Programs that are not ours as clients: judged by what servers and the wire see of them, on both clocks.

use std::time::Duration;

use halfopen::plan::Cause;
use halfopen::record::{EndedBy, Observation};
use halfopen::verdict::Verdict;

use crate::needs;
use crate::shared::{self, Clock, clocks, go_client, run, run_file, virtual_clock};

/// Two servers behind a service; the one that all clients begin on dies after `at`, by when they must have had a response: the
/// first Python on a machine takes seconds to start. 12.6 s of retransmissions.
fn scenario(clients: &str, at: &str, rest: &str) -> String {
    format!(
        r#"
name: programs
nodes: [node1, node2, node3]
sysctls: {{ net.ipv4.tcp_retries2: 5 }}
servers:
  web-1: {{ node: node3, tls: true }}
  web-2: {{ node: node2, tls: true }}
service:
  web: {{ address: "192.168.255.220:443", endpoints: [web-1, web-2], pin_first: web-1, removal: 2s }}
clients:
{clients}
faults:
  - {{ at: {at}, fault: {{ power_loss: {{ node: node3 }} }} }}
{rest}
"#
    )
}

fn seconds(from: u64, to: u64) -> std::ops::RangeInclusive<Duration> {
    Duration::from_secs(from)..=Duration::from_secs(to)
}

#[test]
fn a_python_program_without_a_timeout_waits_until_the_kernel_gives_up() {
    let python = needs::python();
    let client = format!(
        "  python: {{ node: node1, url: https://web/x, workload: {{ exec: {{ command: [{python}, fixtures/clients/poll.py, \
         \"{{url}}\"] }} }} }}"
    );
    for clock in clocks() {
        let run = run(&scenario(&client, "12s", "duration: 31s"), clock, &[]);
        let python = run.client("python");
        assert_eq!(
            python.cause,
            Some(Cause::RetransmissionTimeout),
            "{}",
            run.table
        );
        assert!(
            seconds(12, 18).contains(&python.detected_after.expect("detected")),
            "{}",
            run.table
        );
        assert!(
            seconds(12, 19).contains(&python.recovered_after.expect("recovered")),
            "{}",
            run.table
        );
        assert_eq!(
            (python.dials, python.requests_failed),
            (1, None),
            "{}",
            run.table
        );
        assert_eq!(python.connections[0].endpoint.as_deref(), Some("web-1"));
        assert_eq!(python.connections[1].endpoint.as_deref(), Some("web-2"));
        // Its own account, kept but not believed, agrees.
        let output = run.output();
        assert!(
            output.contains("200 web-1")
                && output.contains("error:")
                && output.contains("200 web-2"),
            "{output}"
        );
    }
}

#[test]
fn a_python_program_with_a_timeout_closes_the_connection_itself() {
    let python = needs::python();
    let client = format!(
        "  python: {{ node: node1, url: https://web/, workload: {{ exec: {{ command: [{python}, fixtures/clients/poll.py, \
         \"{{url}}\", \"3\"] }} }} }}"
    );
    let rest =
        "duration: 21s\nexpect: { python: { cause: closed_by_client, recovered: { within: 7s } } }";
    for clock in clocks() {
        let run = run(&scenario(&client, "12s", rest), clock, &[]);
        assert_eq!(
            (run.code, run.case().verdict),
            (Some(0), Verdict::Pass),
            "{}",
            run.table
        );
        let python = run.client("python");
        assert!(
            seconds(3, 5).contains(&python.detected_after.expect("detected")),
            "{}",
            run.table
        );
    }
}

#[test]
fn curl_run_again_and_again_recovers_when_its_dials_find_a_live_server() {
    let curl = needs::path("curl").display().to_string();
    // By the CA file in its environment, and once more by the one it is told of.
    let client = format!(
        "  curl: {{ node: node1, url: https://web/, workload: {{ exec: {{ command: [{curl}, -sS, --max-time, \"1\", \
         --cacert, \"{{ca}}\", -w, \"%{{{{http_code}}}}\\n\", \"{{url}}\"], every: 400ms }} }} }}"
    );
    for clock in clocks() {
        let run = run(&scenario(&client, "4s", "duration: 12s"), clock, &[]);
        let curl = run.client("curl");
        // The rules name no dead server after 2 s; a dial that began before may take its second.
        assert!(
            curl.recovered_after.expect("recovered") <= Duration::from_secs(4),
            "{}",
            run.table
        );
        assert!(curl.dials >= 8, "{}", run.table);
        assert!(run.output().contains("200\n"), "{}", run.output());
        let exits = run.records[0]
            .iter()
            .filter(|e| matches!(e.what, Observation::ProgramExited { .. }))
            .count();
        assert!(exits >= 12, "{exits} runs\n{}", run.table);
    }
}

#[test]
fn an_idle_go_program_is_freed_by_the_keepalive_it_asked_for() {
    if go_client().is_none() {
        return;
    }
    // A request every 10 minutes: the connection lies idle when the power goes. Since 1.23 Go's KeepAlive is the idle
    // time alone, and the interval 15 s: 5 + 9 × 15 = 140 s after the last byte.
    let client = "  go: { node: node1, url: https://web/, workload: { exec: { command: [halfopen-poll-go, \"{url}\", 10m] } } }";
    let Some(clock) = virtual_clock() else { return };
    let run = run(&scenario(client, "5s", "duration: 160s"), clock, &[]);
    let go = run.client("go");
    assert_eq!(go.cause, Some(Cause::Keepalive), "{}", run.table);
    let detected = go.detected_after.expect("detected");
    assert!(seconds(130, 146).contains(&detected), "{}", run.table);
    let options = run.records[0].iter().find_map(|event| match &event.what {
        Observation::SocketOptions {
            keepalive,
            user_timeout,
            ..
        } => Some((*keepalive, *user_timeout)),
        _ => None,
    });
    let (keepalive, user_timeout) = options.expect("its socket was looked at");
    let keepalive = keepalive.expect("Go turns it on");
    assert_eq!(
        (
            keepalive.idle.as_secs(),
            keepalive.interval.as_secs(),
            keepalive.count
        ),
        (5, 15, 9)
    );
    assert_eq!(user_timeout, None);
}

#[test]
fn a_go_program_on_a_node_recovers_on_the_real_clock_as_on_the_virtual_one() {
    if go_client().is_none() {
        return;
    }
    let client = "  go: { node: node1, host_network: true, url: https://web/, workload: { exec: { command: \
                  [halfopen-poll-go, \"{url}\", 1s] } } }";
    let detected: Vec<Duration> = clocks()
        .into_iter()
        .map(|clock| {
            let run = run(&scenario(client, "4s", "duration: 26s"), clock, &[]);
            let go = run.client("go");
            assert_eq!(
                go.cause,
                Some(Cause::RetransmissionTimeout),
                "{}",
                run.table
            );
            assert!(go.recovered_after.is_some(), "{}", run.table);
            assert_eq!(
                go.connections[0].endpoint.as_deref(),
                Some("web-1"),
                "{}",
                run.table
            );
            go.detected_after.expect("detected")
        })
        .collect();
    if let [real, virtual_clock] = detected[..] {
        assert!(
            real.abs_diff(virtual_clock) < Duration::from_millis(1500),
            "{detected:?}"
        );
    }
}

#[test]
fn a4_with_a_program_as_it_is_takes_what_was_published() {
    /// From the request to the error the program logged, which is a dial of 10 s after the socket's death.
    const PUBLISHED: f64 = 938.13;
    let (Some(_), Some(clock)) = (go_client(), virtual_clock()) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = shared::repository().join("scenarios/incidents/a4-httptest-go.yaml");
    let run = run_file(&file, clock, &[], &folder);
    assert_eq!(
        (run.code, run.case().verdict),
        (Some(0), Verdict::Pass),
        "{}",
        run.table
    );
    let record = &run.records[0];
    let lost = record
        .iter()
        .find(|e| matches!(e.what, Observation::FaultInjected { .. }))
        .expect("a fault")
        .at();
    // The first sending of the segment that was sent again.
    let request = record.iter().find_map(|event| match &event.what {
        Observation::Segment(s) if s.len > 0 && event.at() > lost => {
            Some(Duration::from_nanos(s.stamp_ns))
        }
        _ => None,
    });
    let error = record.iter().find_map(|event| match &event.what {
        Observation::DialFailed { error, .. }
            if event.at() > lost && error.by == EndedBy::Client =>
        {
            Some(event.at())
        }
        _ => None,
    });
    let took = (error.expect("a dial that failed") - request.expect("a request")).as_secs_f64();
    eprintln!("from the request to the error: {took:.3} s; published {PUBLISHED} s");
    // The published kernel's timers rounded otherwise: 120.32 s where HZ=250 takes 120.832 s, so 15 RTOs differ by 10 s.
    assert!(
        (PUBLISHED - 1.0..PUBLISHED + 12.0).contains(&took),
        "{took} s"
    );
}

#[test]
fn a_program_on_the_node_that_dies_is_gone_and_with_it_all_it_has_started() {
    // It would write on if it lived on.
    let command =
        r#"[sh, -c, "(setsid sh -c 'while sleep 1; do echo alive; done' &); sleep 1000"]"#;
    let clients = format!(
        "  gone: {{ node: node3, url: https://web-2/, workload: {{ exec: {{ command: {command} }} }} }}\n  other: {{ node: \
         node1, url: https://web-2/, profile: go-http1, workload: {{ poll: {{ every: 1s }} }} }}"
    );
    let yaml = scenario(&clients, "4500ms", "duration: 10s").replace("pin_first: web-1, ", "");
    for clock in clocks() {
        let run = run(&yaml, clock, &[]);
        assert!(run.client("gone").gone, "{}", run.table);
        let alive = run.output().matches("alive").count();
        assert!(
            (3..=5).contains(&alive),
            "{alive} signs of life\n{}",
            run.table
        );
        assert!(run.errors.is_empty(), "{}", run.errors);
    }
}

#[test]
fn a_program_that_is_not_there_is_an_error_at_the_line_of_its_command() {
    for (command, reason) in [
        (
            "no-such-program",
            "there is no program `no-such-program` (looked in PATH: ",
        ),
        (
            "./no-such-program",
            "there is no program `./no-such-program` (looked for ",
        ),
        (
            "fixtures/clients/poll.go",
            "the program `fixtures/clients/poll.go` can't be run: it is not executable",
        ),
    ] {
        let client = format!(
            "  none: {{ node: node1, url: https://web/, workload: {{ exec: {{ command: [{command}] }} }} }}"
        );
        for clock in clocks() {
            let run = run(&scenario(&client, "4s", "duration: 10s"), clock, &[]);
            assert_eq!(
                (run.code, run.case().verdict),
                (Some(3), Verdict::Error),
                "{}",
                run.table
            );
            let said = run.case().reason.clone().expect("a reason");
            assert!(said.text.starts_with(reason), "{}", said.text);
            assert_eq!(said.line, Some(11), "{}", run.table);
        }
    }
}

#[test]
fn a_program_finds_names_certificates_and_its_own_variables_and_nothing_of_the_machines() {
    let command =
        r#"[sh, -c, "env; cat /etc/hosts; cat {ca}; echo $0 $GREETING", "{address} {host} {url}"]"#;
    let client = format!(
        "  shell: {{ node: node1, url: https://web/a, workload: {{ exec: {{ command: {command}, env: {{ GREETING: \
         \"hello {{host}}\" }} }} }} }}"
    );
    for clock in clocks() {
        let run = run(
            &scenario(&client, "1s", "duration: 3s").replace("pin_first: web-1, ", ""),
            clock,
            &[],
        );
        let output = run.output();
        for expected in [
            "HALFOPEN_URL=https://web/a\n",
            "192.168.255.220 web\n",
            "BEGIN CERTIFICATE",
            "192.168.255.220:443 web https://web/a hello web\n",
            "HOME=/tmp\n",
        ] {
            assert!(output.contains(expected), "{expected}: {output}");
        }
        for foreign in ["CARGO", "_proxy", "USER="] {
            assert!(!output.contains(foreign), "{foreign}: {output}");
        }
    }
}

#[test]
fn a_program_that_ends_before_the_fault_is_in_the_record_and_its_case_has_tested_nothing() {
    let client = "  brief: { node: node1, url: https://web/, workload: { exec: { command: [sh, -c, \"exit 7\"] } } }";
    let run = run(&scenario(client, "1s", "duration: 3s"), Clock::Real, &[]);
    assert_eq!(run.case().verdict, Verdict::Error, "{}", run.table);
    let reason = run.case().reason.as_ref().expect("a reason");
    let told = "brief: its program exited with 7, ";
    assert!(reason.text.starts_with(told), "{}", reason.text);
    let exits: Vec<_> = run.records[0]
        .iter()
        .filter_map(|event| match &event.what {
            Observation::ProgramExited { code, signal, .. } => Some((*code, *signal)),
            _ => None,
        })
        .collect();
    assert_eq!(exits, [(Some(7), None)]);
    assert_eq!(run.client("brief").recovered_after, None);
}
