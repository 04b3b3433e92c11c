//! What a client does decides what a fault did to it: several workloads, responses that go on, programs of which only servers
//! and the wire tell.

use halfopen::plan::{
    Cause, Direction, Effect, End, Exec, Limits, Location, Path, Phase, Program, Protocol, Where,
    Work, Workload, Workloads,
};
use halfopen::record::{EndedBy, Event, Observation, RequestError, RequestId, Segment};
use halfopen::verdict::result::ClientResult;
use halfopen::verdict::{CaseResult, Verdict, judge};

use super::story::{Story, ended, seconds};

fn judged(mut story: Story) -> CaseResult {
    let mut record: Vec<Event> = story.end();
    record.sort_by_key(|event| event.t_ns);
    judge(&record)
}

fn client(story: Story) -> ClientResult {
    let mut result = judged(story);
    assert_eq!(result.reason, None, "the case was judged");
    result.clients.swap_remove(0)
}

fn story(protocol: Protocol, workloads: Workloads) -> Story {
    let mut story = Story::new("work", 40.0);
    story.client("c", 1, protocol);
    story.case.lab.clients[0].workloads = workloads;
    story
}

/// A request of one of several workloads, and its server's part if it is answered.
fn asks(story: &mut Story, t: f64, of: &str, number: u32, connection: u32, server: Option<&str>) {
    let request = RequestId {
        client: "c".to_owned(),
        number,
        workload: Some(of.to_owned()),
    };
    let sent = Observation::RequestSent {
        request: request.clone(),
        connection,
        attempt: 1,
    };
    story.event(t, sent);
    let peer = story.local("c", connection);
    let Some(server) = server.map(str::to_owned) else {
        let failed = Observation::RequestFailed {
            request,
            connection: Some(connection),
            error: RequestError::Timeout,
            text: "timeout".to_owned(),
        };
        story.event(t + 10.0, failed);
        return;
    };
    let received = Observation::ServerRequest {
        server: server.clone(),
        peer,
        request: Some(request.clone()),
        line: "GET /lock".to_owned(),
    };
    let answered = Observation::ServerResponse {
        server: server.clone(),
        peer,
        request: Some(request.clone()),
        status: Some(200),
    };
    let response = Observation::Response {
        request,
        connection,
        server: Some(server),
        status: 200,
    };
    for (n, what) in [(1.0, received), (2.0, answered), (3.0, response)] {
        story.event(t + n / 1000.0, what);
    }
}

/// `a` waits on the dead connection, which both have used, and `b` goes on over another one.
#[test]
fn a_dead_connection_is_shared_on_http2_and_else_of_who_waits_on_it() {
    let affected = |protocol| {
        let every = seconds(3.0);
        let work = |name: &str| Work {
            name: name.to_owned(),
            kind: Workload::Poll { every },
            request_timeout: Some(seconds(10.0)),
        };
        let mut story = story(protocol, Workloads(vec![work("a"), work("b")]));
        story.open(1.0, "c", 1, "aa-1");
        asks(&mut story, 1.1, "a", 1, 1, Some("aa-1"));
        asks(&mut story, 4.1, "b", 2, 1, Some("aa-1"));
        asks(&mut story, 9.5, "a", 3, 1, None);
        story.cut(10.0, &[("c", Phase::WaitingForResponse)]);
        story.open(12.0, "c", 2, "aa-2");
        asks(&mut story, 12.1, "b", 4, 2, Some("aa-2"));
        story.closed(19.5, "c", 1, ended(EndedBy::RequestTimeout));
        asks(&mut story, 22.5, "a", 5, 2, Some("aa-2"));
        let of = client(story).workloads;
        ["a", "b"].map(|name| of.iter().find(|w| w.name == name).and_then(|w| w.affected))
    };
    assert_eq!(affected(Protocol::H2), [Some(true), Some(true)]);
    assert_eq!(affected(Protocol::H1), [Some(true), Some(false)]);
}

