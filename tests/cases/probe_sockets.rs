//! Sockets through time: what sock_diag shows agrees with the wire, with what clients say, and with what the kernel counts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use halfopen::record::{
    EndedBy, Event, Observation, Segment, Socket, SocketChange, Stage, TcpState, TimerKind,
};

use crate::command::{Run, changed, kernel_or_skip, repository};

/// A tick of the guest's kernel.
const TICK: Duration = Duration::from_millis(4);

/// What was recorded of the scenario's one case, on the virtual clock.
fn record_of(scenario: &Path) -> Vec<Event> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    Run::of(&[scenario], &["--clock", "virtual", "--record", path]);
    let mut files = fs::read_dir(folder.path()).expect("a folder");
    let record = files.find_map(|file| {
        let path = file.expect("a file").path();
        (path.extension()? == "ndjson").then(|| fs::read_to_string(path).expect("a record"))
    });
    let record = record.expect("a record");
    let mut events: Vec<Event> = record
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    assert!(matches!(
        events.last().map(|event| &event.what),
        Some(Observation::CaseEnded {})
    ));
    events.sort_by_key(|event| event.t_ns);
    events
}

/// The record of a scenario that is not in the repository.
fn record_of_text(scenario: &str) -> Vec<Event> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.yaml");
    fs::write(&file, scenario).expect("written");
    record_of(&file)
}

fn quickstart() -> Vec<Event> {
    record_of(&repository("scenarios/quickstart.yaml"))
}

/// The sockets of a place, with when they were seen.
fn sockets<'a>(events: &'a [Event], place: &str) -> Vec<(Duration, &'a Socket)> {
    let all = events.iter().filter_map(|event| match &event.what {
        Observation::Socket(socket) => Some((event.at(), socket)),
        _ => None,
    });
    all.filter(|(_, socket)| socket.place == place).collect()
}

/// What was sent again from `local`, by the kernel's stamps.
fn sent_again<'a>(
    events: &'a [Event],
    local: std::net::SocketAddr,
) -> Vec<(Duration, &'a Segment)> {
    let again = |event: &'a Event| match &event.what {
        // What passes its pod's link as well is in the record twice.
        Observation::Segment(s)
            if s.from == local
                && s.retransmission > 0
                && s.len > 0
                && s.node.starts_with("node") =>
        {
            Some((Duration::from_nanos(s.stamp_ns), s))
        }
        _ => None,
    };
    events.iter().filter_map(again).collect()
}

fn fault(events: &[Event]) -> Duration {
    let fault = events
        .iter()
        .find(|event| matches!(event.what, Observation::FaultInjected { .. }));
    fault.expect("a fault").at()
}

/// Sum of what a counter has grown by.
fn counted(events: &[Event], place: &str, name: &str) -> u64 {
    let deltas = events.iter().filter_map(|event| match &event.what {
        Observation::Counters {
            place: at, deltas, ..
        } if at == place => deltas.get(name),
        _ => None,
    });
    deltas.sum()
}

