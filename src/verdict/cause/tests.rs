//! Causes by evidence that fits, and by the same with one thing otherwise.

mod by_kernel;

use super::super::evidence::{LastRequest, SocketSeen};
use super::super::timeline::Moment;
use super::super::waits::{FailedBeat, RequestsSeen};
use super::super::wire::Wire;
use super::*;
use crate::preset::bare;
use crate::record::{ConnectionEnd, TcpInfo};
use crate::timeout_model::{Kernel, TcpSysctls};

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn times_of<const N: usize>(seconds: [f64; N]) -> Vec<Duration> {
    seconds.map(s).to_vec()
}

fn end(by: EndedBy, errno: Option<i32>, tcp_info: Option<TcpInfo>) -> ConnectionEnd {
    ConnectionEnd {
        by,
        errno,
        tcp_info,
        text: String::from("it ended"),
        not_before: None,
    }
}

/// A socket in a state, which was acknowledged something 5 s before, and had its last data then.
fn socket(state: u8) -> TcpInfo {
    TcpInfo {
        state,
        rtt_us: 60,
        last_data_sent_ms: 1_800,
        last_data_recv_ms: 5_000,
        last_ack_recv_ms: 5_000,
        ..TcpInfo::default()
    }
}

/// A connection of HTTP/1.1 that was opened at 1 s and ended at 100 s, and nothing else is known. Retransmissions go on for
/// 3 s at the least.
fn evidence(end: &ConnectionEnd) -> Evidence<'_> {
    Evidence {
        id: 1,
        end,
        ended: s(100.0),
        began: Some(s(0.9)),
        opened: Some(s(1.0)),
        dial: false,
        program: false,
        tls: false,
        protocol: Some(Protocol::H1),
        transport: Box::leak(Box::new(bare(Protocol::H1))),
        keepalive: None,
        user_timeout: None,
        sysctls: TcpSysctls {
            retries2: 3,
            ..TcpSysctls::default()
        },
        kernel: Kernel::default(),
        wire: Wire::default(),
        socket: SocketSeen::default(),
        ping_sent: None,
        requests: RequestsSeen::default(),
        last_request: None,
        failed_beat: None,
        server_closed: false,
        dead_neighbour: false,
        unresolved: false,
        lossy: false,
        healed: false,
        destroyed: false,
        icmp: None,
        case_over: s(1000.0),
    }
}

/// The cause, or why there is none.
fn told(evidence: &Evidence) -> Result<Cause, String> {
    let Diagnosis { cause, evidence } = of(Some(evidence.clone()));
    if cause == Cause::Unknown {
        Err(evidence)
    } else {
        Ok(cause)
    }
}

#[track_caller]
fn doubted(evidence: &Evidence, why: &str) {
    let told = told(evidence);
    let doubt = told.as_ref().expect_err("it can't be told");
    assert!(doubt.contains(why), "{doubt}");
}

#[test]
fn a_dial_is_unanswered_if_nothing_says_otherwise() {
    let dial = |rtt_us, syn_acked: Option<f64>| {
        let info = TcpInfo {
            rtt_us,
            ..socket(2)
        };
        let end = end(EndedBy::DialTimeout, None, Some(info));
        let mut transport = bare(Protocol::H1);
        transport.dial_timeout = Some(s(7.0));
        let mut of = evidence(&end);
        (of.dial, of.began, of.opened) = (true, Some(s(93.0)), None);
        of.transport = &transport;
        of.wire.syns = times_of([93.0, 94.0]);
        of.wire.syn_acked = syn_acked.map(s);
        let Diagnosis { cause, evidence } = super::of(Some(of.clone()));
        (cause, evidence)
    };
    let unanswered = String::from("it ended: 2 SYNs unanswered for 7.0 s");
    assert_eq!(dial(0, None), (Cause::DialTimeout, unanswered));
    for (rtt_us, syn_acked) in [(60, None), (0, Some(93.1))] {
        let doubt = String::from("it ended, but its SYN was answered");
        assert_eq!(dial(rtt_us, syn_acked), (Cause::Unknown, doubt));
    }
}

