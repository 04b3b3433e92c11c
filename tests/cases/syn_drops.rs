//! SYNs that nobody answers: a full accept queue, and the emulation of `tcp_tw_recycle` behind one address. By the
//! record and the wire: what a client says of itself counts for nothing.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use halfopen::record::{Event, Observation};

use crate::command::{self, Run, kernel_or_skip, repository};

const D1: &str = "scenarios/incidents/d1-tw-recycle.yaml";
const D2: &str = "scenarios/incidents/d2-accept-queue.yaml";

/// A case on the virtual clock: how it ended, and what was observed.
struct Seen {
    run: Run,
    events: Vec<Event>,
}

impl Seen {
    /// The one case of `text` whose name contains `filter`.
    fn of(text: &str, filter: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("syns.yaml");
        fs::write(&file, text).expect("written");
        let records = folder.path().join("records");
        let record = records.to_str().expect("UTF-8");
        let arguments = ["--clock", "virtual", "--filter", filter, "--record", record];
        let run = Run::of(&[&file], &arguments);
        let names = fs::read_dir(&records).expect("records");
        let record = names
            .map(|entry| entry.expect("a file").path())
            .find(|path| path.extension().is_some_and(|e| e == "ndjson"));
        let text = fs::read_to_string(record.expect("a record")).expect("readable");
        let events = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect();
        Self { run, events }
    }

    /// What a counter of a place grew by in all.
    fn counter(&self, place: &str, counter: &str) -> u64 {
        let deltas = self.events.iter().filter_map(|event| match &event.what {
            Observation::Counters {
                place: p, deltas, ..
            } if p == place => deltas.get(counter),
            _ => None,
        });
        deltas.sum()
    }

    /// Segments with just these flags that node1's uplink saw, sent again or not, from and to whom `wanted` says.
    fn segments(&self, flags: &str, wanted: impl Fn(IpAddr, IpAddr) -> bool) -> u64 {
        let all = self.events.iter().filter(|event| match &event.what {
            Observation::Segment(s) => {
                s.node == "node1" && s.flags == flags && wanted(s.from.ip(), s.to.ip())
            }
            _ => false,
        });
        all.count() as u64
    }

    fn failed(&self, client: &str) -> u64 {
        let case = &self.run.cases()[0];
        let client = command::client(case, client);
        client["requests_failed"].as_u64().expect("a number")
    }

    fn dials(&self, client: &str) -> u64 {
        let case = &self.run.cases()[0];
        command::client(case, client)["dials"]
            .as_u64()
            .expect("a number")
    }

    /// When a server last answered a client, from the case's start.
    fn last_answer(&self, client: &str) -> Duration {
        let answers = self.events.iter().filter(|event| match &event.what {
            Observation::ServerResponse {
                request: Some(request),
                ..
            } => request.client == client,
            _ => false,
        });
        answers.map(Event::at).max().expect("an answer")
    }
}

fn text(scenario: &str) -> String {
    fs::read_to_string(repository(scenario)).expect("a scenario")
}

fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

const WEB: &str = "192.168.2.2";
const NODE1: &str = "10.0.0.1";

#[test]
fn a_full_accept_queue_drops_every_syn_and_counts_it() {
    if kernel_or_skip().is_none() {
        return;
    }
    let seen = Seen::of(&text(D2), "");
    seen.run.outcome.assert(0, &["1 passed"]);
    let late = ip("192.168.1.5");
    let syns = seen.segments("S", |from, _| from == late);
    assert!(syns > 10, "{syns}");
    assert_eq!(seen.segments("SA", |_, to| to == late), 0);
    // In silence: no RST and no ICMP either.
    assert_eq!(seen.segments("R", |_, to| to == late), 0);
    assert_eq!(seen.segments("RA", |_, to| to == late), 0);
    let icmp = |event: &&Event| matches!(event.what, Observation::Icmp { .. });
    assert_eq!(seen.events.iter().filter(icmp).count(), 0);
    // The kernel counts each of them, under both names.
    assert_eq!(seen.counter("web", "TcpExt.ListenDrops"), syns);
    assert_eq!(seen.counter("web", "TcpExt.ListenOverflows"), syns);
    // backlog + 1 wait, besides the one that was accepted.
    assert_eq!(seen.counter("web", "Tcp.PassiveOpens"), 3);
    assert!(seen.last_answer("steady") > Duration::from_secs(58));
}

