//! Scenarios resolve into the cases their comments promise.

use std::path::Path;
use std::time::Duration;

use halfopen::plan::{Case, Cause, Expected, TimeWindow};
use halfopen::scenario::{PlanOptions, load, parse, render};

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn cases_of(file: &str) -> Vec<Case> {
    cases_with(file, &PlanOptions::default())
}

fn cases_with(file: &str, options: &PlanOptions) -> Vec<Case> {
    let text = std::fs::read_to_string(path(file)).expect("the file is there");
    parse(file, &text, options).unwrap_or_else(|errors| panic!("{}", render(&errors, false)))
}

/// One line a prediction.
fn predictions(case: &Case) -> String {
    let lines = case.predictions.iter().map(|p| {
        let window = |w: Option<halfopen::plan::Window>| {
            w.map_or("never".to_owned(), |w| {
                format!("{:.1?}–{:.1?}", w.min, w.max)
            })
        };
        format!(
            "{}: {} after {}, recovered after {}\n",
            p.client,
            p.cause,
            window(p.detection),
            window(p.recovery)
        )
    });
    lines.collect()
}

#[test]
fn the_quickstart_ends_within_30_seconds() {
    let all = cases_of("scenarios/quickstart.yaml");
    let [case] = all.as_slice() else {
        panic!("one case, not {}", all.len());
    };
    assert!(
        case.lab.duration < Duration::from_secs(30),
        "{:?}",
        case.lab.duration
    );
    assert_eq!(case.warnings, []);
    insta::assert_snapshot!("quickstart-predictions", predictions(case));
}

#[test]
fn what_is_expected_in_the_shipped_scenarios_is_what_is_predicted() {
    for file in [
        "scenarios/quickstart.yaml",
        "scenarios/incidents/a1-leader-election-h2.yaml",
        "scenarios/incidents/a2-leader-election-h1.yaml",
        "scenarios/incidents/a4-httptest-h1.yaml",
    ] {
        for case in cases_of(file) {
            for expectation in &case.expectations {
                let prediction = case
                    .predictions
                    .iter()
                    .find(|p| p.client == expectation.client)
                    .expect("a prediction");
                let check = &expectation.check;
                let (expected, predicted) = match (check.metric.as_str(), &check.expected) {
                    ("recovered", Expected::Time(window)) => (window, prediction.recovery),
                    ("detected", Expected::Time(window)) => (window, prediction.detection),
                    (_, Expected::Causes(causes)) => {
                        assert!(
                            causes.contains(&prediction.cause),
                            "{file}: {}",
                            expectation.text
                        );
                        continue;
                    }
                    // The model says nothing of these.
                    _ => continue,
                };
                let fits = match (expected, predicted) {
                    (TimeWindow::Never, None) => true,
                    (TimeWindow::Between(min, max), Some(w)) => *min <= w.min && w.max <= *max,
                    _ => false,
                };
                assert!(
                    fits,
                    "{file}: {}, predicted {predicted:?}",
                    expectation.text
                );
            }
        }
    }
}

#[test]
fn a_resolved_case_is_plain_numbers() {
    let all = cases_of("fixtures/scenarios/minimal.yaml");
    insta::assert_json_snapshot!("minimal", all);
}

#[test]
fn a_matrix_makes_cases_with_expectations_of_their_own() {
    let all = cases_of("fixtures/scenarios/everything.yaml");
    let lines: Vec<String> = all
        .iter()
        .map(|case| {
            let texts: Vec<&str> = case.expectations.iter().map(|e| e.text.as_str()).collect();
            format!("{}\n  {}", case.name, texts.join("\n  "))
        })
        .collect();
    insta::assert_snapshot!("everything-cases", lines.join("\n"));
    let first = &all[0];
    let elector = &first.lab.clients[0];
    insta::assert_debug_snapshot!("everything-transport", elector.transport);
    let sysctls = |name: &str| {
        let pod = first
            .lab
            .pods
            .iter()
            .find(|p| p.name == name)
            .expect("a pod");
        pod.sysctls
            .iter()
            .map(|s| format!("{}={}", s.key, s.value))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        sysctls("elector"),
        ["net.ipv4.tcp_syn_retries=4", "net.ipv4.tcp_retries2=15"]
    );
    assert_eq!(
        sysctls("lock-1"),
        [
            "net.ipv4.tcp_syn_retries=4",
            "net.ipv4.tcp_keepalive_time=600"
        ]
    );
    assert_eq!(
        first.lab.services[0].endpoints[0].address.to_string(),
        "[fd00:192:168:3::2]:8443"
    );
    assert_eq!(first.lab.services[0].removal, None);
}