/// A watch that began before the fault, of which nothing was to come, and whose server answers all along.
#[test]
fn a_silent_watch_that_was_never_anything_but_well_recovers_at_once() {
    let recovered = |began: f64| {
        let watch = Workload::Watch {
            push: None,
            every: seconds(3.0),
        };
        let mut story = story(Protocol::H2, Workloads::one(watch, None));
        story.case.lab.faults[0].effects = vec![Effect::Delay {
            path: Path {
                place: Where::At(End::Machine("node3".to_owned())),
                direction: Direction::Both,
            },
            delay: seconds(0.1),
            jitter: seconds(0.0),
        }];
        story.open(1.0, "c", 1, "aa-1");
        story.exchange(1.1, "c", 1, 1, "aa-1");
        story.cut(10.0, &[("c", Phase::Idle)]);
        story.sent(began - 0.002, "c", 2, 1);
        story.served(began - 0.001, "c", 2, 1, "aa-1");
        let request = RequestId {
            client: "c".to_owned(),
            number: 2,
            workload: None,
        };
        let head = Observation::ResponseBegan {
            request,
            connection: 1,
            server: Some("aa-1".to_owned()),
        };
        story.event(began, head);
        client(story).recovered_after
    };
    assert_eq!(recovered(5.0), Some(seconds(0.0)));
    assert_eq!(recovered(12.0), Some(seconds(2.0)));
}

/// A program's case.
fn program() -> Story {
    let program = Program {
        exec: Exec {
            capabilities: Vec::new(),
            command: vec!["curl".to_owned()],
            env: Vec::new(),
            user: None,
            cwd: None,
            files: Vec::new(),
            stdin: None,
            told_of: Vec::new(),
            every: None,
            restart: None,
            tty: false,
            stop: None,
            limits: Limits::default(),
            location: Location::default(),
        },
        output: None,
        url: "https://aa/lock".to_owned(),
    };
    story(
        Protocol::H1,
        Workloads::one(Workload::Exec(Box::new(program)), None),
    )
}

/// A request that a server received on a connection, and its answer.
fn received(story: &mut Story, t: f64, connection: u32, server: &str, answered: bool) {
    match answered {
        true => received_by(story, t, connection, server, Some(t + 0.002)),
        false => {
            asked(story, t, connection, server);
        }
    }
}

fn asked(story: &mut Story, t: f64, connection: u32, server: &str) {
    let request = Observation::ServerRequest {
        server: server.to_owned(),
        peer: story.local("c", connection),
        request: None,
        line: "GET /lock".to_owned(),
    };
    story.event(t, request);
}

/// The same, and when the answer came, if it did.
fn received_by(story: &mut Story, t: f64, connection: u32, server: &str, came: Option<f64>) {
    asked(story, t, connection, server);
    let local = story.local("c", connection);
    let response = Observation::ServerResponse {
        server: server.to_owned(),
        peer: local,
        request: None,
        status: Some(200),
    };
    story.event(t + 0.001, response);
    if let Some(at) = came {
        let arrived = Observation::PayloadReceived {
            client: "c".to_owned(),
            local,
            remote: local,
        };
        story.event(at, arrived);
    }
}

fn exits(story: &mut Story, t: f64) {
    let exited = Observation::ProgramExited {
        client: "c".to_owned(),
        code: Some(0),
        signal: None,
    };
    story.event(t, exited);
}

#[test]
fn of_a_program_that_ended_before_the_fault_nothing_was_tested() {
    let judged = |exits_at: f64| {
        let mut story = program();
        story.open(1.0, "c", 1, "aa-2");
        received(&mut story, 1.1, 1, "aa-2", true);
        received(&mut story, 12.0, 1, "aa-2", true);
        story.cut(10.0, &[("c", Phase::Idle)]);
        exits(&mut story, exits_at);
        let result = self::judged(story);
        (result.verdict, result.reason.map(|reason| reason.text))
    };
    let (verdict, reason) = judged(5.0);
    assert_eq!(verdict, Verdict::Error);
    let reason = reason.expect("a reason");
    assert!(
        reason.starts_with("c: ") && reason.contains("5.0 s before the fault"),
        "{reason}"
    );
    assert_eq!(judged(20.0), (Verdict::Measured, None));
}