#[test]
fn the_accept_queue_is_as_long_as_the_backlog_says() {
    if kernel_or_skip().is_none() {
        return;
    }
    let longer = text(D2).replace("backlog: 1,", "backlog: 2,");
    let seen = Seen::of(&longer, "");
    // Room for the late one, too: the expectations of drops fail, and say where they stand.
    seen.run.outcome.assert(
        1,
        &[
            "web TcpExt.ListenDrops: at least 10",
            "TcpExt.ListenDrops: { at_least: 10 }",
        ],
    );
    assert_eq!(seen.counter("web", "Tcp.PassiveOpens"), 4);
    assert_eq!(seen.counter("web", "TcpExt.ListenDrops"), 0);
    assert_eq!(seen.dials("late"), 1);
}

#[test]
fn a_server_that_accepts_drops_nothing() {
    if kernel_or_skip().is_none() {
        return;
    }
    let accepting = text(D2).replace("accepts: 1 }", "accepts: 100 }");
    let seen = Seen::of(&accepting, "");
    seen.run.outcome.assert(1, &["late.requests_failed"]);
    for client in ["steady", "queued-1", "queued-2", "late"] {
        assert_eq!(
            (seen.failed(client), seen.dials(client)),
            (0, 1),
            "{client}"
        );
    }
    assert_eq!(seen.counter("web", "TcpExt.ListenDrops"), 0);
}

#[test]
fn behind_one_address_the_lower_uptime_is_never_answered() {
    if kernel_or_skip().is_none() {
        return;
    }
    let seen = Seen::of(&text(D1), "tcp_timestamps=2");
    seen.run.outcome.assert(0, &["1 passed"]);
    let masqueraded = |from: IpAddr, _: IpAddr| from == ip(NODE1);
    let syns = seen.segments("S", masqueraded);
    let answered = seen.segments("SA", |from, to| from == ip(WEB) && to == ip(NODE1));
    let dropped = seen.counter("web", "emulated.TcpExt.PAWSPassive");
    assert!(dropped >= 50, "{dropped}");
    assert_eq!(seen.counter("web", "emulated.TcpExt.ListenDrops"), dropped);
    // Each SYN that got no answer is counted, and each that is counted got none.
    assert_eq!(syns - answered, dropped);
    assert_eq!(answered, seen.dials("steady") + seen.dials("old"));
    // The server's kernel never saw them: its own counter stays.
    assert_eq!(seen.counter("web", "TcpExt.ListenDrops"), 0);
    let of_young = |event: &&Event| match &event.what {
        Observation::ServerRequest {
            request: Some(request),
            ..
        } => request.client == "young",
        _ => false,
    };
    assert_eq!(seen.events.iter().filter(of_young).count(), 0);
    // What was there before lives on, and what comes from elsewhere is well.
    assert!(seen.last_answer("steady") > Duration::from_secs(118));
    assert!(seen.last_answer("local") > Duration::from_secs(115));
}

#[test]
fn masqueraded_pods_have_their_node_s_address_and_others_their_own() {
    if kernel_or_skip().is_none() {
        return;
    }
    let seen = Seen::of(&text(D1), "tcp_timestamps=0");
    let peers: std::collections::BTreeSet<IpAddr> = seen
        .events
        .iter()
        .filter_map(|event| match &event.what {
            Observation::ServerAccepted { peer, .. } => Some(peer.ip()),
            _ => None,
        })
        .collect();
    // `local` is in the server's own pod network, as second pod after it.
    assert_eq!(
        peers.into_iter().collect::<Vec<_>>(),
        [ip(NODE1), ip("192.168.2.3")]
    );
}

#[test]
fn without_one_address_or_without_another_uptime_nobody_is_dropped() {
    if kernel_or_skip().is_none() {
        return;
    }
    let apart = text(D1).replace("{ masquerade: true }", "");
    let alike = text(D1).replace("uptime: 5days", "uptime: 1h").replace(
        "steady: { node: node1,",
        "steady: { node: node1, uptime: 1h,",
    );
    for changed in [apart, alike] {
        let seen = Seen::of(&changed, "tcp_timestamps=2");
        seen.run
            .outcome
            .assert(1, &["young.requests_failed", "emulated.TcpExt.ListenDrops"]);
        assert_eq!(seen.counter("web", "emulated.TcpExt.PAWSPassive"), 0);
        assert_eq!(seen.failed("young"), 0);
    }
}

