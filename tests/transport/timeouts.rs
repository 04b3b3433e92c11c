//! The client's own timeouts: each ends what it should, when it should, and nothing else.

use halfopen::plan::{IdleCheck, Protocol, TimeoutEnds};
use halfopen::record::{EndedBy, Observation, RequestError};

use crate::bench::*;

/// Waits out the first request to a server that never answers in time.
fn request_timeout(protocol: Protocol, limit: u64) {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(60_000);
        let serving = bench.serve(&server);
        let mut transport = bare(protocol);
        transport.request_timeout = Some(ms(limit));
        bench.start(poller("c", serving.address(), transport, ms(50)));
        let (sent, ()) = bench
            .wait(|o| matches!(o, Observation::RequestSent { .. }).then_some(()))
            .await;
        let (failed, (error, connection, _)) = bench.failed().await;
        assert_eq!((error, connection), (RequestError::Timeout, Some(1)));
        // The clock began before the dial, which took well under this on loopback.
        between(failed - sent, limit - 50, limit + 600);
        bench
            .wait(|o| match o {
                Observation::RequestSent { request, .. } if request.number == 2 => Some(()),
                _ => None,
            })
            .await;
        let closed = bench.find(|o| match o {
            Observation::ConnectionClosed { end, .. } => Some(end.clone()),
            _ => None,
        });
        let dials = bench.count(|o| matches!(o, Observation::DialStarted { .. }));
        match protocol {
            Protocol::H1 => {
                ended_by(&closed.expect("closed").1, EndedBy::RequestTimeout);
                assert_eq!(dials, 2);
            }
            Protocol::H2 => {
                assert!(closed.is_none(), "the connection lives on: {closed:?}");
                assert_eq!(dials, 1);
            }
        }
    });
}

#[test]
fn a_request_timeout_closes_an_h1_connection() {
    request_timeout(Protocol::H1, 300);
}

#[test]
fn a_longer_request_timeout_takes_longer() {
    request_timeout(Protocol::H1, 1200);
}

#[test]
fn a_request_timeout_resets_an_h2_stream_only() {
    request_timeout(Protocol::H2, 300);
}

fn read_timeout(protocol: Protocol, limit: u64) {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(60_000);
        let serving = bench.serve(&server);
        let mut transport = bare(protocol);
        transport.read_timeout = Some(ms(limit));
        bench.start(poller("c", serving.address(), transport, ms(50)));
        let (sent, ()) = bench
            .wait(|o| matches!(o, Observation::RequestSent { .. }).then_some(()))
            .await;
        let (failed, (error, _, text)) = bench.failed().await;
        assert_eq!(
            (error, text.as_str()),
            (RequestError::Timeout, "read timeout exceeded")
        );
        between(failed - sent, limit, limit + 600);
        let closed = bench.find(|o| match o {
            Observation::ConnectionClosed { end, .. } => Some(end.by),
            _ => None,
        });
        let expected = (protocol == Protocol::H1).then_some(EndedBy::ReadTimeout);
        assert_eq!(closed.map(|c| c.1), expected);
    });
}

#[test]
fn a_read_timeout_closes_an_h1_connection() {
    read_timeout(Protocol::H1, 300);
}

#[test]
fn a_longer_read_timeout_takes_longer() {
    read_timeout(Protocol::H1, 1200);
}

#[test]
fn a_read_timeout_resets_an_h2_stream_only() {
    read_timeout(Protocol::H2, 300);
}

#[test]
fn an_idle_timeout_closes_a_connection_that_rests_so_long() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        for (name, protocol, limit) in [
            ("h1", Protocol::H1, 300),
            ("h2", Protocol::H2, 300),
            ("later", Protocol::H1, 1000),
        ] {
            let mut transport = bare(protocol);
            transport.idle_timeout = Some(ms(limit));
            bench.start(poller(name, serving.address(), transport, ms(60_000)));
            let (rested, end) = bench.rested(name).await;
            ended_by(&end, EndedBy::IdleTimeout);
            // The connection rests from a moment before the response is recorded.
            between(rested, limit - 20, limit + 600);
        }
    });
}