#[test]
fn a_filter_takes_cases_by_name() {
    let options = PlanOptions {
        filter: Some("tcp_retries2=9,".into()),
        seed: 7,
    };
    let names: Vec<String> = cases_with("fixtures/scenarios/everything.yaml", &options)
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(
        names,
        [
            "tcp_retries2=9,user_timeout=off",
            "tcp_retries2=9,user_timeout=10s"
        ]
    );
    let none = PlanOptions {
        filter: Some("no such".into()),
        ..options
    };
    assert_eq!(cases_with("fixtures/scenarios/everything.yaml", &none), []);
}

#[test]
fn a_node_sysctl_that_pods_will_not_see_is_a_warning_with_its_line() {
    let all = cases_of("fixtures/scenarios/everything.yaml");
    let warning = &all[0].warnings;
    // `elector` sets it itself, `poller` is on the node: `direct` alone walks into the trap.
    // And no socket of the server `lock-1` has keepalive.
    let [warning, unread] = warning.as_slice() else {
        panic!("two warnings: {warning:?}");
    };
    let unread = &unread.text;
    assert!(
        unread.starts_with("net.ipv4.tcp_keepalive_time=600 changes nothing"),
        "{unread}"
    );
    assert!(
        warning
            .text
            .contains("net.ipv4.tcp_retries2=9 is set on node `node1`"),
        "{}",
        warning.text
    );
    assert!(
        warning
            .text
            .ends_with("`direct`. Set it in the client's own `sysctls`"),
        "{}",
        warning.text
    );
    assert_eq!((warning.location.line, warning.location.column), (8, 23));
    assert!(warning.location.text.contains("tcp_retries2"));
}

#[test]
fn incidents_end_by_the_timers_that_ended_them() {
    let case = |file: &str| cases_of(file).remove(0);
    let a4 = case("scenarios/incidents/a4-httptest-h1.yaml");
    assert_eq!(a4.predictions[0].cause, Cause::RetransmissionTimeout);
    assert_eq!(a4.predictions[0].recovery, None);
    // Measured here on both clocks. (The published one is of a kernel whose timers were rounded less.)
    let detection = a4.predictions[0].detection.expect("a window");
    for measured in [941_310, 942_317] {
        let measured = Duration::from_millis(measured);
        assert!(
            (detection.min..=detection.max).contains(&measured),
            "{detection:?}"
        );
    }
    let a2 = case("scenarios/incidents/a2-leader-election-h1.yaml");
    let recovery = a2.predictions[0].recovery.expect("a window");
    assert!(
        recovery.min <= Duration::from_secs(15) && recovery.max >= Duration::from_secs(41),
        "{recovery:?}"
    );
}

#[test]
fn a_scenario_is_loaded_by_path_too() {
    assert!(load(&path("scenarios/quickstart.yaml"), &PlanOptions::default()).is_ok());
}

/// The one case of a scenario of three nodes; `lines` are added at its end.
fn case_of(lines: &str) -> Case {
    let text = format!("name: t\nnodes: [n1, n2, n3]\n{lines}");
    let all = parse("t.yaml", &text, &PlanOptions::default());
    all.unwrap_or_else(|e| panic!("{}", render(&e, false)))
        .remove(0)
}

#[test]
fn a_request_out_at_the_end_has_its_servers_delay_to_be_answered() {
    let case = case_of(
        "duration: 30s\nservers:\n  s1: { node: n1, response_delay: 2s }\n  s2: { node: n2, response_delay: 3s }\n\
         clients:\n  c: { node: n3, url: 'http://s1/', profile: java, workload: { poll: { every: 1s } } }\n\
         faults:\n  - { at: 3s, fault: { power_loss: { node: n1 } } }\n",
    );
    assert_eq!(case.lab.drain, Duration::from_millis(3_200));
}

#[test]
fn a_derived_duration_covers_clients_that_start_late() {
    let case = case_of(
        "servers:\n  s1: { node: n1 }\n  s2: { node: n2 }\n\
         service:\n  web: { address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1, removal: 5s }\n\
         clients:\n  \
           early: { node: n3, url: 'http://web/', profile: bare, transport: { request_timeout: 5s }, workload: { poll: { every: 1s } } }\n  \
           late: { node: n3, url: 'http://web/', profile: bare, start: 300s, workload: { poll: { every: 1s } } }\n  \
           other: { node: n3, url: 'http://s2/', profile: bare, start: 400s, workload: { poll: { every: 1s } } }\n\
         faults:\n  - { at: 10s, fault: { power_loss: { node: n1 } } }\n",
    );
    assert_eq!(case.lab.duration, Duration::from_secs(402));
}