#[test]
fn every_connection_of_the_quickstart_is_born_on_both_sides_and_ends_where_it_lives() {
    if kernel_or_skip().is_none() {
        return;
    }
    let events = quickstart();
    let fault = fault(&events);
    let mut connections = 0;
    for event in &events {
        let Observation::DialStarted {
            client,
            connection,
            target,
            local: Some(local),
        } = &event.what
        else {
            continue;
        };
        connections += 1;
        let own: Vec<_> = sockets(&events, client)
            .into_iter()
            .filter(|(_, socket)| socket.local == *local)
            .collect();
        let (born_at, born) = own[0];
        assert_eq!((born.change, born.peer), (SocketChange::Born, *target));
        assert_eq!(born.state, TcpState::SynSent);
        assert!(born_at.abs_diff(event.at()) < TICK);
        let births = own.iter().filter(|(_, s)| s.change == SocketChange::Born);
        assert_eq!(births.count(), 1, "{client}");

        // Its server's: the one that the SYN went to.
        let server = if event.at() < fault { "web-1" } else { "web-2" };
        let theirs: Vec<_> = sockets(&events, server)
            .into_iter()
            .filter(|(_, socket)| socket.peer == *local)
            .collect();
        assert_eq!(theirs[0].1.change, SocketChange::Born, "{client}");
        assert!(theirs[0].0.abs_diff(event.at()) < TICK);
        assert!(
            theirs.iter().any(|(_, s)| s.state == TcpState::Established),
            "{client}"
        );
        if server == "web-1" {
            // A machine without power has no sockets.
            assert!(theirs.iter().all(|(at, _)| *at <= fault));
        }

        let closed = events.iter().find_map(|event| match &event.what {
            Observation::ConnectionClosed {
                client: whose,
                connection: which,
                end,
            } if whose == client && which == connection => Some((event.at(), end)),
            _ => None,
        });
        let (closed_at, end) = closed.expect("closed at the latest with the case");
        let ended = own.iter().find(|(_, s)| s.change == SocketChange::Ended);
        match end.by {
            EndedBy::Kernel => {
                let (at, socket) = ended.expect("an end");
                assert!(at.abs_diff(closed_at) < TICK, "{client}");
                assert!(socket.info.is_some_and(|info| info.total_retrans == 6));
            }
            EndedBy::CaseEnd => assert!(ended.is_none(), "{client}"),
            // Closed by the client: the kernel goes on for it.
            _ => {
                let orphan = own.iter().find(|(_, s)| s.state == TcpState::FinWait1);
                let (at, _) = orphan.expect("an orphan");
                assert!(at.abs_diff(closed_at) < TICK, "{client}");
            }
        }
    }
    assert_eq!(connections, 8);
}

#[test]
fn both_ends_of_a_connection_closed_in_order_are_seen_to_end() {
    if kernel_or_skip().is_none() {
        return;
    }
    // Each request's timeout closes its connection, and the server lives.
    let events = record_of_text(
        "name: closing\nnodes: [node1, node2, node3]\n\
         servers:\n  slow: { node: node2, response_delay: 3s }\n\
         clients:\n  impatient:\n    node: node1\n    url: http://slow/\n    profile: bare\n    \
         workload: { poll: { every: 1s, timeout: 1s } }\n\
         faults:\n  - { at: 9s, fault: { power_loss: { node: node3 } } }\nduration: 10s\n",
    );
    let dials: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            Observation::DialStarted {
                local: Some(local), ..
            } if event.at() < Duration::from_secs(6) => Some(*local),
            _ => None,
        })
        .collect();
    assert!(dials.len() >= 3, "{dials:?}");
    for local in dials {
        let told = |sockets: Vec<(Duration, &Socket)>| -> Vec<SocketChange> {
            let changes = sockets.iter().map(|(_, socket)| socket.change);
            changes.filter(|c| *c != SocketChange::Changed).collect()
        };
        let client = sockets(&events, "impatient").into_iter();
        let client: Vec<_> = client.filter(|(_, s)| s.local == local).collect();
        let last = client.last().expect("an end").1;
        let whole = [SocketChange::Born, SocketChange::Ended];
        assert_eq!(told(client), whole, "the client's {local}");
        // Who closes first remembers the connection.
        assert_eq!(last.state, TcpState::TimeWait, "{last:?}");
        assert!(last.timer.is_some_and(|t| t.kind == TimerKind::TimeWait));
        let server = sockets(&events, "slow").into_iter();
        let server = server.filter(|(_, s)| s.peer == local).collect();
        assert_eq!(told(server), whole, "the server's of {local}");
    }
}

