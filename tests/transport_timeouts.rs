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
