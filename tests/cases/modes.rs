//! Ways in which a service's connections find an endpoint: the shipped scenarios, and what a witness of its own says of each.

use std::net::{IpAddr, SocketAddr};

use halfopen::record::{Event, Flow, Observation, Stage};
use serde_json::Value;

use crate::command::{Run, client, kernel_or_skip, number, repository};
use crate::needs;
use crate::ran::Ran;

/// A shipped scenario that was run; `None` on a kernel that lacks what the mode needs, too.
fn shipped(name: &str, passed: usize) -> Option<Ran> {
    let ran = Ran::of(&repository(&format!("scenarios/modes/{name}.yaml")))?;
    passes(ran, passed)
}

fn written(yaml: &str) -> Option<Ran> {
    passes(Ran::written(yaml)?, 1)
}

fn passes(ran: Ran, passed: usize) -> Option<Ran> {
    let said = &ran.run.outcome.stdout;
    if said.contains("IPVS (CONFIG_IP_VS") {
        let required = std::env::var_os("HALFOPEN_REQUIRE_KERNEL");
        assert!(required.is_none_or(|value| value != "1"), "{said}");
        needs::skipped("this kernel has no IPVS; ci/kernel builds one that has");
        return None;
    }
    ran.run.outcome.assert(0, &[&format!("{passed} passed")]);
    Some(ran)
}

