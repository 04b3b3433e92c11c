//! Connections at a fault, one by one: what it took, what lived, and what was over before or began afterwards.

use halfopen::plan::{
    Cause, CloseOnFailure, Direction, Effect, End, Figure, Packets, Path, Phase, Process, Protocol,
    Published, Repetition, Since, Until, Where, Workload, Workloads,
};
use halfopen::record::{EndedBy, Event, Observation, RequestError, Segment, TcpInfo};
use halfopen::verdict::result::{ClientResult, PartKind};
use halfopen::verdict::{CaseResult, fold, judge};

use super::stories;
use super::story::{SERVICE, Story, address, dead_socket, ended, errno, seconds};

/// A client on node 1, well over connection 1 to `aa-1` on node 3 until `effect` comes at 10 s.
fn struck_by(effect: Effect, protocol: Protocol) -> Story {
    let mut story = Story::new("struck", 60.0);
    story.client("c", 1, protocol);
    story.case.lab.faults[0].effects = vec![effect];
    story.open(1.0, "c", 1, "aa-1");
    for (number, t) in [(1, 1.01), (2, 4.0), (3, 7.0)] {
        story.exchange(t, "c", number, 1, "aa-1");
    }
    story.cut(10.0, &[("c", Phase::Idle)]);
    story
}

/// The events as a lab writes them: in order of time.
fn judged(mut story: Story) -> CaseResult {
    let mut record: Vec<Event> = story.end();
    record.sort_by_key(|event| event.t_ns);
    let result = judge(&record);
    assert_eq!(result.reason, None, "the case was judged");
    result
}

fn client(story: Story) -> ClientResult {
    judged(story).clients.swap_remove(0)
}

fn lost(packets: Packets) -> Effect {
    let path = Path {
        place: Where::At(End::Machine("node3".to_owned())),
        direction: Direction::Both,
    };
    Effect::Drop {
        path,
        packets,
        percent: 100.0,
    }
}

/// Nobody used it while the fault was in force, and its pool closed it 8 s after its last response.
#[test]
fn a_connection_that_its_pool_closes_after_a_fault_is_over_lived_through_it() {
    let mut story = struck_by(lost(Packets::All), Protocol::H1);
    story.case.lab.clients[0].transport.idle_timeout = Some(seconds(8.0));
    story.case.lab.faults[0].lasts = Some(seconds(2.0));
    story.event(12.0, Observation::FaultHealed { fault: 0 });
    story.closed(15.002, "c", 1, ended(EndedBy::IdleTimeout));
    story.open(20.0, "c", 2, "aa-1");
    story.exchange(20.01, "c", 4, 2, "aa-1");
    let client = client(story);
    assert_eq!(client.affected, Some(true));
    assert_eq!(
        (client.detected_after, client.cause),
        (None, Some(Cause::Never))
    );
}

#[test]
fn a_lost_syn_is_one_of_a_connection_that_is_being_opened() {
    let dialled_at = |t: f64| {
        let mut story = Story::new("syn", 40.0);
        story.client("c", 1, Protocol::H1);
        story.case.lab.faults[0].effects = vec![lost(Packets::Syn)];
        let (client, connection) = ("c".to_owned(), 1);
        let local = story.local("c", 1);
        story.dial(t, "c", 1, "aa-1");
        story.event(
            t + 1.1,
            Observation::ConnectionOpened {
                client,
                connection,
                local,
                target: address(SERVICE),
                protocol: Some(Protocol::H1),
            },
        );
        for number in 1..5 {
            story.exchange(11.0 + f64::from(number), "c", number, 1, "aa-1");
        }
        story.cut(10.0, &[("c", Phase::Connecting)]);
        self::client(story).affected
    };
    assert_eq!(dialled_at(9.5), Some(true));
    assert_eq!(dialled_at(8.5), Some(false));
}

