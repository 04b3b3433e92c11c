//! HTTP/2's PING health check, knob by knob.

use std::time::Duration;

use halfopen::plan::{Ping, Protocol, Transport};
use halfopen::record::{EndedBy, Observation, RequestError};

use crate::bench::*;

fn pinging(idle: u64, timeout: u64, while_idle: bool) -> Transport {
    let mut transport = bare(Protocol::H2);
    transport.ping = Some(Ping {
        idle: ms(idle),
        timeout: ms(timeout),
        while_idle,
    });
    transport
}

fn pings(bench: &Bench) -> (usize, usize) {
    (
        bench.count(|o| matches!(o, Observation::PingSent { .. })),
        bench.count(|o| matches!(o, Observation::PingAcked { .. })),
    )
}

fn dead_peer(idle: u64, timeout: u64) {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let transport = pinging(idle, timeout, true);
        bench.start(poller("c", serving.address(), transport, ms(60_000)));
        let (answered, ()) = bench
            .wait(|o| matches!(o, Observation::Response { .. }).then_some(()))
            .await;
        blackhole(serving.address().port());
        let (sent, ()) = bench
            .wait(|o| matches!(o, Observation::PingSent { .. }).then_some(()))
            .await;
        let (closed, end) = bench.closed(1).await;
        ended_by(&end, EndedBy::PingTimeout);
        // The last frame was read a moment before the response was recorded.
        between(sent - answered, idle - 50, idle + 600);
        between(closed - sent, timeout - 20, timeout + 600);
    });
}

#[test]
fn a_ping_that_is_not_answered_closes_the_connection() {
    dead_peer(400, 300);
}

#[test]
fn a_longer_ping_idle_time_takes_longer() {
    dead_peer(1500, 300);
}

#[test]
fn a_longer_ping_timeout_takes_longer() {
    dead_peer(400, 1500);
}

#[test]
fn answered_pings_keep_an_idle_connection() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let transport = pinging(200, 1000, true);
        bench.start(poller("c", serving.address(), transport, ms(60_000)));
        bench.responses(1).await;
        tokio::time::sleep(ms(1500)).await;
        let (sent, acked) = pings(&bench);
        // 200 ms apart at least, as each answer restarts the clock.
        assert!((3..=7).contains(&sent), "{sent}");
        assert!(acked >= sent - 1, "{sent} {acked}");
        assert_eq!(
            bench.count(|o| matches!(o, Observation::ConnectionClosed { .. })),
            0
        );
    });
}

#[test]
fn frames_read_put_a_ping_off() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let transport = pinging(1000, 1000, true);
        bench.start(poller("c", serving.address(), transport, ms(50)));
        bench.responses(30).await;
        assert_eq!(pings(&bench), (0, 0));
    });
}

#[test]
fn without_while_idle_only_an_open_request_is_worth_a_ping() {
    in_lab(async |bench| {
        let mut slow = echo("slow");
        slow.response_delay = ms(60_000);
        let (idle, slow) = (bench.serve(&echo("aa")), bench.serve(&slow));
        let transport = pinging(200, 1000, false);
        bench.start(poller(
            "idle",
            idle.address(),
            transport.clone(),
            ms(60_000),
        ));
        bench.responses(1).await;
        tokio::time::sleep(ms(800)).await;
        assert_eq!(pings(&bench), (0, 0));
        bench.start(poller("busy", slow.address(), transport, ms(60_000)));
        let (_, client) = bench
            .wait(|o| match o {
                Observation::PingSent { client, .. } => Some(client.clone()),
                _ => None,
            })
            .await;
        assert_eq!(client, "busy");
    });
}

/// A request that times out against a server that is slow but alive, or dead.
async fn after_timeout(bench: &Bench, limit: Option<Duration>, dead: bool, pause: Duration) {
    let mut server = echo("aa");
    server.response_delay = ms(60_000);
    let serving = bench.serve(&server);
    let mut transport = bare(Protocol::H2);
    transport.request_timeout = Some(ms(400));
    transport.ping_after_timeout = limit;
    bench.start(poller("c", serving.address(), transport, pause));
    bench
        .wait(|o| matches!(o, Observation::ServerRequest { .. }).then_some(()))
        .await;
    if dead {
        blackhole(serving.address().port());
    }
    assert_eq!(bench.failed().await.1.0, RequestError::Timeout);
}

/// A PING whose answer is due after `limit`, with requests after a pause; the connection ends so long after the first failed.
fn degraded(limit: u64, pause: u64, ends: u64) {
    in_lab(async |bench| {
        after_timeout(&bench, Some(ms(limit)), true, ms(pause)).await;
        let (failed, _) = bench.failed().await;
        let (closed, end) = bench.closed(1).await;
        ended_by(&end, EndedBy::PingTimeout);
        between(closed - failed, ends - 20, ends + 600);
    });
}

#[test]
fn the_next_request_ends_a_connection_whose_ping_had_no_answer() {
    degraded(300, 900, 900);
}

#[test]
fn a_request_before_the_answer_is_due_goes_to_the_same_connection() {
    // It runs out of time as well, 400 ms after it was sent; the one after it comes late enough.
    degraded(1200, 500, 1400);
}

#[test]
fn without_a_request_nobody_looks_for_the_answer() {
    in_lab(async |bench| {
        after_timeout(&bench, Some(ms(300)), true, ms(60_000)).await;
        tokio::time::sleep(ms(1200)).await;
        assert_eq!(pings(&bench), (1, 0));
        assert_eq!(
            bench.count(|o| matches!(o, Observation::ConnectionClosed { .. })),
            0
        );
    });
}

#[test]
fn a_ping_after_a_timeout_spares_a_slow_server() {
    in_lab(async |bench| {
        after_timeout(&bench, Some(ms(300)), false, ms(60_000)).await;
        tokio::time::sleep(ms(700)).await;
        assert_eq!(pings(&bench), (1, 1));
        assert_eq!(
            bench.count(|o| matches!(o, Observation::ConnectionClosed { .. })),
            0
        );
    });
}

#[test]
fn without_it_a_timeout_says_nothing_of_the_connection() {
    in_lab(async |bench| {
        after_timeout(&bench, None, true, ms(60_000)).await;
        tokio::time::sleep(ms(900)).await;
        assert_eq!(pings(&bench), (0, 0));
        assert_eq!(
            bench.count(|o| matches!(o, Observation::ConnectionClosed { .. })),
            0
        );
    });
}
