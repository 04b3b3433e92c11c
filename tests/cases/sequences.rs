//! One fault after another: each has an outage of its own, told, judged and counted by itself. The witness is what servers
//! recorded of their responses, slot by slot.

use std::fs;

use serde_json::Value;

use crate::command::{client, number, run};
use crate::ran::Ran;

/// When servers responded to a client, in seconds from the case's start.
fn responses(ran: &Ran, client: &str) -> Vec<f64> {
    let text = fs::read_to_string(ran.record("")).expect("a record");
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let own =
        events.filter(|e| e["event"] == "server_response" && e["request"]["client"] == client);
    own.map(|e| number(&e["t_ns"]) / 1e9).collect()
}

/// From a time until servers responded again after a silence of some seconds that it began.
fn silent_after(ran: &Ran, client: &str, fault: f64) -> f64 {
    let all = responses(ran, client);
    let next = all
        .windows(2)
        .find(|pair| pair[1] > fault && pair[1] - pair[0] > 2.5);
    next.expect("a silence")[1] - fault
}

fn shipped(name: &str) -> Option<Ran> {
    Ran::shipped(&format!("sequences/{name}"), 1)
}

fn outage<'c>(client: &'c Value, name: &str) -> &'c Value {
    let mut all = client["outages"].as_array().expect("outages").iter();
    all.find(|outage| outage["name"] == name)
        .unwrap_or_else(|| panic!("{name} in {client:#}"))
}

#[test]
fn each_fault_that_strikes_has_its_own_outage() {
    let Some(ran) = shipped("one-after-another") else {
        return;
    };
    let c = client(&ran.run.cases()[0], "c");
    let causes = [
        "request_timeout",
        "request_timeout",
        "socket_destroyed",
        "request_timeout",
    ];
    let told = c["outages"].as_array().expect("outages");
    let told: Vec<_> = told
        .iter()
        .map(|outage| outage["cause"].as_str().expect("a cause"))
        .collect();
    assert_eq!(told, causes);
    // The client's own figures are those of the first.
    assert_eq!(
        c["recovered_after_s"],
        outage(c, "power")["recovered_after_s"]
    );
    for (name, from) in [("power", 20.3), ("hang", 60.3), ("lossy", 150.3)] {
        let own = number(&outage(c, name)["recovered_after_s"]);
        let seen = silent_after(&ran, "c", from);
        assert!(
            (own - seen).abs() < 0.1,
            "{name}: {own} and by its servers {seen}"
        );
    }
    assert!(number(&outage(c, "destroyed")["recovered_after_s"]) < 1.1);
}

/// Half a second after half a second, as it polls: in which of them was it answered?
#[test]
fn availability_is_the_share_of_time_in_which_it_was_answered() {
    let Some(ran) = shipped("rolling-upgrade") else {
        return;
    };
    for name in ["h1", "h2", "h2-ping"] {
        let all = responses(&ran, name);
        let (first, slots) = (all[0], 0..((400.0 - all[0]) / 0.5) as u32);
        let served = slots.clone().filter(|slot| {
            let from = first + f64::from(*slot) * 0.5;
            all.iter().any(|at| (from - 0.3..from + 0.8).contains(at))
        });
        let seen = served.count() as f64 / slots.len() as f64;
        let told = number(&client(&ran.run.cases()[0], name)["availability"]);
        assert!(
            (seen - told).abs() < 0.02,
            "{name}: {told}, and by its servers {seen}"
        );
    }
    // How many of the three take a client's server is up to the dice; that each was there for them is not.
    let text = fs::read_to_string(ran.record("")).expect("a record");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let times = |what: &str| -> Vec<f64> {
        let all = events.iter().filter(|event| event["event"] == what);
        all.map(|event| number(&event["t_ns"]) / 1e9).collect()
    };
    let (struck, back) = (times("fault_injected"), times("endpoint_added"));
    assert_eq!(struck.len(), 3);
    let in_turn = struck.iter().skip(1).zip(&back);
    let before = in_turn.filter(|(next, back)| back < next).count();
    assert_eq!(
        before, 2,
        "each node is in the service again when the next one goes: {struck:?} {back:?}"
    );
    let outages = client(&ran.run.cases()[0], "h2-ping")["outages"].as_array();
    let outages = outages.map_or(0, Vec::len);
    assert!((1..=3).contains(&outages), "{outages}");
}

