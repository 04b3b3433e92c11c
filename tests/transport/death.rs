//! What the kernel leaves in a socket's TCP_INFO when it gives a connection up: the evidence for the cause, for
//! ETIMEDOUT is the same for all three.

use std::time::Duration;

use halfopen::plan::{Keepalive, Protocol, Transport};
use halfopen::record::{ConnectionEnd, EndedBy, Observation, RequestError};

use crate::bench::*;

/// Opens a connection, lets it be used once, makes its peer vanish, and waits for its end: how long after the cut, and
/// how.
async fn dies(bench: &Bench, transport: Transport, pause: Duration) -> (Duration, ConnectionEnd) {
    let serving = bench.serve(&echo("aa"));
    bench.start(poller("c", serving.address(), transport, pause));
    bench.responses(1).await;
    blackhole(serving.address().port());
    let cut = bench.recorder.now();
    let (at, end) = bench.closed(1).await;
    println!("{:?} after the cut: {end:?}", at - cut);
    assert_eq!(
        (end.by, end.errno),
        (EndedBy::Kernel, Some(libc::ETIMEDOUT))
    );
    (at - cut, end)
}

fn sysctl(key: &str, value: u32) {
    shell(&format!("echo {value} > /proc/sys/net/ipv4/{key}"));
}

/// The bound of `tcp_retries2`: retransmission timeouts, each twice the last, of 200 ms at first.
fn retransmission(protocol: Protocol, retries: u32, min: u64, max: u64) {
    in_lab(async |bench| {
        sysctl("tcp_retries2", retries);
        // The request goes out right after the cut.
        let (after, end) = dies(&bench, bare(protocol), ms(300)).await;
        between(after, min, max);
        let info = end.tcp_info.expect("read before the close");
        assert_eq!(info.state, 7, "closed");
        assert!(u32::from(info.retransmits) >= retries, "{info:?}");
        assert!(info.total_retrans >= retries, "{info:?}");
        assert_eq!(info.probes, 0, "{info:?}");
        let (_, (error, connection, _)) = bench.failed().await;
        assert_eq!((error, connection), (RequestError::ConnectionLost, Some(1)));
    });
}

#[test]
fn retransmission_timeout_h1() {
    retransmission(Protocol::H1, 2, 1400, 4500);
}

#[test]
fn retransmission_timeout_h2() {
    retransmission(Protocol::H2, 2, 1400, 4500);
}

#[test]
fn more_retransmissions_take_longer() {
    retransmission(Protocol::H1, 3, 3000, 9000);
}

fn keepalive(knob: Keepalive, min: u64, max: u64) {
    in_lab(async |bench| {
        let mut transport = bare(Protocol::H1);
        transport.keepalive = Some(knob);
        let (after, end) = dies(&bench, transport, ms(60_000)).await;
        between(after, min, max);
        let info = end.tcp_info.expect("read before the close");
        assert_eq!(u32::from(info.probes), knob.count, "{info:?}");
        assert_eq!((info.retransmits, info.total_retrans), (0, 0), "{info:?}");
        // Nobody waited for it: only its pool noticed.
        assert_eq!(
            bench.count(|o| matches!(o, Observation::RequestFailed { .. })),
            0
        );
    });
}

const SECOND: Duration = Duration::from_secs(1);

// The first probe goes out `idle` after the last packet, a little before the cut.

#[test]
fn keepalive_of_an_idle_connection() {
    let knob = Keepalive {
        idle: SECOND,
        interval: SECOND,
        count: 1,
    };
    keepalive(knob, 1800, 3500);
}

#[test]
fn keepalive_count() {
    let knob = Keepalive {
        idle: SECOND,
        interval: SECOND,
        count: 3,
    };
    keepalive(knob, 3800, 5500);
}

#[test]
fn keepalive_interval() {
    let knob = Keepalive {
        idle: SECOND,
        interval: 3 * SECOND,
        count: 1,
    };
    keepalive(knob, 3800, 5500);
}

#[test]
fn keepalive_idle() {
    let knob = Keepalive {
        idle: 3 * SECOND,
        interval: SECOND,
        count: 1,
    };
    keepalive(knob, 3800, 5500);
}

fn user_timeout(limit: u64, min: u64, max: u64) {
    in_lab(async |bench| {
        let mut transport = bare(Protocol::H1);
        transport.user_timeout = Some(ms(limit));
        let (after, end) = dies(&bench, transport, ms(100)).await;
        between(after, min, max);
        let info = end.tcp_info.expect("read before the close");
        assert!(info.retransmits >= 1 && info.total_retrans >= 1, "{info:?}");
        assert_eq!(info.probes, 0, "{info:?}");
    });
}

#[test]
fn user_timeout_of_unacknowledged_data() {
    user_timeout(700, 650, 2500);
}

#[test]
fn a_longer_user_timeout_takes_longer() {
    user_timeout(3000, 2950, 5500);
}

#[test]
fn user_timeout_overrides_the_count_of_an_idle_connection_s_keepalive() {
    in_lab(async |bench| {
        let mut transport = bare(Protocol::H1);
        transport.keepalive = Some(Keepalive {
            idle: SECOND,
            interval: SECOND,
            count: 9,
        });
        transport.user_timeout = Some(ms(1500));
        let (after, end) = dies(&bench, transport, ms(60_000)).await;
        between(after, 1400, 4000);
        let info = end.tcp_info.expect("read before the close");
        assert!(info.probes >= 1 && info.retransmits == 0, "{info:?}");
    });
}

#[test]
fn a_reset_is_told_from_a_timeout() {
    in_lab(async |bench| {
        let serving = bench.serve(&echo("aa"));
        bench.start(poller("c", serving.address(), bare(Protocol::H2), ms(300)));
        bench.responses(1).await;
        shell(&format!(
            "iptables -w -A INPUT -p tcp --dport {} -j REJECT --reject-with tcp-reset",
            serving.address().port()
        ));
        let (_, end) = bench.closed(1).await;
        assert_eq!(
            (end.by, end.errno),
            (EndedBy::Kernel, Some(libc::ECONNRESET))
        );
        // The next dial is refused by the same rule.
        let (_, end) = bench.dial_failed().await;
        assert_eq!(
            (end.by, end.errno),
            (EndedBy::Kernel, Some(libc::ECONNREFUSED))
        );
    });
}