#[test]
fn a_peer_that_closed_is_seen_by_its_fin_or_in_its_servers_record() {
    let closed = |state, peer_fin, server_closed| {
        let end = end(EndedBy::Peer, None, Some(socket(state)));
        let mut of = evidence(&end);
        of.wire.peer_fin = peer_fin;
        of.server_closed = server_closed;
        told(&of).ok()
    };
    // CLOSE_WAIT.
    assert_eq!(closed(8, false, true), Some(Cause::ClosedByPeer));
    assert_eq!(closed(8, true, false), Some(Cause::ClosedByPeer));
    assert_eq!(closed(STATE_CLOSE, true, true), Some(Cause::ClosedByPeer));
    assert_eq!(closed(STATE_CLOSE, false, true), None);
    assert_eq!(closed(8, false, false), None);
}

#[test]
fn a_connection_that_rested_for_too_long_may_be_closed_by_the_next_request() {
    let rested = |check, seconds: f64| {
        let end = end(EndedBy::IdleTimeout, None, Some(socket(1)));
        let mut transport = bare(Protocol::H1);
        (transport.idle_timeout, transport.idle_check) = (Some(s(5.0)), check);
        let mut of = evidence(&end);
        of.transport = &transport;
        of.requests.last_sent = Some(s(99.9 - seconds));
        of.requests.last_over = Some(s(100.0 - seconds));
        told(&of).ok()
    };
    let (timer, request) = (IdleCheck::Timer, IdleCheck::NextRequest);
    assert_eq!(rested(timer, 5.0), Some(Cause::IdleTimeout));
    assert_eq!(rested(timer, 30.0), None);
    assert_eq!(rested(request, 30.0), Some(Cause::IdleTimeout));
    assert_eq!(rested(request, 4.0), None);
}

#[test]
fn the_second_heartbeat_that_fails_closes_what_it_did_not_use_itself() {
    let failed = |protocol, connection, number_of_failures| {
        let end = end(EndedBy::HeartbeatFailure, None, Some(socket(1)));
        let transport = bare(protocol);
        let mut of = evidence(&end);
        of.transport = &transport;
        of.failed_beat = Some(FailedBeat {
            at: Moment::START,
            number: 7,
            connection,
            failed: number_of_failures,
            refused: false,
            answered: false,
        });
        told(&of).ok()
    };
    let found = Some(Cause::HeartbeatFailure);
    assert_eq!(failed(Protocol::H2, Some(1), 2), found);
    assert_eq!(failed(Protocol::H2, Some(1), 1), None);
    // On HTTP/1.1 a request that runs out of time ends its own connection, and no other.
    assert_eq!(failed(Protocol::H1, Some(1), 2), None);
    assert_eq!(failed(Protocol::H1, Some(2), 2), found);
    assert_eq!(failed(Protocol::H1, None, 2), found);
}

#[test]
fn a_programs_close_is_told_by_what_it_had_done_before() {
    let closed = |not_before: Option<f64>, change: fn(&mut Evidence)| {
        let mut end = end(EndedBy::Client, None, Some(socket(1)));
        end.not_before = not_before.map(s);
        let mut of = evidence(&end);
        of.program = true;
        change(&mut of);
        let Diagnosis { cause, evidence } = super::of(Some(of.clone()));
        assert_eq!(cause, Cause::ClosedByClient);
        evidence
    };
    let asked = |of: &mut Evidence| {
        of.last_request = Some(LastRequest {
            number: 3,
            sent: s(90.0),
            answered: None,
        });
    };
    let after = |how: &str| format!("it ended, {how} after its request 3");
    assert_eq!(closed(None, asked), after("10.000 s"));
    // Found by looking: less than a tick apart, and further.
    assert_eq!(closed(Some(99.992), asked), after("10.00 s"));
    assert_eq!(
        closed(Some(99.98), asked),
        after("between 9.980 s and 10.000 s")
    );
    let sent = |of: &mut Evidence| {
        of.protocol = Some(Protocol::H2);
        of.wire.sendings = times_of([95.0, 96.0]);
        of.wire.length = 17;
    };
    let ping = "it ended, 5.000 s after it sent an HTTP/2 PING by its length";
    assert_eq!(closed(None, sent), ping);
    let in_tls = |of: &mut Evidence| {
        of.protocol = Some(Protocol::H2);
        of.tls = true;
        of.wire.sendings = times_of([95.0, 96.0]);
        of.wire.length = 39;
    };
    assert_eq!(closed(None, in_tls), ping);
    let longer = |of: &mut Evidence| {
        of.protocol = Some(Protocol::H2);
        of.wire.sendings = times_of([95.0, 96.0]);
        of.wire.length = 39;
    };
    assert_eq!(
        closed(None, longer),
        "it ended, 5.000 s after it sent what nobody acknowledged"
    );
}
