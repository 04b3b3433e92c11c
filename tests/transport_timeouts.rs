//! The client's own timeouts: each ends what it should, when it should, and nothing else.

mod support;

use halfopen::plan::Protocol;
use halfopen::record::{EndedBy, Observation, RequestError};
use support::*;

/// Waits out the first request to a server that never answers in time.
fn request_timeout(name: &str, protocol: Protocol, limit: u64) {
    in_lab(name, async |bench| {
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
    request_timeout(
        "a_request_timeout_closes_an_h1_connection",
        Protocol::H1,
        300,
    );
}

#[test]
fn a_longer_request_timeout_takes_longer() {
    request_timeout("a_longer_request_timeout_takes_longer", Protocol::H1, 1200);
}

#[test]
fn a_request_timeout_resets_an_h2_stream_only() {
    request_timeout(
        "a_request_timeout_resets_an_h2_stream_only",
        Protocol::H2,
        300,
    );
}

fn read_timeout(name: &str, protocol: Protocol, limit: u64) {
    in_lab(name, async |bench| {
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
    read_timeout("a_read_timeout_closes_an_h1_connection", Protocol::H1, 300);
}

#[test]
fn a_longer_read_timeout_takes_longer() {
    read_timeout("a_longer_read_timeout_takes_longer", Protocol::H1, 1200);
}

#[test]
fn a_read_timeout_resets_an_h2_stream_only() {
    read_timeout("a_read_timeout_resets_an_h2_stream_only", Protocol::H2, 300);
}

#[test]
fn an_idle_timeout_closes_a_connection_that_rests_so_long() {
    in_lab(
        "an_idle_timeout_closes_a_connection_that_rests_so_long",
        async |bench| {
            let serving = bench.serve(&echo("aa"));
            for (name, protocol, limit) in [
                ("h1", Protocol::H1, 300),
                ("h2", Protocol::H2, 300),
                ("later", Protocol::H1, 1000),
            ] {
                let mut transport = bare(protocol);
                transport.idle_timeout = Some(ms(limit));
                bench.start(poller(name, serving.address(), transport, ms(60_000)));
                let (answered, ()) = bench
                    .wait(|o| match o {
                        Observation::Response { request, .. } if request.client == name => Some(()),
                        _ => None,
                    })
                    .await;
                let (closed, end) = bench
                    .wait(|o| match o {
                        Observation::ConnectionClosed { client, end, .. } if client == name => {
                            Some(end.clone())
                        }
                        _ => None,
                    })
                    .await;
                ended_by(&end, EndedBy::IdleTimeout);
                // The connection rests from a moment before the response is recorded.
                between(closed - answered, limit - 20, limit + 600);
            }
        },
    );
}

#[test]
fn a_connection_used_more_often_than_its_idle_timeout_is_kept() {
    in_lab(
        "a_connection_used_more_often_than_its_idle_timeout_is_kept",
        async |bench| {
            let serving = bench.serve(&echo("aa"));
            let mut transport = bare(Protocol::H1);
            transport.idle_timeout = Some(ms(1000));
            bench.start(poller("c", serving.address(), transport, ms(100)));
            bench.responses(15).await;
            assert_eq!(
                bench.count(|o| matches!(o, Observation::DialStarted { .. })),
                1
            );
        },
    );
}

#[test]
fn at_the_stop_a_request_has_the_drain_and_is_then_unfinished() {
    in_lab(
        "at_the_stop_a_request_has_the_drain_and_is_then_unfinished",
        async |bench| {
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
                    Observation::ConnectionClosed { client, end, .. }
                        if end.by == EndedBy::CaseEnd =>
                    {
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
        },
    );
}