/// A node's turn is a loss of power for a time, as if it were written out.
#[test]
fn a_rolling_upgrade_is_its_losses_of_power_written_out() {
    let one = |faults: &str| {
        format!(
            "name: t\nduration: 60s\nnodes: [n0, n1, n2]\nservers: {{ a: {{ node: n1 }}, b: {{ node: n2 }} }}\n\
             service: {{ s: {{ address: '10.96.0.20:80', endpoints: [a, b], pin_first: a, removal: 2s, readiness: 1s }} }}\n\
             clients: {{ c: {{ node: n0, url: 'http://s/', profile: go-http1, workload: {{ poll: {{ every: 500ms, timeout: 2s }} }} }} }}\n\
             faults: {faults}\n"
        )
    };
    let short = Ran::written(&one(
        "[{ at: 10s, rolling: { nodes: [n1, n2], down: 10s, pause: 5s } }]",
    ));
    let long = Ran::written(&one(
        "[{ at: 10s, for: 10s, fault: { power_loss: { node: n1 } } }, { at: 25s, for: 10s, fault: { power_loss: { node: n2 } } }]",
    ));
    let (Some(short), Some(long)) = (short, long) else {
        return;
    };
    assert_eq!(
        &short.run.cases()[0]["faults"],
        &long.run.cases()[0]["faults"]
    );
    assert_eq!(
        &short.run.cases()[0]["clients"],
        &long.run.cases()[0]["clients"]
    );
    assert_eq!(
        client(&short.run.cases()[0], "c")["outages"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

/// The second fault strikes what the first one had taken already: one outage, which both tell of.
#[test]
fn a_fault_during_an_outage_is_no_other_outage() {
    let ran = Ran::written(
        "name: t\nduration: 60s\nnodes: [n0, n1, n2]\nservers: { a: { node: n1 }, b: { node: n2 } }\n\
         service: { s: { address: '10.96.0.20:80', endpoints: [a, b], pin_first: a, removal: 2s } }\n\
         clients: { c: { node: n0, url: 'http://s/', profile: bare, workload: { poll: { every: 500ms } } } }\n\
         faults:\n\
         - { name: power, at: 10s, fault: { power_loss: { node: n1 } } }\n\
         - { name: helped, at: 40s, fault: { socket_destroyed: { client: c } } }\n\
         expect: { c: { outages: { exactly: 1 }, power: { recovered: { between: [30s, 31s] }, cause: socket_destroyed }, helped: { recovered: { within: 1s } } } }\n",
    );
    let Some(ran) = ran else { return };
    ran.run.outcome.assert(0, &["1 passed", "c: one outage"]);
    let c = client(&ran.run.cases()[0], "c");
    assert_eq!(outage(c, "helped")["during_another"], true);
}

/// Windows count from the fault that they name, and an expectation of a fault that passed by tests nothing. (Who dials anew is led to
/// the other server, whatever the dice say.)
#[test]
fn an_expectation_belongs_to_its_fault() {
    let with = |expect: &str| {
        Ran::written(&format!(
            "name: t\nduration: 60s\nnodes: [n0, n1, n2]\nservers: {{ a: {{ node: n1 }}, b: {{ node: n2 }} }}\n\
             service: {{ s: {{ address: '10.96.0.20:80', endpoints: [a, b], pin_first: a, removal: 1s }} }}\n\
             clients: {{ c: {{ node: n0, url: 'http://s/', profile: go-http1, workload: {{ poll: {{ every: 500ms, timeout: 2s }} }} }} }}\n\
             faults:\n\
             - {{ name: first, at: 10s, for: 10s, fault: {{ hang: {{ server: a }} }} }}\n\
             - {{ at: 12s, fault: {{ endpoint_removed: {{ service: s, server: a }} }} }}\n\
             - {{ name: aside, at: 25s, fault: {{ power_loss: {{ node: n1 }} }} }}\n\
             - {{ name: second, at: 40s, for: 5s, fault: {{ loss: {{ node: n2, percent: 100 }} }} }}\n\
             expect: {{ c: {expect} }}\n"
        ))
    };
    let Some(right) =
        with("{ first: { recovered: { within: 9s } }, second: { recovered: { within: 9s } } }")
    else {
        return;
    };
    right.run.outcome.assert(0, &["1 passed"]);
    let wrong =
        with("{ first: { recovered: { within: 9s } }, second: { recovered: { within: 1s } } }")
            .expect("a run");
    wrong
        .run
        .outcome
        .assert(1, &["c.second.recovered: within 1 s"]);
    let aside = with("{ aside: { recovered: { within: 9s } } }").expect("a run");
    aside.run.outcome.assert(3, &["nothing was tested"]);
    let aside = with("{ aside: { not_affected: true } }").expect("a run");
    aside.run.outcome.assert(0, &["1 passed"]);
}

#[test]
fn a_story_of_four_faults_has_a_line_for_each() {
    let Some(ran) = shipped("one-after-another") else {
        return;
    };
    let record = ran.record("");
    let told = run(["explain", record.to_str().expect("UTF-8")]);
    told.assert(0, &[]);
    // Which port it gets, and the last microseconds, are dice of the kernel's: another build throws others.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(\d\.\d{3})\d{3} s", "$1 s");
    settings.add_filter(r"\(/\S*/scenarios/", "(scenarios/");
    settings.add_filter(r"192\.168\.1\.2:\d+", "192.168.1.2:PORT");
    settings.bind(|| insta::assert_snapshot!(told.stdout));
}

/// By how much the kernel's counter of a place has grown in the case.
fn grown(ran: &Ran, place: &str, counter: &str) -> f64 {
    let text = fs::read_to_string(ran.record("")).expect("a record");
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let own = events.filter(|e| e["event"] == "counters" && e["place"] == place);
    let own: Vec<Value> = own.collect();
    assert!(!own.is_empty(), "no counters of {place}");
    own.iter()
        .filter_map(|e| e["deltas"][counter].as_f64())
        .sum()
}

#[track_caller]
fn ends(client: &Value, cause: &str, detected: f64) {
    assert_eq!(client["cause"], cause, "{client:#}");
    let after = number(&client["detected_after_s"]);
    assert!((after - detected).abs() < 0.6, "{detected}: {client:#}");
}

/// The witness is the kernel: the client's had a connection reset, and the server's sent no RST.
#[test]
fn a_middlebox_answers_in_the_place_of_a_server_that_knows_of_nothing() {
    let Some(ran) = shipped("middlebox-idle-reset") else {
        return;
    };
    ends(client(&ran.run.cases()[0], "idle"), "reset", 50.0);
    assert_eq!(grown(&ran, "idle", "Tcp.EstabResets"), 1.0);
    assert_eq!(grown(&ran, "api", "Tcp.OutRsts"), 0.0);
    // Known by its probes, one a minute.
    assert_eq!(client(&ran.run.cases()[0], "keepalive")["affected"], false);
    assert_eq!(grown(&ran, "keepalive", "Tcp.EstabResets"), 0.0);
    assert_eq!(responses(&ran, "keepalive").len(), 3);
    assert_eq!(responses(&ran, "idle").len(), 2);
}

#[test]
fn a_middlebox_that_forgets_in_silence_is_found_out_by_whoever_has_a_limit() {
    let Some(ran) = shipped("middlebox-idle-silent") else {
        return;
    };
    // 60 s after it is forgotten the next request is sent. The kernel's 924.6 s count from its first retransmission.
    ends(
        client(&ran.run.cases()[0], "request-timeout"),
        "request_timeout",
        70.0,
    );
    ends(
        client(&ran.run.cases()[0], "user-timeout"),
        "user_timeout",
        80.5,
    );
    let idle = client(&ran.run.cases()[0], "idle");
    assert_eq!(idle["cause"], "retransmission_timeout", "{idle:#}");
    assert!(
        (984.8..1059.0).contains(&number(&idle["detected_after_s"])),
        "{idle:#}"
    );
    assert_eq!(responses(&ran, "idle").len(), 1);
    for unharmed in ["keepalive", "idle-timeout"] {
        assert_eq!(client(&ran.run.cases()[0], unharmed)["affected"], false);
        assert_eq!(responses(&ran, unharmed).len(), 5);
    }
    // Each forgetting is an outage of its own.
    let two = &client(&ran.run.cases()[0], "request-timeout")["outages"];
    assert_eq!(two.as_array().map(Vec::len), Some(2), "{two:#}");
}

#[test]
fn a_middlebox_without_state_or_room_harms_those_alone_who_need_it() {
    let Some(ran) = shipped("middlebox-restarts") else {
        return;
    };
    ends(
        client(&ran.run.cases()[0], "request-timeout"),
        "request_timeout",
        10.0,
    );
    ends(
        client(&ran.run.cases()[0], "user-timeout"),
        "user_timeout",
        20.4,
    );
    let Some(ran) = shipped("middlebox-table-full") else {
        return;
    };
    let longest = |name: &str| {
        let all = responses(&ran, name);
        let apart = all.windows(2).map(|two| two[1] - two[0]);
        apart.fold(0.0, f64::max)
    };
    assert!(longest("keeps") < 2.1, "{}", longest("keeps"));
    assert!(
        (118.0..128.0).contains(&longest("dials")),
        "{}",
        longest("dials")
    );
}

/// A path that is dead for three seconds leaves the connection alive, and another fault kills it two minutes later: that is the other
/// one's doing. Whatever a client does and however it speaks, each fault has the outage that servers saw.
#[test]
fn what_a_connection_lived_through_is_no_loss_of_it() {
    let ran = Ran::written(
        "name: t\nduration: 300s\nnodes: [n0, n1, n2]\n\
         servers: { a: { node: n1 }, b: { node: n2 } }\n\
         service: { s: { address: '10.96.0.20:80', endpoints: [a, b], pin_first: a, removal: 1s } }\n\
         clients:\n\
         \x20 h1: { node: n0, url: 'http://s/', profile: bare, workload: { poll: { every: 500ms, timeout: 8s } } }\n\
         \x20 h2: { node: n0, url: 'http://s/', profile: bare-h2, transport: { ping: { idle: 5s, timeout: 5s } }, workload: { poll: { every: 500ms } } }\n\
         \x20 watch: { node: n0, url: 'http://s/', profile: bare-h2, transport: { ping: { idle: 5s, timeout: 5s } }, workload: { watch: { push: 1s } } }\n\
         faults:\n\
         - { name: blip, at: 20300ms, for: 3s, fault: { loss: { node: n1, percent: 100 } } }\n\
         - { name: power, at: 140300ms, fault: { power_loss: { node: n1 } } }\n",
    );
    let Some(ran) = ran else { return };
    for name in ["h1", "h2", "watch"] {
        let c = client(&ran.run.cases()[0], name);
        let (blip, power) = (outage(c, "blip"), outage(c, "power"));
        assert_eq!(blip["cause"], "never", "{blip:#}");
        assert_eq!(blip["detected_after_s"], Value::Null, "{blip:#}");
        let back = number(&blip["recovered_after_s"]);
        assert!((3.0..7.0).contains(&back), "{name}: {back}");
        let cause = if name == "h1" {
            "request_timeout"
        } else {
            "ping_timeout"
        };
        assert_eq!(power["cause"], cause, "{power:#}");
        assert!(number(&power["recovered_after_s"]) < 12.0, "{power:#}");
        assert_eq!(power["during_another"], Value::Null, "{power:#}");
        assert_eq!(c["outside_prediction"], false, "{c:#}");
        // The witness: nobody was silent but twice.
        if name != "watch" {
            for (outage, from) in [(blip, 20.3), (power, 140.3)] {
                let seen = silent_after(&ran, name, from);
                let own = number(&outage["recovered_after_s"]);
                assert!(
                    (own - seen).abs() < 0.1,
                    "{name}: {own}, and by its servers {seen}"
                );
            }
        }
    }
}