/// Rules and connections of `node` at a stage.
fn at_stage(events: &[Event], wanted: &Stage) -> (Vec<String>, Vec<Flow>) {
    let found = events.iter().find_map(|event| match &event.what {
        Observation::Rules {
            node,
            stage,
            rules,
            flows,
        } if node == "node1" && stage == wanted => Some((rules.clone(), flows.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("rules at {wanted:?}"))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn nftables_is_foretold_as_iptables_is_and_both_hold() {
    let Some(ran) = shipped("rules", 2) else {
        return;
    };
    let cases = ran.run.cases();
    for name in ["h1", "h2"] {
        let [one, other] = [0, 1].map(|n| client(&cases[n], name));
        assert_ne!(one["predicted"], Value::Null);
        assert_eq!(one["predicted"], other["predicted"], "{name}");
    }
    let events = ran.events("nftables");
    let sides = |rules: &[String]| -> Vec<String> {
        let dice = rules.iter().filter(|rule| rule.contains("numgen"));
        dice.map(|rule| rule.trim().to_owned()).collect()
    };
    let (rules, _) = at_stage(&events, &Stage::Fault(0));
    let endpoints =
        ["192.168.3.2/443", "192.168.2.2/443"].map(|to| format!("endpoint-web/tcp__{to}"));
    let [dead, live] = &endpoints;
    assert_eq!(
        sides(&rules),
        [format!(
            "numgen random mod 2 vmap {{ 0 : goto {dead}, 1 : goto {live} }}"
        )]
    );
    let (rules, flows) = at_stage(&events, &Stage::EndpointRemoved("web-1".to_owned()));
    assert_eq!(
        sides(&rules),
        [format!("numgen random mod 1 vmap {{ 0 : goto {live} }}")]
    );
    assert!(!rules.iter().any(|rule| rule.contains(dead)), "{rules:?}");
    // The rules have forgotten it; the connection of the one that waits still goes there.
    assert!(
        flows
            .iter()
            .any(|flow| flow.endpoint == addr("192.168.3.2:443"))
    );
}

#[test]
fn an_endpoint_that_leaves_ipvs_keeps_its_connections_with_weight_0() {
    let Some(ran) = shipped("ipvs", 1) else {
        return;
    };
    let events = ran.events("ipvs");
    let rules = |stage| at_stage(&events, &stage).0[1..].to_vec();
    let service = "192.168.255.220:443";
    let to = |to: &str, weight: u32| format!("-a -t {service} -r {to}:443 -m -w {weight}");
    let made = format!("-A -t {service} -s rr");
    assert_eq!(rules(Stage::Start), [made.clone(), to("192.168.3.2", 1)]);
    assert_eq!(
        rules(Stage::Fault(0)),
        [made.clone(), to("192.168.2.2", 1), to("192.168.3.2", 1)]
    );
    let removed = Stage::EndpointRemoved("web-1".to_owned());
    assert_eq!(
        rules(removed.clone()),
        [made.clone(), to("192.168.2.2", 1), to("192.168.3.2", 0)]
    );
    let (_, flows) = at_stage(&events, &removed);
    let waits = flows
        .iter()
        .filter(|flow| flow.endpoint == addr("192.168.3.2:443"));
    assert!(
        waits
            .clone()
            .any(|flow| flow.state == "ESTABLISHED" && flow.timeout_s <= 900)
    );
    assert!(flows.iter().all(|flow| flow.to == addr(service)));
    // When the last of them was given up and forgotten, kube-proxy's look finds it, and it is deleted. 900 s after the last
    // retransmission this case is over.
    assert!(rules(Stage::End).contains(&to("192.168.2.2", 1)));
}

/// The kernel's own file, read by a program that knows nothing of us.
#[test]
fn what_ipvs_is_said_to_have_is_what_proc_shows() {
    let Some(ran) = written(
        "name: witness\n\
         nodes: [node1, node2, node3, node4]\n\
         servers: { web-1: { node: node3 }, web-2: { node: node2 } }\n\
         service:\n  web: { address: '192.168.255.220:80', proxy: ipvs, endpoints: [web-1, web-2], \
         affinity: { client_ip: 90s } }\n\
         clients:\n\
         \x20 c: { node: node1, url: 'http://web/', profile: bare, workload: { poll: { every: 1s, timeout: 2s } } }\n\
         \x20 table:\n    node: node1\n    host_network: true\n    start: 3s\n    url: http://web/\n\
         \x20   workload: { exec: { command: [cat, /proc/net/ip_vs], every: 100s } }\n\
         faults:\n  - { at: 10s, fault: { power_loss: { node: node4 } } }\n\
         duration: 30s\n\
         expect: { c: { not_affected: true } }\n",
    ) else {
        return;
    };
    let events = ran.events("witness");
    let said = events.iter().filter_map(|event| match &event.what {
        Observation::ProgramOutput { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let said: Vec<&str> = said.flat_map(str::lines).collect();
    let hex = |to: &str| {
        let to = addr(to);
        let IpAddr::V4(ip) = to.ip() else {
            unreachable!("it is of IPv4")
        };
        format!("{:08X}:{:04X}", ip.to_bits(), to.port())
    };
    // The kernel shows its time in jiffies: 90 s at HZ=250.
    let service = said
        .iter()
        .find(|line| line.starts_with("TCP"))
        .expect("a service");
    assert!(
        service.contains(&hex("192.168.255.220:80"))
            && service.contains("rr  persistent 22500 FFFFFFFF"),
        "{service}"
    );
    let mut shown: Vec<String> = said
        .iter()
        .filter_map(|line| {
            let mut words = line.trim().strip_prefix("-> ")?.split_whitespace();
            let (to, how, weight) = (words.next()?, words.next()?, words.next()?);
            Some(format!("{to} {how} {weight}"))
        })
        .filter(|line| !line.starts_with("Remote"))
        .collect();
    shown.sort();
    let mut expected = ["192.168.3.2:80", "192.168.2.2:80"].map(|to| format!("{} Masq 1", hex(to)));
    expected.sort();
    assert_eq!(shown, expected, "{said:?}");
    let (rules, _) = at_stage(&events, &Stage::Fault(0));
    assert_eq!(
        rules[1..],
        [
            "-A -t 192.168.255.220:80 -s rr -p 90",
            "-a -t 192.168.255.220:80 -r 192.168.2.2:80 -m -w 1",
            "-a -t 192.168.255.220:80 -r 192.168.3.2:80 -m -w 1"
        ]
    );
}

#[test]
fn ipvs_forgets_what_was_idle_for_900_s() {
    let Some(ran) = shipped("ipvs-idle", 1) else {
        return;
    };
    let case = &ran.run.cases()[0];
    let dialled = |name: &str| {
        client(case, name)["connections"]
            .as_array()
            .expect("a list")
            .len()
    };
    assert_eq!(dialled("idle-512s"), 1);
    assert_eq!(dialled("idle-1024s-keepalive"), 1);
    assert!(dialled("idle-1024s") > 1);
    let figure = &client(case, "idle-512s")["published"]["figures"][0];
    assert!(
        (number(&figure["measured_s"]) - 512.0).abs() < 1.0,
        "{figure}"
    );
}

#[test]
fn affinity_leads_back_to_the_dead_endpoint_until_it_leaves() {
    if kernel_or_skip().is_none() {
        return;
    }
    // The case by IPVS is skipped by a kernel without it.
    let run = Run::of(
        &[&repository("scenarios/modes/affinity.yaml")],
        &["--clock", "virtual", "--allow-skipped"],
    );
    run.outcome.assert(0, &[" 0 failed"]);
    let judged = run.cases().iter().filter(|case| case["verdict"] == "pass");
    assert!(judged.clone().count() >= 2, "{}", run.outcome);
    for case in judged {
        let connections = client(case, "c")["connections"].as_array().expect("a list");
        let led: Vec<(f64, &str)> = connections
            .iter()
            .filter_map(|c| Some((c["dialled_at_s"].as_f64()?, c["endpoint"].as_str()?)))
            .collect();
        assert!(led.len() > 5, "{led:?}");
        for (at, endpoint) in led {
            let expected = if at < 50.3 { "web-1" } else { "web-2" };
            assert_eq!(endpoint, expected, "dialled at {at} s");
        }
    }
}

/// Silence as long as nobody has the address, and RST from its next holder: what a service of dice never gives.
#[test]
fn an_address_that_moves_ends_old_connections_by_reset() {
    let Some(ran) = shipped("vip", 1) else {
        return;
    };
    let case = &ran.run.cases()[0];
    for name in ["busy", "idle"] {
        let client = client(case, name);
        let led = client["connections"].as_array().expect("a list").iter();
        let led: Vec<&str> = led.filter_map(|c| c["endpoint"].as_str()).collect();
        assert_eq!(led, ["db-1", "db-2"], "{name}");
    }
    // The servers' own word: who accepted, and when.
    let events = ran.events("vip");
    let accepted: Vec<(f64, &str)> = events
        .iter()
        .filter_map(|event| match &event.what {
            Observation::ServerAccepted { server, .. } => {
                Some((event.at().as_secs_f64(), server.as_str()))
            }
            _ => None,
        })
        .collect();
    assert!(
        accepted
            .iter()
            .all(|(at, server)| (*server == "db-1") == (*at < 10.3)),
        "{accepted:?}"
    );
    assert_eq!(accepted.len(), 4, "{accepted:?}");
    let holder = |stage| at_stage(&events, &stage).0[1].clone();
    assert!(holder(Stage::Fault(0)).ends_with("(node3)"));
    assert!(holder(Stage::End).ends_with("(node2)"));
}