#[test]
fn the_timer_after_each_retransmission_says_when_the_next_one_comes() {
    if kernel_or_skip().is_none() {
        return;
    }
    let events = quickstart();
    let all = sockets(&events, "h1-no-timeout");
    let local = all[0].1.local;
    let again = sent_again(&events, local);
    // A tail loss probe, and one a retry.
    assert_eq!(again.len(), 1 + 5, "{again:?}");
    let mut lefts = Vec::new();
    for (n, (at, _)) in again.iter().enumerate() {
        let right_after = |(seen, socket): &&(Duration, &Socket)| {
            socket.local == local && seen.abs_diff(*at) < Duration::from_millis(1)
        };
        let (seen, socket) = all.iter().find(right_after).expect("a look at once");
        let timer = socket.timer.expect("a timer");
        assert_eq!(timer.kind, TimerKind::Retransmission);
        assert_eq!(timer.count, n as u8, "the probe is no retransmission");
        let info = socket.info.expect("TCP_INFO");
        assert_eq!(info.retransmits, timer.count);
        assert_eq!(usize::try_from(info.total_retrans), Ok(n + 1));
        assert_eq!(info.rto_us / 1000, timer.left_ms, "set anew just now");
        assert!(socket.send_queue > 0 && socket.state == TcpState::Established);
        lefts.push(timer.left_ms);
        let left = Duration::from_millis(timer.left_ms.into());
        let Some((next, _)) = again.get(n + 1) else {
            continue;
        };
        // The timer wheel fires late by up to an eighth, and never early.
        let wait = *next - *seen;
        assert!(wait + TICK >= left, "{wait:?}, left {left:?}");
        assert!(
            wait <= left + left / 8 + 2 * TICK,
            "{wait:?}, left {left:?}"
        );
    }
    for pair in lefts[1..].windows(2) {
        assert_eq!(pair[1], 2 * pair[0], "{lefts:?}");
    }
}

#[test]
fn data_waits_in_the_send_queue_of_an_established_connection_and_an_idle_one_has_its_keepalive() {
    if kernel_or_skip().is_none() {
        return;
    }
    let events = quickstart();
    let fault = fault(&events);
    let all = sockets(&events, "h1-no-timeout");
    let idle = all
        .iter()
        .rfind(|(at, _)| *at < fault)
        .expect("the connection at rest");
    assert_eq!(idle.1.state, TcpState::Established);
    assert_eq!((idle.1.send_queue, idle.1.receive_queue), (0, 0));
    let timer = idle.1.timer.expect("a timer");
    assert_eq!((timer.kind, timer.count), (TimerKind::Keepalive, 0));
    assert!((29_000..=30_000).contains(&timer.left_ms), "{timer:?}");

    let sent = events.iter().find_map(|event| match &event.what {
        Observation::RequestSent { request, .. }
            if request.client == "h1-no-timeout" && event.at() > fault =>
        {
            Some(event.at())
        }
        _ => None,
    });
    let sent = sent.expect("a request");
    let (at, waiting) = all.iter().find(|(at, _)| *at > fault).expect("it waits");
    assert!(at.abs_diff(sent) < TICK, "held back, but with its own time");
    assert_eq!(waiting.state, TcpState::Established);
    assert!(waiting.send_queue > 0);
    let timer = waiting.timer.expect("a timer");
    assert_eq!((timer.kind, timer.count), (TimerKind::Retransmission, 0));
    // Healthy exchanges are no news.
    let exchanges = all
        .iter()
        .filter(|(at, _)| (Duration::from_secs(1)..fault).contains(at));
    assert_eq!(exchanges.count(), 0);
}

#[test]
fn unanswered_keepalive_probes_count_up_to_the_end() {
    if kernel_or_skip().is_none() {
        return;
    }
    let events = record_of_text(
        "name: keepalive\nnodes: [node1, node2]\n\
         servers:\n  web: { node: node2 }\n\
         clients:\n  quiet:\n    node: node1\n    url: http://web/\n    profile: bare\n    \
         transport: { keepalive: { idle: 5s, interval: 2s, count: 3 } }\n    \
         workload: { poll: { every: 60s, timeout: off } }\n\
         faults:\n  - { at: 7s, fault: { power_loss: { node: node2 } } }\nduration: 40s\n",
    );
    let fault = fault(&events);
    let told: Vec<_> = sockets(&events, "quiet")
        .into_iter()
        .filter(|(at, _)| *at > fault)
        .map(|(_, s)| (s.change, s.timer.map(|t| (t.kind, t.count)), s.info))
        .collect();
    let counts: Vec<_> = told
        .iter()
        .filter_map(|(_, timer, _)| timer.filter(|(kind, _)| *kind == TimerKind::Keepalive))
        .map(|(_, count)| count)
        .collect();
    // Those before the fault were answered, and are no news.
    assert_eq!(counts, [1, 2, 3], "{told:#?}");
    let (change, _, info) = told.last().expect("an end");
    assert_eq!(*change, SocketChange::Ended);
    assert_eq!(info.map(|info| info.probes), Some(3));
}