/// The kernel was told to destroy what the client had then, and nothing that it has had since.
#[test]
fn what_is_destroyed_is_what_was_there() {
    let effect = Effect::Destroy {
        client: "c".to_owned(),
        server: None,
    };
    let mut story = struck_by(effect, Protocol::H1);
    let aborted = || errno(libc::ECONNABORTED, Some(dead_socket(0, 0, 3.0)));
    story.closed(10.01, "c", 1, aborted());
    story.open(13.0, "c", 2, "aa-1");
    story.exchange(13.01, "c", 4, 2, "aa-1");
    story.closed(15.0, "c", 2, aborted());
    story.open(16.0, "c", 3, "aa-1");
    story.exchange(16.01, "c", 5, 3, "aa-1");
    let client = client(story);
    assert_eq!(client.cause, Some(Cause::SocketDestroyed));
    let second = client.connections.iter().find(|c| c.id == 2);
    assert_eq!(second.map(|c| c.cause), Some(Cause::Unknown));
}

#[test]
fn heartbeats_that_fail_close_the_connection() {
    let failed = |workload: Workload| {
        let effect = Effect::Hang {
            server: "aa-1".to_owned(),
        };
        let mut story = struck_by(effect, Protocol::H2);
        let own = &mut story.case.lab.clients[0];
        own.workloads = Workloads::one(workload, None);
        own.transport.request_timeout = Some(seconds(10.0));
        story.times_out(10.01, 10.0, "c", 4, 1);
        story.times_out(20.02, 10.0, "c", 5, 1);
        story.closed(30.03, "c", 1, ended(EndedBy::HeartbeatFailure));
        story.open(30.04, "c", 2, "aa-2");
        story.exchange(30.05, "c", 6, 2, "aa-2");
        client(story).cause
    };
    let heartbeat = Workload::Heartbeat {
        every: seconds(3.0),
        grace: seconds(40.0),
        lease: None,
        attempts: 5,
        close_on_failure: Some(CloseOnFailure::All),
    };
    assert_eq!(failed(heartbeat), Some(Cause::HeartbeatFailure));
    // What is no heartbeat that failed closes nothing.
    let every = seconds(3.0);
    assert_eq!(failed(Workload::Poll { every }), Some(Cause::Unknown));
}

/// The server's own record of the end may come a moment later.
#[test]
fn a_server_that_was_killed_closes_its_connections() {
    let closed = |recorded: Option<f64>| {
        let effect = Effect::Kill {
            process: Process::Server("aa-1".to_owned()),
        };
        let mut story = struck_by(effect, Protocol::H1);
        story.closed(10.01, "c", 1, ended(EndedBy::Peer));
        if let Some(t) = recorded {
            let closed = Observation::ServerClosed {
                server: "aa-1".to_owned(),
                peer: story.local("c", 1),
                error: None,
                by: None,
            };
            story.event(t, closed);
        }
        story.open(13.0, "c", 2, "aa-2");
        story.exchange(13.01, "c", 4, 2, "aa-2");
        client(story).cause
    };
    assert_eq!(closed(Some(10.3)), Some(Cause::ClosedByPeer));
    assert_eq!(closed(None), Some(Cause::Unknown));
    assert_eq!(closed(Some(12.0)), Some(Cause::Unknown));
}

/// A segment with payload on connection 1.
fn segment(story: &Story, t: f64, seq: u32, retransmission: u32) -> Observation {
    let client = &story.case.lab.clients[0].name;
    Observation::Segment(Segment {
        node: "node1".to_owned(),
        from: story.local(client, 1),
        to: story.case.lab.servers[0].listen[0],
        flags: "PA".to_owned(),
        seq,
        len: 50,
        retransmission,
        stamp_ns: u64::try_from(seconds(t).as_nanos()).expect("nanoseconds"),
    })
}

#[test]
fn what_was_sent_once_was_not_sent_again() {
    let mut story = stories::a1();
    let once = segment(&story, 830.0, 2000, 0);
    story.event(830.0, once);
    assert_eq!(client(story).cause, Some(Cause::RetransmissionTimeout));
    let mut story = struck_by(lost(Packets::All), Protocol::H1);
    let once = segment(&story, 11.0, 2000, 0);
    story.event(11.0, once);
    assert_eq!(client(story).connections[0].retransmissions, None);
}

