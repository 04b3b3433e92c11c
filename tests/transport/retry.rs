//! What the transport sends again by itself when a connection is lost.

use halfopen::plan::{Protocol, RetryOn};
use halfopen::record::{Observation, RequestError};

use crate::bench::*;

/// The server dies while the `nth` request waits, and another takes its place: the connection and the try the
/// response came on, or why there is none.
async fn lost(
    bench: &Bench,
    protocol: Protocol,
    nth: u32,
    on: RetryOn,
) -> Result<(u32, u32), RequestError> {
    let name = format!("{protocol:?}-{nth}-{on:?}");
    let mut server = echo("aa");
    server.response_delay = ms(300);
    let serving = bench.serve(&server);
    server.listen = vec![serving.address()];
    let mut transport = bare(protocol);
    transport.retry.attempts = 2;
    transport.retry.backoff = ms(100);
    transport.retry.on = vec![on];
    bench.start(poller(&name, serving.address(), transport, ms(20)));
    let is_it = |r: &halfopen::record::RequestId| r.client == name && r.number == nth;
    bench
        .wait(|o| match o {
            Observation::ServerRequest {
                request: Some(r), ..
            } => is_it(r).then_some(()),
            _ => None,
        })
        .await;
    serving.task.abort();
    let _ = serving.task.await;
    bench.serve(&server);
    let (_, result) = bench
        .wait(|o| match o {
            Observation::Response {
                request,
                connection,
                ..
            } => is_it(request).then_some(Ok(*connection)),
            Observation::RequestFailed { request, error, .. } => {
                is_it(request).then_some(Err(*error))
            }
            _ => None,
        })
        .await;
    let tries =
        bench.count(|o| matches!(o, Observation::RequestSent { request, .. } if is_it(request)));
    result.map(|connection| (connection, u32::try_from(tries).unwrap_or(u32::MAX)))
}

fn retry(protocol: Protocol) {
    in_lab(async |bench| {
        let lost = async |nth, on| lost(&bench, protocol, nth, on).await;
        let error = Err(RequestError::ConnectionLost);
        assert_eq!(lost(1, RetryOn::ConnectionLost).await, Ok((2, 2)));
        assert_eq!(lost(1, RetryOn::ReusedConnectionLost).await, error);
        assert_eq!(lost(2, RetryOn::ReusedConnectionLost).await, Ok((2, 2)));
        assert_eq!(lost(2, RetryOn::DialFailed).await, error);
    });
}

#[test]
fn a_lost_request_is_sent_again_where_told_h1() {
    retry(Protocol::H1);
}

#[test]
fn a_lost_request_is_sent_again_where_told_h2() {
    retry(Protocol::H2);
}
