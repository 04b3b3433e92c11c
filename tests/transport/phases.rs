//! Faults that wait for what a client is doing: the phase is what the kernel says at the moment they fire.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use halfopen::plan::{Phase, Protocol};
use halfopen::record::{EndedBy, Observation};

use crate::bench::*;

/// When the callback ran, and what the board said then.
type Fired = Rc<Cell<Option<(Duration, Vec<(String, Phase)>)>>>;

/// Cuts the network of `port` when client `c` is in `phase`, not before `after`.
fn cut_on(bench: &Bench, phase: Phase, after: Duration, port: u16) -> Fired {
    let fired: Fired = Rc::default();
    let (seen, board, recorder) = (
        Rc::clone(&fired),
        Rc::clone(&bench.phases),
        bench.recorder.clone(),
    );
    bench.phases.on(
        "c",
        phase,
        after,
        Box::new(move || {
            blackhole(port);
            seen.set(Some((recorder.now(), board.phases())));
        }),
    );
    let board = Rc::clone(&bench.phases);
    tokio::task::spawn_local(async move { board.watch().await });
    fired
}

async fn take(bench: &Bench, fired: &Fired) -> Duration {
    for _ in 0..2000 {
        if let Some((at, phases)) = fired.take() {
            let phase = phases.first().map(|(name, phase)| (name.as_str(), *phase));
            println!("{at:?} {phase:?}");
            return at;
        }
        tokio::time::sleep(ms(5)).await;
    }
    panic!("it never fired; seen:\n{}", bench.story());
}

/// Times of what `pick` picks.
fn times(bench: &Bench, pick: fn(&Observation) -> bool) -> Vec<Duration> {
    let events = bench.events();
    events
        .iter()
        .filter(|e| pick(&e.what))
        .map(halfopen::record::Event::at)
        .collect()
}

fn sent(o: &Observation) -> bool {
    matches!(o, Observation::RequestSent { .. })
}
fn received(o: &Observation) -> bool {
    matches!(o, Observation::ServerRequest { .. })
}
fn answered(o: &Observation) -> bool {
    matches!(o, Observation::Response { .. })
}

fn unacknowledged(protocol: Protocol) {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let port = serving.address().port();
        let fired = cut_on(&bench, Phase::RequestUnacknowledged, ms(500), port);
        let mut transport = bare(protocol);
        transport.user_timeout = Some(ms(600));
        bench.start(poller("c", serving.address(), transport, ms(100)));
        let at = take(&bench, &fired).await;
        between(at, 500, 2500);
        let (_, end) = bench.closed(1).await;
        // Its bytes were sent again: they had not been acknowledged.
        let info = end.tcp_info.expect("read before the close");
        assert!(info.total_retrans >= 1, "{info:?}");
        assert_eq!(times(&bench, sent).len(), times(&bench, received).len() + 1);
    });
}

#[test]
fn request_unacknowledged_h1() {
    unacknowledged(Protocol::H1);
}

#[test]
fn request_unacknowledged_h2() {
    unacknowledged(Protocol::H2);
}

fn waiting(protocol: Protocol) {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let port = serving.address().port();
        let fired = cut_on(&bench, Phase::WaitingForResponse, ms(500), port);
        let mut transport = bare(protocol);
        transport.request_timeout = Some(ms(1000));
        bench.start(poller("c", serving.address(), transport, ms(100)));
        let at = take(&bench, &fired).await;
        between(at, 500, 2500);
        bench.failed().await;
        // The server has the request, the client no response; and nothing of the client's was ever sent again.
        let before = |times: Vec<Duration>| times.into_iter().filter(|t| *t <= at).count();
        let (received, answered) = (
            before(times(&bench, received)),
            times(&bench, answered).len(),
        );
        assert_eq!(received, answered + 1, "{}", bench.story());
        if protocol == Protocol::H1 {
            let (_, end) = bench.closed(1).await;
            ended_by(&end, EndedBy::RequestTimeout);
            let info = end.tcp_info.expect("read before the close");
            assert_eq!((info.unacked, info.total_retrans), (0, 0), "{info:?}");
        }
    });
}

#[test]
fn waiting_for_the_response_h1() {
    waiting(Protocol::H1);
}

#[test]
fn waiting_for_the_response_h2() {
    waiting(Protocol::H2);
}

#[test]
fn idle_right_after_a_response() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(400);
        let serving = bench.serve(&server);
        let fired = cut_on(&bench, Phase::Idle, ms(200), serving.address().port());
        bench.start(poller("c", serving.address(), bare(Protocol::H1), ms(300)));
        let at = take(&bench, &fired).await;
        let answers = times(&bench, answered);
        assert_eq!(answers.len(), 1);
        between(at - answers[0], 0, 300);
    });
}

