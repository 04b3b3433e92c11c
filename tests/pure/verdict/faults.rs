//! What each kind of fault strikes, and who can answer while it is in force.

use halfopen::explain::{Options, explain};
use halfopen::plan::{
    Direction, Effect, End, Fault, Packets, Path, Phase, Process, Protocol, RejectWith, Where,
};
use halfopen::record::Observation;
use halfopen::verdict::judge;
use halfopen::verdict::result::ClientResult;

use super::story::{Story, seconds};

/// A client on node 1 whose one connection leads to `aa-1` on node 3, and which has an answer every 3 s, whatever comes
/// at 10 s. `more` adds to that.
fn lives_through(effect: Effect, more: impl FnOnce(&mut Story)) -> ClientResult {
    let mut story = Story::new("survivor", 40.0);
    story.client("survivor", 1, Protocol::H2);
    story.case.lab.faults[0].effects = vec![effect];
    story.open(1.0, "survivor", 1, "aa-1");
    for n in 0..12 {
        story.exchange(1.01 + 3.0 * f64::from(n), "survivor", 1 + n, 1, "aa-1");
    }
    story.cut(10.0, &[("survivor", Phase::Idle)]);
    more(&mut story);
    judge(&story.end()).clients.swap_remove(0)
}

fn at(end: End) -> Path {
    Path {
        place: Where::At(end),
        direction: Direction::Both,
    }
}

fn between(first: End, second: End) -> Path {
    Path {
        place: Where::Between(first, second),
        direction: Direction::Both,
    }
}

fn machine(name: &str) -> End {
    End::Machine(name.to_owned())
}

fn pod(name: &str) -> End {
    End::Pod(name.to_owned())
}

fn loss(path: Path) -> Effect {
    Effect::Drop {
        path,
        packets: Packets::All,
        percent: 10.0,
    }
}

fn of(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_fault_strikes_the_connections_that_pass_where_it_is() {
    let struck = [
        loss(at(machine("node3"))),
        loss(at(machine("node1"))),
        loss(at(pod("survivor"))),
        loss(at(pod("aa-1"))),
        loss(between(machine("node1"), machine("node3"))),
        loss(between(pod("aa-1"), machine("node1"))),
        Effect::Answer {
            path: at(machine("node3")),
            with: RejectWith::Icmp,
        },
        Effect::Delay {
            path: at(pod("aa-1")),
            delay: seconds(0.1),
            jitter: seconds(0.0),
        },
        Effect::Carrier {
            behind: machine("node3"),
        },
        Effect::Hang { server: of("aa-1") },
        Effect::Forget {
            service: of("aa"),
            server: Some(of("aa-1")),
        },
        Effect::Destroy {
            client: of("survivor"),
            server: None,
        },
    ];
    for effect in struck {
        let client = lives_through(effect.clone(), |_| {});
        assert_eq!(client.affected, Some(true), "{effect:?}");
        // It was struck, and it lived.
        assert_eq!(
            (client.detected_after, client.requests_failed),
            (None, Some(0))
        );
    }
}

#[test]
fn and_no_others() {
    let elsewhere = [
        loss(at(machine("node2"))),
        loss(at(pod("aa-2"))),
        loss(between(machine("node2"), machine("node3"))),
        loss(between(End::Host(of("node1")), machine("node3"))),
        loss(between(machine("node1"), End::Host(of("node3")))),
        // It is open: no SYN of it is on the way.
        Effect::Drop {
            path: at(machine("node3")),
            packets: Packets::Syn,
            percent: 100.0,
        },
        Effect::Carrier {
            behind: pod("aa-2"),
        },
        Effect::Hang { server: of("aa-2") },
        Effect::Kill {
            process: Process::Server(of("aa-2")),
        },
        Effect::Rules {
            service: of("aa"),
            server: of("aa-1"),
            out: true,
        },
        Effect::Forget {
            service: of("aa"),
            server: Some(of("aa-2")),
        },
        Effect::Destroy {
            client: of("somebody-else"),
            server: None,
        },
    ];
    for effect in elsewhere {
        let client = lives_through(effect.clone(), |_| {});
        assert_eq!(client.affected, Some(false), "{effect:?}");
        assert!(
            client.recovered_after.is_some_and(|t| t < seconds(3.1)),
            "{effect:?}"
        );
    }
}

/// An answer that arrives from who can't answer any more is a late one, and says nothing of what is now.
#[test]
fn nobody_recovers_by_who_can_t_answer_until_that_heals() {
    let silencing = [
        Effect::Hang { server: of("aa-1") },
        Effect::Kill {
            process: Process::Server(of("aa-1")),
        },
        Effect::Carrier {
            behind: pod("aa-1"),
        },
        Effect::Carrier {
            behind: machine("node3"),
        },
    ];
    for effect in silencing {
        let client = lives_through(effect.clone(), |_| {});
        assert_eq!(client.recovered_after, None, "{effect:?}");
        let client = lives_through(effect.clone(), |story| {
            story.event(20.0, Observation::FaultHealed { fault: 0 });
        });
        let recovered = client.recovered_after.expect("an answer after it healed");
        assert!(
            recovered > seconds(10.0) && recovered < seconds(13.1),
            "{effect:?}: {recovered:?}"
        );
    }
}

#[test]
fn power_that_is_back_lets_a_node_answer_again() {
    let mut story = Story::new("survivor", 40.0);
    story.client("survivor", 1, Protocol::H2);
    let lost = story.case.lab.faults[0].clone();
    story.case.lab.faults.push(Fault {
        name: None,
        effects: vec![Effect::Restore { node: of("node3") }],
        ..lost
    });
    story.open(1.0, "survivor", 1, "aa-1");
    story.exchange(1.01, "survivor", 1, 1, "aa-1");
    story.cut(10.0, &[("survivor", Phase::Idle)]);
    let phases = Vec::new();
    story.event(20.0, Observation::FaultInjected { fault: 1, phases });
    story.open(21.0, "survivor", 2, "aa-1");
    story.exchange(21.5, "survivor", 2, 2, "aa-1");
    let result = judge(&story.end());
    let client = &result.clients[0];
    assert_eq!(client.fault_at, Some(seconds(10.0)));
    let recovered = client.recovered_after.expect("an answer by the node");
    assert!(
        (recovered.as_secs_f64() - 11.502).abs() < 0.001,
        "{recovered:?}"
    );
    // The second dial met a node with power.
    assert_eq!(result.clients[0].dials, 1);
}

#[test]
fn a_killed_client_is_gone() {
    let effect = Effect::Kill {
        process: Process::Client(of("survivor")),
    };
    let mut story = Story::new("survivor", 40.0);
    story.client("survivor", 1, Protocol::H2);
    story.case.lab.faults[0].effects = vec![effect];
    story.open(1.0, "survivor", 1, "aa-1");
    story.exchange(1.01, "survivor", 1, 1, "aa-1");
    story.cut(10.0, &[("survivor", Phase::Idle)]);
    story.gone(10.0, "survivor");
    let record = story.end();
    let told = explain(&record, &judge(&record), Options::default()).expect("a story");
    assert!(told.contains("survivor: gone: it was killed\n"), "{told}");
    let client = judge(&record).clients.swap_remove(0);
    assert!(client.gone);
    assert_eq!(client.requests_failed, Some(0));
}