/// Two connections to either server; the one to the dead server has something to send 2 s after the fault.
fn sends_in_vain(again: bool) -> Story {
    let mut story = program();
    story.open(1.0, "c", 1, "aa-1");
    received(&mut story, 1.1, 1, "aa-1", true);
    story.open(1.2, "c", 2, "aa-2");
    story.cut(10.0, &[("c", Phase::Idle)]);
    received(&mut story, 11.0, 2, "aa-2", true);
    let (from, to) = (story.local("c", 1), story.case.lab.servers[0].listen[0]);
    for (n, t) in [(0, 12.0), (1, 12.2)]
        .into_iter()
        .take(1 + usize::from(again))
    {
        let segment = Segment {
            node: "node1".to_owned(),
            from,
            to,
            flags: "PA".to_owned(),
            seq: 500,
            len: 100,
            retransmission: n,
            stamp_ns: u64::try_from(seconds(t).as_nanos()).expect("nanoseconds"),
        };
        story.event(t, Observation::Segment(segment));
    }
    story.closed(20.0, "c", 1, ended(EndedBy::Client));
    received(&mut story, 21.0, 2, "aa-2", true);
    story
}

#[test]
fn what_a_program_sent_again_in_vain_was_a_request() {
    let recovered = |again| client(sends_in_vain(again)).recovered_after;
    assert_eq!(recovered(true), Some(seconds(11.002)));
    assert_eq!(recovered(false), Some(seconds(1.002)));
}

/// A server has sent an answer, which comes at some time, or never, or to a socket that the program has closed.
#[test]
fn an_answer_counts_when_it_has_come() {
    let recovered = |came: Option<f64>, refused: bool| {
        let mut story = program();
        story.open(1.0, "c", 1, "aa-1");
        received(&mut story, 1.1, 1, "aa-1", true);
        story.open(1.2, "c", 2, "aa-2");
        story.cut(10.0, &[("c", Phase::Idle)]);
        story.closed(20.0, "c", 1, ended(EndedBy::Client));
        received_by(&mut story, 21.0, 2, "aa-2", came);
        if refused {
            story.closed(22.0, "c", 2, ended(EndedBy::Client));
            let local = story.local("c", 2);
            let reset = Segment {
                node: "node1".to_owned(),
                from: local,
                to: story.case.lab.servers[1].listen[0],
                flags: "R".to_owned(),
                seq: 1,
                len: 0,
                retransmission: 0,
                stamp_ns: 23_000_000_000,
            };
            story.event(23.0, Observation::Segment(reset));
        }
        client(story).recovered_after
    };
    assert_eq!(recovered(Some(23.0), false), Some(seconds(13.0)));
    assert_eq!(recovered(None, false), None);
    assert_eq!(recovered(Some(23.0), true), None);
}

#[test]
fn a_programs_close_names_the_last_request_on_that_connection() {
    let client = client(sends_in_vain(true));
    assert_eq!(client.cause, Some(Cause::ClosedByClient));
    let evidence = client.evidence.expect("what says so");
    assert!(
        evidence.contains("8.000 s after its request 3"),
        "{evidence}"
    );
}

/// A request that a server had received just before the case's end says nothing.
#[test]
fn a_programs_request_on_its_way_at_the_end_takes_no_recovery_back() {
    let recovered = |last: f64| {
        let mut story = sends_in_vain(true);
        received(&mut story, last, 2, "aa-2", false);
        client(story).recovered_after
    };
    assert_eq!(recovered(40.5), Some(seconds(11.002)));
    assert_eq!(recovered(30.0), None);
}
