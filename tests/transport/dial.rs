//! Opening a connection: every limit on it, and what the kernel says when there is none.

use halfopen::plan::{Protocol, RetryOn};
use halfopen::record::{EndedBy, Observation, RequestError};

use crate::bench::*;

fn dial_timeout(limit: u64) {
    in_lab(async |bench| {
        let (_listener, address) = silent_listener();
        blackhole(address.port());
        let mut transport = bare(Protocol::H2);
        transport.dial_timeout = Some(ms(limit));
        bench.start(poller("c", address, transport, ms(60_000)));
        let (started, local) = bench
            .wait(|o| match o {
                Observation::DialStarted { local, target, .. } if *target == address => *local,
                _ => None,
            })
            .await;
        assert!(local.port() != 0 && local.ip() == address.ip());
        let (at, end) = bench.dial_failed().await;
        ended_by(&end, EndedBy::DialTimeout);
        assert_eq!(
            end.tcp_info.expect("read before the close").state,
            2,
            "SYN_SENT"
        );
        between(at - started, limit, limit + 600);
        assert_eq!(bench.failed().await.1.0, RequestError::Dial);
    });
}

#[test]
fn dial_timeout_ends_a_dial() {
    dial_timeout(300);
}

#[test]
fn a_longer_dial_timeout_takes_longer() {
    dial_timeout(1200);
}

#[test]
fn without_a_dial_timeout_the_kernel_gives_up_its_syns() {
    in_lab(async |bench| {
        shell("echo 1 > /proc/sys/net/ipv4/tcp_syn_retries");
        shell("echo 0 > /proc/sys/net/ipv4/tcp_syn_linear_timeouts");
        let (_listener, address) = silent_listener();
        blackhole(address.port());
        bench.start(poller("c", address, bare(Protocol::H1), ms(60_000)));
        let (at, end) = bench.dial_failed().await;
        println!("{at:?} {end:?}");
        assert_eq!(
            (end.by, end.errno),
            (EndedBy::Kernel, Some(libc::ETIMEDOUT))
        );
        // One second, then two.
        between(at, 2900, 5000);
        let info = end.tcp_info.expect("read before the close");
        assert!(info.total_retrans >= 1, "{info:?}");
    });
}

#[test]
fn a_request_s_own_timeout_ends_its_dial() {
    in_lab(async |bench| {
        let (_listener, address) = silent_listener();
        blackhole(address.port());
        for (name, protocol) in [("one", Protocol::H1), ("two", Protocol::H2)] {
            let mut transport = bare(protocol);
            transport.dial_timeout = Some(ms(5000));
            transport.request_timeout = Some(ms(300));
            bench.start(poller(name, address, transport, ms(60_000)));
            let (at, end) = bench
                .wait(|o| match o {
                    Observation::DialFailed { client, error, .. } if client == name => {
                        Some(error.clone())
                    }
                    _ => None,
                })
                .await;
            ended_by(&end, EndedBy::RequestTimeout);
            let (failed, (error, connection)) = bench
                .wait(|o| match o {
                    Observation::RequestFailed {
                        request,
                        error,
                        connection,
                        ..
                    } if request.client == name => Some((*error, *connection)),
                    _ => None,
                })
                .await;
            assert_eq!((error, connection), (RequestError::Timeout, None));
            assert!(at <= failed, "the dial's end is recorded first");
        }
    });
}

fn tls_timeout(limit: u64) {
    in_lab(async |bench| {
        let (_listener, address) = silent_listener();
        let mut transport = bare(Protocol::H1);
        transport.tls_timeout = Some(ms(limit));
        let mut client = poller("c", address, transport, ms(60_000));
        client.target.tls = true;
        bench.start(client);
        let (at, end) = bench.dial_failed().await;
        ended_by(&end, EndedBy::TlsTimeout);
        assert_eq!(end.tcp_info.expect("read before the close").state, 1);
        between(at, limit, limit + 600);
    });
}

#[test]
fn tls_timeout_ends_a_handshake() {
    tls_timeout(300);
}

#[test]
fn a_longer_tls_timeout_takes_longer() {
    tls_timeout(1200);
}

#[test]
fn a_refused_dial_is_retried_as_often_and_as_late_as_told() {
    in_lab(async |bench| {
        let (listener, address) = silent_listener();
        drop(listener);
        for (attempts, on, dials) in [
            (0, vec![RetryOn::DialFailed], 1),
            (2, vec![RetryOn::DialFailed], 3),
            (2, vec![RetryOn::ConnectionLost], 1),
        ] {
            let name = format!("{attempts}-{dials}-{on:?}");
            let mut transport = bare(Protocol::H1);
            transport.retry.attempts = attempts;
            transport.retry.backoff = ms(200);
            transport.retry.on = on;
            let begun = bench.recorder.now();
            bench.start(poller(&name, address, transport, ms(60_000)));
            let (at, error) = bench
                .wait(|o| match o {
                    Observation::RequestFailed { request, error, .. } if request.client == name => {
                        Some(*error)
                    }
                    _ => None,
                })
                .await;
            assert_eq!(error, RequestError::Dial);
            let dialed = bench
                .count(|o| matches!(o, Observation::DialStarted { client, .. } if *client == name));
            assert_eq!(dialed, dials);
            let least = 200 * (dials as u64 - 1);
            between(at - begun, least, least + 600);
        }
    });
}