#[test]
fn what_had_ended_before_the_fault_has_no_part_in_it() {
    let mut story = stories::a1();
    story.open(0.1, "standby", 9, "aa-1");
    story.exchange(0.2, "standby", 900, 9, "aa-1");
    story.closed(0.9, "standby", 9, ended(EndedBy::Client));
    let client = client(story);
    let chain = |id| {
        client
            .connections
            .iter()
            .find(|c| c.id == id)
            .map(|c| c.chain.len())
    };
    assert_eq!(chain(9), Some(0));
    assert!(chain(1) > Some(0));
}

/// A program does nothing any more, and its kernel accepts what comes: a request waits there as on a dead connection.
#[test]
fn a_connection_to_a_server_that_hangs_is_as_good_as_dead() {
    let effect = Effect::Hang {
        server: "aa-1".to_owned(),
    };
    let mut story = struck_by(effect, Protocol::H1);
    story.case.lab.clients[0].transport.request_timeout = Some(seconds(10.0));
    story.times_out(10.01, 10.0, "c", 4, 1);
    story.closed(20.01, "c", 1, ended(EndedBy::RequestTimeout));
    story.open(23.0, "c", 2, "aa-1");
    story.times_out(23.01, 10.0, "c", 5, 2);
    story.closed(33.01, "c", 2, ended(EndedBy::RequestTimeout));
    story.open(36.0, "c", 3, "aa-2");
    story.exchange(36.01, "c", 6, 3, "aa-2");
    let client = client(story);
    let dead = client
        .parts
        .iter()
        .filter(|part| part.kind == PartKind::DeadConnection);
    let dead: Vec<_> = dead
        .map(|part| {
            (
                part.connection,
                part.lasted().as_millis(),
                part.begins_with.as_str(),
            )
        })
        .collect();
    assert_eq!(
        dead,
        [
            (Some(1), 10_010, "power_loss of node3 in force"),
            (Some(2), 10_000, "a request handed to connection 2"),
        ]
    );
}

/// Of the dials, the first one that came after the kernel had given the dead connection up.
#[test]
fn a_published_dial_is_the_one_after_the_connection_was_given_up() {
    let mut story = stories::a1();
    story.case.published = vec![Published {
        client: "standby".to_owned(),
        figures: vec![Figure {
            from: Since::Fault,
            until: Until::DialFailed,
            time: seconds(933.0),
            note: None,
        }],
        retransmissions: Vec::new(),
        gave_up: None,
    }];
    for (connection, t) in [(8, 20.0), (9, 938.3)] {
        story.dial(t, "standby", connection, "aa-1");
        story.dial_failed(t + 5.0, "standby", connection, ended(EndedBy::DialTimeout));
    }
    let client = client(story);
    let published = client.published.expect("published figures");
    assert_eq!(published.figures[0].measured, Some(seconds(933.3)));
}

#[test]
fn repetitions_are_taken_together_with_what_was_expected_of_each() {
    let mut cases = Vec::new();
    let mut results = Vec::new();
    for number in [1, 2] {
        let mut story = stories::a1_expected();
        story.case.name = format!("default, repetition {number}");
        story.case.repetition = Some(Repetition {
            case: "default".to_owned(),
            number,
            of: 2,
        });
        cases.push(story.case.clone());
        results.push(judged(story));
    }
    assert!(results.iter().all(|result| result.repetition.is_some()));
    let folded = fold(&cases, results);
    let together = folded.last().expect("the repetitions together");
    assert_eq!((folded.len(), together.case.as_str()), (3, "default"));
    assert_eq!(together.repetition, None);
    let told: Vec<_> = together
        .expectations
        .iter()
        .map(|e| e.actual.as_str())
        .collect();
    assert_eq!(told, ["it held in 2 of 2 repetitions"; 2]);
    assert_eq!(together.distributions.len(), 1);
}