#[test]
fn workloads_whose_own_numbers_contradict_each_other_are_warned_of() {
    let text = "name: t\nduration: 60s\nnodes: [n1, n2]\nservers:\n  lock: { node: n1, app: lock }\n  \
         nodes: { node: n1, app: nodes, port: 81 }\nclients:\n  \
         late: { node: n2, url: 'http://lock/', profile: bare, workload: { leader_election: { every: 1s, lease: 9s } } }\n  \
         soon: { node: n2, url: 'http://lock/', profile: bare, workload: { leader_election: { every: 1s } } }\n  \
         deaf: { node: n2, url: 'http://nodes:81/', profile: bare, workload: { heartbeat: { grace: 10s } } }\n  \
         fine: { node: n2, url: 'http://nodes:81/', profile: bare, workload: { heartbeat: { grace: 10s, every: 60s, lease: 20s } } }\n\
         faults:\n  - { at: 5s, fault: { power_loss: { node: n1 } } }\n";
    let cases = parse("t.yaml", text, &PlanOptions::default()).expect("cases");
    let warnings: Vec<_> = cases[0]
        .warnings
        .iter()
        .map(|w| (w.text.as_str(), w.location.line))
        .collect();
    assert_eq!(
        warnings,
        [
            (
                "late believes to lead for 10 s after its last renewal, but its lease ends after 9 s: there may be two leaders",
                8
            ),
            (
                "deaf's node is judged not ready between two heartbeats: its grace period is 10 s, the pause 10 s",
                10
            ),
        ]
    );
}