#[test]
fn counters_agree_with_the_wire() {
    if kernel_or_skip().is_none() {
        return;
    }
    let events = quickstart();
    for client in ["h1-no-timeout", "h2-timeout"] {
        let local = sockets(&events, client)[0].1.local;
        let wire = sent_again(&events, local).len() as u64;
        let of = |name| counted(&events, client, name);
        assert_eq!(of("Tcp.RetransSegs"), wire, "{client}");
        assert_eq!(of("TcpExt.TCPLossProbes"), 1, "{client}");
        // Each timeout but the last sends once; the probe is none.
        assert_eq!(of("TcpExt.TCPTimeouts"), wire - 1 + 1, "{client}");
        assert_eq!(of("TcpExt.TCPAbortOnTimeout"), 1, "{client}");
    }
    assert_eq!(counted(&events, "web-2", "Tcp.RetransSegs"), 0);

    let mut stages = Vec::new();
    for event in &events {
        let Observation::Counters {
            place,
            stage,
            deltas,
        } = &event.what
        else {
            continue;
        };
        assert!(!deltas.is_empty());
        assert!(deltas.values().all(|delta| *delta > 0), "{deltas:?}");
        stages.push((place.as_str(), stage));
    }
    let at = |place, stage| stages.contains(&(place, stage));
    assert!(at("h1-no-timeout", &Stage::Fault(0)) && at("h1-no-timeout", &Stage::End));
    // Nobody has spoken to it before the fault, nor to the dead one after.
    assert!(!at("web-2", &Stage::Fault(0)) && at("web-2", &Stage::End));
    assert!(at("web-1", &Stage::Fault(0)) && !at("web-1", &Stage::End));
}

#[test]
fn nothing_happens_otherwise_for_being_looked_at() {
    if kernel_or_skip().is_none() {
        return;
    }
    let off = "probes: { sockets: off, counters: off, rules: off, packets: off }\nfaults:\n";
    for scenario in [
        "scenarios/quickstart.yaml",
        "scenarios/incidents/a1-leader-election-h2.yaml",
        "scenarios/incidents/a4-httptest-h1.yaml",
    ] {
        let scenario = repository(scenario);
        let (_folder, without) = changed(&scenario, &[("\nfaults:\n", &format!("\n{off}"))]);
        let (with, without) = (record_of(&scenario), record_of(&without));
        let looked = |events: &[Event]| {
            let probed = |event: &&Event| {
                matches!(
                    event.what,
                    Observation::Socket(_) | Observation::Counters { .. }
                )
            };
            events.iter().filter(probed).count()
        };
        assert!(looked(&with) > 0);
        assert_eq!(looked(&without), 0);
        let (with, without) = (happened(&with), happened(&without));
        assert_eq!(with.len(), without.len());
        for ((at, what), (other_at, other)) in with.iter().zip(&without) {
            assert_eq!(what, other);
            assert!(
                at.abs_diff(*other_at) <= TICK,
                "{what}: {at:?}, {other_at:?}"
            );
        }
    }
}

/// What happened to connections and requests, and what was sent again, by client.
fn happened(events: &[Event]) -> Vec<(Duration, String)> {
    let mut all: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let text = match &event.what {
                Observation::ConnectionClosed {
                    client,
                    connection,
                    end,
                } => format!("{client} {connection} ended {:?} {:?}", end.by, end.errno),
                Observation::ConnectionOpened {
                    client, connection, ..
                } => format!("{client} {connection} opened"),
                Observation::Response {
                    request, server, ..
                } => format!("{} {} from {server:?}", request.client, request.number),
                Observation::RequestFailed { request, error, .. } => {
                    format!("{} {} failed {error:?}", request.client, request.number)
                }
                Observation::Segment(s) if s.retransmission > 0 && s.node.starts_with("node") => {
                    let at = Duration::from_nanos(s.stamp_ns);
                    return Some((at, format!("{} again {}", s.from.ip(), s.retransmission)));
                }
                _ => return None,
            };
            Some((event.at(), text))
        })
        .collect();
    all.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
    all
}