/// One client from one address, that opens a connection for each request.
fn alone(timestamps: u8) -> Seen {
    let text = format!(
        "name: alone\nduration: 60s\nnodes: [node1, node2]\n\
         sysctls: {{ net.ipv4.tcp_timestamps: {timestamps} }}\n\
         servers:\n  web: {{ node: node2, emulate: tw_recycle }}\n\
         profiles:\n  anew: {{ base: bare, idle_timeout: 100ms, dial_timeout: 10s }}\n\
         clients:\n  one: {{ node: node1, url: 'http://web/', profile: anew, workload: {{ poll: {{ every: 2s }} }} }}\n\
         faults: []\n"
    );
    let seen = Seen::of(&text, "");
    seen.run.outcome.assert(0, &[]);
    seen
}

#[test]
fn with_random_offsets_one_client_collides_with_itself() {
    if kernel_or_skip().is_none() {
        return;
    }
    for (timestamps, collides) in [(0, false), (1, true), (2, false)] {
        let seen = alone(timestamps);
        let dropped = seen.counter("web", "emulated.TcpExt.PAWSPassive");
        assert_eq!(
            dropped > 0,
            collides,
            "tcp_timestamps={timestamps}: {dropped}"
        );
        assert_eq!(seen.failed("one") > 0, collides);
    }
}

/// The same over IPv6, and a client that pings from where the SYNs are dropped.
#[test]
fn ping_works_meanwhile_and_ipv6_is_no_way_out() {
    if kernel_or_skip().is_none() {
        return;
    }
    // ICMP echo by a socket that needs no privilege; its answer is read for it to be waited for.
    const PING: &str = "import socket,sys; \
        s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM,socket.IPPROTO_ICMP); s.settimeout(1); \
        s.sendto(bytes([8,0,0,0,0,1,0,1]),(sys.argv[1].split(':')[0],0)); s.recv(99)";
    let pinger = format!(
        "  pinger:\n    node: node1\n    url: http://web/\n    start: 20s\n\
         \x20   sysctls: {{ net.ipv4.ping_group_range: '0 2147483647' }}\n\
         \x20   workload: {{ exec: {{ command: [python3, -c, \"{PING}\", '{{address}}'], every: 10s }} }}\n\
         faults: []\n"
    );
    let six = "url: 'http://[fd00:192:168:2::2]/'";
    let text = text(D1)
        .replace("faults: []\n", &pinger)
        .replace(
            "old: { node: node1, url: http://web/",
            &format!("old: {{ node: node1, {six}"),
        )
        .replace(
            "young: { node: node1, url: http://web/",
            &format!("young: {{ node: node1, {six}"),
        );
    let seen = Seen::of(&text, "tcp_timestamps=2");
    seen.run.outcome.assert(0, &["1 passed"]);
    assert!(seen.counter("web", "emulated.TcpExt.PAWSPassive") >= 50);
    let node6 = ip("fd00:10::1");
    assert!(seen.segments("S", |from, _| from == node6) > 50);
    let echoes = |wanted: u8, way: (IpAddr, IpAddr)| {
        let of = |event: &&Event| match event.what {
            Observation::Icmp { kind, from, to, .. } => kind == (wanted, 0) && (from, to) == way,
            _ => false,
        };
        seen.events.iter().filter(of).count()
    };
    // Echo request and reply, under the address whose SYNs are dropped.
    assert!(echoes(8, (ip(NODE1), ip(WEB))) >= 9);
    assert_eq!(
        echoes(8, (ip(NODE1), ip(WEB))),
        echoes(0, (ip(WEB), ip(NODE1)))
    );
}

#[test]
fn a_counter_that_this_kernel_lacks_is_named_and_the_case_skipped() {
    if kernel_or_skip().is_none() {
        return;
    }
    let text = text(D2).replace("TcpExt.ListenDrops: { at", "TcpExt.NoSuchThing: { at");
    let seen = Seen::of(&text, "");
    seen.run
        .outcome
        .assert(3, &["a counter TcpExt.NoSuchThing"]);
    assert_eq!(seen.run.verdicts(), ["skipped"]);
}