/// On a path that loses some packets the kernel counts its limit of 3 s from the first retransmission of a recovery.
#[test]
fn on_a_lossy_path_only_what_is_sent_again_is_a_struggle() {
    let cause = |again: bool| {
        let effect = match lost(Packets::All) {
            Effect::Drop { path, packets, .. } => Effect::Drop {
                path,
                packets,
                percent: 10.0,
            },
            other => other,
        };
        let mut story = struck_by(effect, Protocol::H1);
        story.sysctl("c", "net.ipv4.tcp_retries2", "3");
        for n in 0..10_u32 {
            let t = 20.5 + f64::from(n);
            let segment = segment(&story, t, 2000 + 100 * n, u32::from(again));
            story.event(t, segment);
        }
        let info = TcpInfo {
            last_data_sent_ms: 500,
            ..dead_socket(2, 0, 1.5)
        };
        story.closed(30.0, "c", 1, errno(libc::ETIMEDOUT, Some(info)));
        story.open(33.0, "c", 2, "aa-1");
        story.exchange(33.01, "c", 4, 2, "aa-1");
        client(story).cause
    };
    assert_eq!(cause(true), Some(Cause::RetransmissionTimeout));
    assert_eq!(cause(false), Some(Cause::Unknown));
}

/// Two connections are dead, and the next request goes to the other one.
#[test]
fn of_two_dead_connections_the_one_with_a_request_under_way_is_waited_on() {
    let stop = Effect::Stop {
        node: "node3".to_owned(),
    };
    let mut story = struck_by(stop, Protocol::H1);
    story.case.lab.clients[0].transport.request_timeout = Some(seconds(10.0));
    story.open(7.1, "c", 2, "aa-1");
    story.exchange(7.11, "c", 4, 2, "aa-1");
    story.times_out(9.5, 10.0, "c", 5, 1);
    story.closed(19.5, "c", 1, ended(EndedBy::RequestTimeout));
    story.times_out(22.5, 10.0, "c", 6, 2);
    story.closed(32.5, "c", 2, ended(EndedBy::RequestTimeout));
    story.open(35.5, "c", 3, "aa-2");
    story.exchange(35.51, "c", 7, 3, "aa-2");
    let client = client(story);
    assert_eq!(client.detected_after, Some(seconds(9.5)));
    assert_eq!(client.cause, Some(Cause::RequestTimeout));
}

#[test]
fn a_request_that_had_failed_before_the_fault_is_not_its_first_failure() {
    let mut story = stories::a1();
    story.sent(5.0, "standby", 800, 1);
    story.failed(6.0, "standby", 800, Some(1), RequestError::Timeout);
    let failure = client(story).first_failure.expect("one that failed");
    assert_eq!(failure.failed_at, seconds(20.002));
}

/// One after the other of the same case, by their numbers.
#[test]
fn results_are_taken_together_only_as_repetitions_of_one_case() {
    let folded = |all: [(&str, u32); 2]| {
        let of = all.map(|(case, number)| {
            let mut story = stories::never_recovers();
            story.case.repetition = Some(Repetition {
                case: case.to_owned(),
                number,
                of: 2,
            });
            (story.case.clone(), judged(story))
        });
        let (cases, results): (Vec<_>, Vec<_>) = of.into_iter().unzip();
        fold(&cases, results)
    };
    let together = folded([("default", 1), ("default", 2)]);
    assert_eq!(together.len(), 3);
    // Both never had a response again, in the same way: that is one value.
    let never = &together[2].distributions[0].recovered;
    assert_eq!((never.count, never.happened, never.one_value), (2, 0, true));
    assert_eq!(folded([("default", 1), ("other", 2)]).len(), 4);
    assert_eq!(folded([("default", 2), ("default", 1)]).len(), 4);
}

#[test]
fn a_connection_that_is_opened_when_the_fault_is_over_is_well() {
    let stop = Effect::Stop {
        node: "node3".to_owned(),
    };
    let mut story = struck_by(stop, Protocol::H1);
    story.case.lab.clients[0].transport.request_timeout = Some(seconds(10.0));
    story.case.lab.faults[0].lasts = Some(seconds(10.02));
    story.times_out(10.01, 10.0, "c", 4, 1);
    story.closed(20.01, "c", 1, ended(EndedBy::RequestTimeout));
    story.event(20.02, Observation::FaultHealed { fault: 0 });
    story.open(23.0, "c", 2, "aa-1");
    story.exchange(23.01, "c", 5, 2, "aa-1");
    let client = client(story);
    let parts = client.parts.iter();
    let dead = parts.filter(|part| part.kind == PartKind::DeadConnection);
    let dead: Vec<_> = dead.map(|part| part.connection).collect();
    assert_eq!(dead, [Some(1)]);
}