#[test]
fn an_idle_timeout_that_requests_look_at_closes_at_the_next_one() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        for (name, protocol, pause) in [
            ("h1", Protocol::H1, 900),
            ("h2", Protocol::H2, 900),
            ("later", Protocol::H2, 1500),
        ] {
            let mut transport = bare(protocol);
            transport.idle_timeout = Some(ms(300));
            transport.idle_check = IdleCheck::NextRequest;
            bench.start(poller(name, serving.address(), transport, ms(pause)));
            let (rested, end) = bench.rested(name).await;
            ended_by(&end, EndedBy::IdleTimeout);
            between(rested, pause - 20, pause + 600);
        }
    });
}

#[test]
fn a_timeout_that_ends_the_connection_lets_no_further_request_on_it() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(60_000);
        let serving = bench.serve(&server);
        let mut transport = bare(Protocol::H2);
        transport.read_timeout = Some(ms(300));
        transport.timeout_ends = TimeoutEnds::Connection;
        bench.start(poller("c", serving.address(), transport, ms(50)));
        let (failed, _) = bench.failed().await;
        let (closed, end) = bench.closed(1).await;
        ended_by(&end, EndedBy::ReadTimeout);
        between(closed - failed.min(closed), 0, 20);
        let second = bench.wait(|o| match o {
            Observation::RequestSent {
                request,
                connection,
                ..
            } if request.number == 2 => Some(*connection),
            _ => None,
        });
        assert_eq!(second.await.1, 2);
    });
}

#[test]
fn a_connection_that_a_timeout_took_out_of_use_is_closed_as_an_idle_one() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(60_000);
        let serving = bench.serve(&server);
        let mut transport = bare(Protocol::H2);
        transport.request_timeout = Some(ms(300));
        transport.timeout_ends = TimeoutEnds::Connection;
        transport.idle_timeout = Some(ms(500));
        transport.idle_check = IdleCheck::NextRequest;
        bench.start(poller("c", serving.address(), transport, ms(50)));
        let (failed, _) = bench.failed().await;
        let (closed, end) = bench.closed(1).await;
        ended_by(&end, EndedBy::IdleTimeout);
        // Requests begin 50 ms, 400 ms and 750 ms after the first failed: the third finds it idle for too long.
        between(closed - failed, 700, 1300);
    });
}

#[test]
fn a_connection_used_more_often_than_its_idle_timeout_is_kept() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        let mut transport = bare(Protocol::H1);
        transport.idle_timeout = Some(ms(1000));
        bench.start(poller("c", serving.address(), transport, ms(100)));
        bench.responses(15).await;
        assert_eq!(
            bench.count(|o| matches!(o, Observation::DialStarted { .. })),
            1
        );
    });
}

#[test]
fn at_the_stop_a_request_has_the_drain_and_is_then_unfinished() {
    in_lab(async |bench| {
        for (delay, drain, answered) in [(500, 2000, true), (60_000, 300, false)] {
            let mut server = echo("aa");
            server.response_delay = ms(delay);
            let serving = bench.serve(&server);
            let name = format!("c{delay}");
            let client = poller(&name, serving.address(), bare(Protocol::H2), ms(10));
            let task = bench.start_with_drain(client, ms(drain));
            bench
                .wait(|o| match o {
                    Observation::ServerRequest {
                        request: Some(r), ..
                    } if r.client == name => Some(()),
                    _ => None,
                })
                .await;
            bench.stop();
            task.await.expect("the client ends");
            let count = |pick: fn(&Observation) -> Option<&str>| {
                bench.count(|o| pick(o) == Some(name.as_str()))
            };
            let responses = count(|o| match o {
                Observation::Response { request, .. } => Some(&request.client),
                _ => None,
            });
            let unfinished = count(|o| match o {
                Observation::RequestUnfinished {
                    request,
                    connection: Some(1),
                } => Some(&request.client),
                _ => None,
            });
            let sent = count(|o| match o {
                Observation::RequestSent { request, .. } => Some(&request.client),
                _ => None,
            });
            let closed = count(|o| match o {
                Observation::ConnectionClosed { client, end, .. } if end.by == EndedBy::CaseEnd => {
                    Some(client)
                }
                _ => None,
            });
            let expected = if answered { (1, 0) } else { (0, 1) };
            assert_eq!((responses, unfinished), expected, "{}", bench.story());
            assert_eq!(
                (sent, closed),
                (1, 1),
                "no new request, and the connection is closed"
            );
            bench.go_on();
        }
    });
}