#[test]
fn a_client_whose_limit_is_below_what_every_server_takes_is_warned_of() {
    let warned = |delays: [&str; 2], timeout: &str| {
        let [one, two] = delays;
        let case = case_of(&format!(
            "duration: 60s\nservers:\n  s1: {{ node: n1, response_delay: {one} }}\n  s2: {{ node: n2, response_delay: {two} }}\n\
             service:\n  web: {{ address: '192.168.255.1:80', endpoints: [s1, s2] }}\n\
             clients:\n  c: {{ node: n3, url: 'http://web/', profile: bare, workload: {{ poll: {{ every: 10s, timeout: {timeout} }} }} }}\n\
             faults:\n  - {{ at: 10s, fault: {{ power_loss: {{ node: n1 }} }} }}\n"
        ));
        let texts = case.warnings.into_iter().map(|warning| warning.text);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(
        warned(["5s", "4s"], "2s"),
        ["no request of `c` can succeed: its timeout of 2 s is below s2's response_delay of 4 s"]
    );
    assert_eq!(
        warned(["4s", "4s"], "4s"),
        [
            "no request of `c` can succeed: its timeout of 4 s is not above s1's response_delay of 4 s and the round trip"
        ]
    );
    assert!(warned(["4s", "1s"], "2s").is_empty());
    assert!(warned(["4s", "4s"], "5s").is_empty());
}

/// A case with a client of `profile` that has this transport, and sysctls of everybody.
fn with_transport(profile: &str, transport: &str, sysctls: &str) -> Case {
    let text = format!(
        "name: knobs\nnodes: [node1, node2]\nsysctls: {{ {sysctls} }}\nservers: {{ a: {{ node: node2, tls: true }} }}\n\
         clients:\n  c: {{ node: node1, url: https://a/, profile: {profile}, transport: {{ {transport} }}, workload: {{ poll: {{ every: 1s }} }} }}\n\
         faults: [{{ at: 3s, fault: {{ power_loss: {{ node: node2 }} }} }}]\nduration: 60s\nexpect: {{ c: {{ not_affected: false }} }}\n"
    );
    let cases = parse("knobs.yaml", &text, &PlanOptions::default());
    let mut cases = cases.unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases.swap_remove(0)
}

/// grpc-go sets TCP_USER_TIMEOUT to the keepalive's timeout.
#[test]
fn a_knob_that_its_library_links_to_another_follows_it_until_both_are_written() {
    let user_timeout = |profile, transport| {
        let case = with_transport(profile, transport, "");
        let transport = &case.lab.clients[0].transport;
        transport.user_timeout.map(|time| time.as_secs())
    };
    assert_eq!(user_timeout("grpc-keepalive", ""), Some(20));
    let ping = "ping: { idle: 10s, timeout: 5s }";
    assert_eq!(user_timeout("grpc-keepalive", ping), Some(5));
    let both = "ping: { idle: 10s, timeout: 5s }, user_timeout: 9s";
    assert_eq!(user_timeout("grpc-keepalive", both), Some(9));
    assert_eq!(user_timeout("grpc-keepalive", "ping: off"), None);
    assert_eq!(user_timeout("etcdctl", "ping: { timeout: 3s }"), Some(3));
    // No library of this one's.
    assert_eq!(user_timeout("go-http2-ping", ping), None);
}

#[test]
fn keepalive_that_is_on_has_the_kernel_s_times() {
    let keepalive = |sysctls| {
        let case = with_transport("bare-h2", "keepalive: on", sysctls);
        let client = &case.lab.clients[0].transport;
        assert!(client.keepalive_by_sysctls);
        let own = client.keepalive.expect("it is on");
        (own.idle.as_secs(), own.interval.as_secs(), own.count)
    };
    assert_eq!(keepalive(""), (7200, 75, 9));
    let sysctls = "net.ipv4.tcp_keepalive_time: 10, net.ipv4.tcp_keepalive_intvl: 3, net.ipv4.tcp_keepalive_probes: 2";
    assert_eq!(keepalive(sysctls), (10, 3, 2));
}

#[test]
fn keepalive_sysctls_that_no_socket_asks_for_are_a_warning() {
    let warned = |transport| {
        let case = with_transport("bare-h2", transport, "net.ipv4.tcp_keepalive_time: 10");
        let warnings = case.warnings.iter();
        let texts: Vec<_> = warnings.map(|warning| warning.text.clone()).collect();
        texts.join("\n")
    };
    assert_eq!(warned("keepalive: on"), "");
    let unread = "net.ipv4.tcp_keepalive_time=10 changes nothing: no client there has `keepalive: on`, which takes the kernel's times";
    assert_eq!(warned("keepalive: off"), unread);
    let own = "keepalive: { idle: 15s, interval: 15s, count: 9 }";
    assert_eq!(warned(own), unread);
}

#[test]
fn decimal_durations_and_booleans_for_off_and_on_are_understood() {
    let limit = |transport: &str| {
        let case = with_transport("bare-h2", transport, "");
        case.lab.clients[0].transport.read_timeout
    };
    assert_eq!(
        limit("read_timeout: 0.5s"),
        Some(Duration::from_millis(500))
    );
    assert_eq!(limit("read_timeout: false"), None);
    assert_eq!(limit("read_timeout: off"), None);
    let on = with_transport("bare-h2", "keepalive: true", "");
    assert!(on.lab.clients[0].transport.keepalive_by_sysctls);
}

/// Requests go out every 20 s. Keepalive gives up some 5 s after the fault: alone where that is over, with all that may make
/// it late, before the next request can go out.
#[test]
fn keepalive_is_foreseen_alone_only_where_it_is_over_before_the_next_request() {
    let foreseen = |at: u64| {
        let text = format!(
            "name: t\nduration: 20h\nnodes: [n1, n2]\nservers: {{ s: {{ node: n1 }} }}\n\
             clients:\n  c: {{ node: n2, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 20s }} }}, \
             transport: {{ keepalive: {{ idle: 3s, interval: 1s, count: 2 }} }} }}\n\
             faults: [{{ at: {at}ms, fault: {{ power_loss: {{ node: n1 }} }} }}]\n"
        );
        let mut cases = parse("t.yaml", &text, &PlanOptions::default())
            .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
        cases.remove(0).predictions.remove(0)
    };
    let mut alone = Vec::new();
    for at in (13_000..18_000).step_by(100) {
        let prediction = foreseen(at);
        let next = Duration::from_millis(20_000 - at);
        let by_keepalive = prediction.cause == Cause::Keepalive;
        if by_keepalive {
            let latest = prediction.detection.expect("a window").max;
            assert!(
                latest <= next,
                "at {at} ms: {latest:?}, and a request after {next:?}"
            );
        } else {
            assert_eq!(prediction.cause, Cause::Unknown, "at {at} ms");
        }
        alone.push(by_keepalive);
    }
    assert!(alone.contains(&true) && alone.contains(&false));
}