#[test]
fn idle_already_when_its_time_comes() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let fired = cut_on(&bench, Phase::Idle, ms(700), serving.address().port());
        bench.start(poller(
            "c",
            serving.address(),
            bare(Protocol::H2),
            ms(60_000),
        ));
        let at = take(&bench, &fired).await;
        between(at, 700, 1300);
        assert_eq!(times(&bench, answered).len(), 1);
    });
}

#[test]
fn connecting_is_before_the_syn() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let fired = cut_on(&bench, Phase::Connecting, ms(0), serving.address().port());
        let mut transport = bare(Protocol::H2);
        transport.dial_timeout = Some(ms(300));
        bench.start(poller("c", serving.address(), transport, ms(60_000)));
        take(&bench, &fired).await;
        let (_, end) = bench.dial_failed().await;
        ended_by(&end, EndedBy::DialTimeout);
        assert_eq!(times(&bench, sent).len(), 0);
    });
}

#[test]
fn the_board_knows_a_client_that_waits_and_forgets_one_that_died() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(60_000);
        let serving = bench.serve(&server);
        let client = bench.start(poller("c", serving.address(), bare(Protocol::H1), ms(10)));
        bench
            .wait(|o| matches!(o, Observation::ServerRequest { .. }).then_some(()))
            .await;
        tokio::time::sleep(ms(60)).await;
        assert_eq!(
            bench.phases.phases(),
            [("c".to_owned(), Phase::WaitingForResponse)]
        );
        let before = bench.events().len();
        client.abort();
        let _ = client.await;
        assert_eq!(bench.phases.phases(), []);
        // A client that loses its power says nothing; the server sees the kernel close its socket.
        tokio::time::sleep(ms(100)).await;
        let after: Vec<_> = bench.events().split_off(before);
        assert!(
            after
                .iter()
                .all(|e| matches!(e.what, Observation::ServerClosed { .. })),
            "{after:?}"
        );
    });
}

fn dies_within_its_own_request(protocol: Protocol) {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let server = serving.task.abort_handle();
        let killed = Rc::new(Cell::new(None));
        let (seen, recorder) = (Rc::clone(&killed), bench.recorder.clone());
        bench.phases.on(
            "c",
            Phase::WaitingForResponse,
            ms(0),
            Box::new(move || {
                server.abort();
                seen.set(Some(recorder.now()));
            }),
        );
        bench.start(poller("c", serving.address(), bare(protocol), ms(50)));
        assert!(serving.task.await.is_err_and(|e| e.is_cancelled()));
        bench.failed().await;
        let killed = killed.get().expect("it fired");
        let said = times(&bench, |o| {
            matches!(
                o,
                Observation::ServerResponse { .. } | Observation::ServerClosed { .. }
            )
        });
        assert!(said.iter().all(|at| *at < killed), "{}", bench.story());
        assert_eq!(times(&bench, answered).len(), 0);
    });
}

#[test]
fn a_server_killed_while_it_holds_a_request_never_answers_h1() {
    dies_within_its_own_request(Protocol::H1);
}

#[test]
fn a_server_killed_while_it_holds_a_request_never_answers_h2() {
    dies_within_its_own_request(Protocol::H2);
}

#[test]
fn a_trigger_set_while_the_client_is_idle_fires_at_once() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        bench.start(poller(
            "c",
            serving.address(),
            bare(Protocol::H1),
            ms(60_000),
        ));
        bench.responses(1).await;
        let armed = bench.recorder.now();
        let fired = cut_on(&bench, Phase::Idle, ms(0), serving.address().port());
        let at = take(&bench, &fired).await;
        between(at - armed, 0, 600);
    });
}

#[test]
fn without_a_pause_there_is_no_idle_between_read_and_write_of_a_lock() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.app = halfopen::plan::App::Lock;
        let serving = bench.serve(&server);
        let fired = cut_on(&bench, Phase::Idle, ms(0), serving.address().port());
        let mut client = poller("c", serving.address(), bare(Protocol::H1), ms(0));
        let election = halfopen::plan::Workload::LeaderElection {
            every: ms(60_000),
            lease: ms(10_000),
            renew_deadline: ms(5_000),
            jitter: std::time::Duration::ZERO,
        };
        client.workloads = halfopen::plan::Workloads::one(election, None);
        bench.start(client);
        take(&bench, &fired).await;
        assert_eq!(times(&bench, answered).len(), 2, "GET and PUT");
    });
}
