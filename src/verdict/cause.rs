//! What ended a connection, from the evidence.
//!
//! ETIMEDOUT is the same for a retransmission timeout, keepalive and TCP_USER_TIMEOUT; what tells them apart is the
//! socket's last TCP_INFO. Evidence that is missing, or that does not fit the mechanism it points to, gives
//! [`Cause::Unknown`]: a cause named here could have been no other.

use std::time::Duration;

use crate::plan::{Cause, Keepalive};
use crate::record::{ConnectionEnd, EndedBy, TcpInfo};

use super::units;

/// Jiffies round TCP_INFO's ages: one tick of the slowest kernel (HZ=100).
const TICK: Duration = Duration::from_millis(10);
/// TCP_CLOSE: what a socket reads once the kernel has given it up.
const STATE_CLOSE: u8 = 7;

/// What is known of a connection besides its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances {
    /// It had been opened: its end is not a dial's.
    pub opened: bool,
    /// It is shaken hands with TLS, so that a dial can end on an established connection.
    pub tls: bool,
    /// TCP keepalive of its socket.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT of its socket.
    pub user_timeout: Option<Duration>,
    /// The least time the kernel retransmits before it gives up, from the first retransmission.
    pub gives_up_after: Duration,
    /// A request of the client timed out during the dial.
    pub request_timed_out: bool,
}

/// A cause, and the evidence in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The mechanism.
    pub cause: Cause,
    /// What says so, or what is missing.
    pub evidence: String,
}

/// What ended a connection or a dial.
#[must_use]
pub fn of_end(end: &ConnectionEnd, known: &Circumstances) -> Found {
    let cause = match end.by {
        EndedBy::Kernel => return of_errno(end, known),
        EndedBy::Cancelled if known.request_timed_out => Cause::RequestTimeout,
        EndedBy::Cancelled | EndedBy::Protocol => Cause::Unknown,
        EndedBy::Peer => Cause::ClosedByPeer,
        EndedBy::RequestTimeout => Cause::RequestTimeout,
        EndedBy::ReadTimeout => Cause::ReadTimeout,
        EndedBy::PingTimeout => Cause::PingTimeout,
        EndedBy::IdleTimeout => Cause::IdleTimeout,
        EndedBy::HeartbeatFailure => Cause::HeartbeatFailure,
        EndedBy::Client => Cause::ClosedByClient,
        EndedBy::DialTimeout | EndedBy::TlsTimeout => Cause::DialTimeout,
        EndedBy::CaseEnd => Cause::Never,
    };
    let evidence = end.text.clone();
    Found { cause, evidence }
}

fn of_errno(end: &ConnectionEnd, known: &Circumstances) -> Found {
    let direct = |cause| Found {
        cause,
        evidence: end.text.clone(),
    };
    match end.errno {
        Some(libc::ETIMEDOUT) => of_timeout(end, known),
        // A program's own: only it was told the error. What no packet explains can only be a timer.
        None if end.tcp_info.is_some() => of_timeout(end, known),
        Some(libc::ECONNRESET) => direct(Cause::Reset),
        Some(libc::ECONNREFUSED) => direct(Cause::Refused),
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => direct(Cause::Unreachable),
        _ => direct(Cause::Unknown),
    }
}

/// Which timer ended it.
fn of_timeout(end: &ConnectionEnd, known: &Circumstances) -> Found {
    let Some(info) = &end.tcp_info else {
        // Without TLS a dial is over with the handshake, so its timeout can only be that of the SYNs.
        let cause = if known.opened || known.tls {
            Cause::Unknown
        } else {
            Cause::DialTimeout
        };
        let evidence = String::from("ETIMEDOUT, and the socket's TCP_INFO is missing");
        return Found { cause, evidence };
    };
    // A round trip is measured once the SYN is answered.
    let established = known.opened || info.rtt_us > 0;
    let cause = if established {
        of_established(info, known)
    } else {
        Cause::DialTimeout
    };
    let error = if end.errno.is_some() {
        "ETIMEDOUT"
    } else {
        &end.text
    };
    Found {
        cause,
        evidence: describe(error, info),
    }
}

fn of_established(info: &TcpInfo, known: &Circumstances) -> Cause {
    if info.state != STATE_CLOSE {
        return Cause::Unknown;
    }
    let unanswered = milliseconds(info.last_ack_recv_ms);
    let silent = unanswered.min(milliseconds(info.last_data_recv_ms));
    if info.retransmits > 0 {
        of_retransmissions(info, unanswered, known)
    } else if info.probes > 0 && info.unacked == 0 {
        of_probes(info, silent, known)
    } else {
        Cause::Unknown
    }
}

/// The retransmission timer ruled: nothing else ends a connection with data unacknowledged.
fn of_retransmissions(info: &TcpInfo, unanswered: Duration, known: &Circumstances) -> Cause {
    // Keepalive probes may have been under way when the data was sent, but not all of them.
    let contradicted = known
        .keepalive
        .is_some_and(|k| u32::from(info.probes) >= k.count);
    // With TCP_USER_TIMEOUT the kernel looks at it alone, and not at tcp_retries2.
    let (cause, least) = match known.user_timeout {
        Some(timeout) => (Cause::UserTimeout, timeout),
        None => (Cause::RetransmissionTimeout, known.gives_up_after),
    };
    if contradicted || unanswered + TICK < least {
        Cause::Unknown
    } else {
        cause
    }
}

/// The keepalive timer ruled: nothing was unacknowledged.
fn of_probes(info: &TcpInfo, silent: Duration, known: &Circumstances) -> Cause {
    let Some(keepalive) = known.keepalive else {
        // It may be off, or unknown. Probes of a zero window look the same.
        return Cause::Unknown;
    };
    // With TCP_USER_TIMEOUT the count is ignored.
    let (cause, count, least) = match known.user_timeout {
        Some(timeout) => (Cause::UserTimeout, 1, timeout),
        None => {
            let least = keepalive.idle + keepalive.interval * keepalive.count;
            (Cause::Keepalive, keepalive.count, least)
        }
    };
    if u32::from(info.probes) >= count && silent + TICK >= least {
        cause
    } else {
        Cause::Unknown
    }
}

fn describe(error: &str, info: &TcpInfo) -> String {
    format!(
        "{error} after {} retransmissions and {} unanswered probes, {} after the last acknowledgement",
        info.retransmits,
        info.probes,
        units::measured(milliseconds(info.last_ack_recv_ms)),
    )
}

fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout_model::TcpSysctls;

    fn timed_out(info: TcpInfo) -> ConnectionEnd {
        ConnectionEnd {
            by: EndedBy::Kernel,
            errno: Some(libc::ETIMEDOUT),
            tcp_info: Some(info),
            text: String::from("Connection timed out (os error 110)"),
        }
    }

    fn retransmitted() -> TcpInfo {
        TcpInfo {
            state: STATE_CLOSE,
            retransmits: 15,
            rtt_us: 40,
            last_data_recv_ms: 930_000,
            last_ack_recv_ms: 930_000,
            ..TcpInfo::default()
        }
    }

    fn probed(probes: u8, silent_ms: u32) -> TcpInfo {
        TcpInfo {
            state: STATE_CLOSE,
            probes,
            rtt_us: 40,
            last_data_recv_ms: silent_ms,
            last_ack_recv_ms: silent_ms,
            ..TcpInfo::default()
        }
    }

    fn opened() -> Circumstances {
        Circumstances {
            opened: true,
            gives_up_after: TcpSysctls::default().retransmission_bound(),
            ..Circumstances::default()
        }
    }

    fn with_keepalive() -> Circumstances {
        Circumstances {
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(15),
                interval: Duration::from_secs(15),
                count: 9,
            }),
            ..opened()
        }
    }

    fn cause(info: TcpInfo, known: &Circumstances) -> Cause {
        of_end(&timed_out(info), known).cause
    }

    #[test]
    fn retransmissions_for_long_enough_are_a_retransmission_timeout() {
        assert_eq!(
            cause(retransmitted(), &opened()),
            Cause::RetransmissionTimeout
        );
        assert_eq!(
            cause(retransmitted(), &with_keepalive()),
            Cause::RetransmissionTimeout
        );
    }

    #[test]
    fn retransmissions_for_less_than_the_bound_are_unknown() {
        let early = TcpInfo {
            last_ack_recv_ms: 300_000,
            ..retransmitted()
        };
        assert_eq!(cause(early, &opened()), Cause::Unknown);
    }

    #[test]
    fn all_probes_unanswered_is_keepalive() {
        assert_eq!(
            cause(probed(9, 150_000), &with_keepalive()),
            Cause::Keepalive
        );
        assert_eq!(cause(probed(8, 150_000), &with_keepalive()), Cause::Unknown);
        assert_eq!(cause(probed(9, 100_000), &with_keepalive()), Cause::Unknown);
        assert_eq!(cause(probed(9, 150_000), &opened()), Cause::Unknown);
    }

    #[test]
    fn probes_and_retransmissions_both_complete_contradict_each_other() {
        let both = TcpInfo {
            probes: 9,
            ..retransmitted()
        };
        assert_eq!(cause(both, &with_keepalive()), Cause::Unknown);
    }

    #[test]
    fn the_user_timeout_rules_over_both() {
        let known = Circumstances {
            user_timeout: Some(Duration::from_secs(30)),
            ..with_keepalive()
        };
        let data = TcpInfo {
            retransmits: 7,
            last_ack_recv_ms: 30_200,
            ..retransmitted()
        };
        assert_eq!(cause(data, &known), Cause::UserTimeout);
        assert_eq!(cause(probed(2, 45_000), &known), Cause::UserTimeout);
        assert_eq!(cause(probed(1, 15_000), &known), Cause::Unknown);
    }

    #[test]
    fn a_socket_that_lives_did_not_time_out() {
        let alive = TcpInfo {
            state: 1,
            ..retransmitted()
        };
        assert_eq!(cause(alive, &opened()), Cause::Unknown);
    }

    #[test]
    fn a_dials_timeout_is_told_from_that_of_its_tls_handshake() {
        let dial = Circumstances {
            opened: false,
            tls: true,
            ..opened()
        };
        let syn = TcpInfo {
            state: STATE_CLOSE,
            retransmits: 6,
            ..TcpInfo::default()
        };
        assert_eq!(cause(syn, &dial), Cause::DialTimeout);
        assert_eq!(cause(retransmitted(), &dial), Cause::RetransmissionTimeout);
    }

    #[test]
    fn without_tcp_info_only_a_dial_in_clear_text_is_known() {
        let bare = ConnectionEnd {
            tcp_info: None,
            ..timed_out(retransmitted())
        };
        let dial = Circumstances::default();
        let tls = Circumstances {
            tls: true,
            ..Circumstances::default()
        };
        assert_eq!(of_end(&bare, &opened()).cause, Cause::Unknown);
        assert_eq!(of_end(&bare, &dial).cause, Cause::DialTimeout);
        assert_eq!(of_end(&bare, &tls).cause, Cause::Unknown);
    }

    #[test]
    fn a_program_s_connection_is_told_by_its_tcp_info_alone() {
        let by_program = |info| ConnectionEnd {
            errno: None,
            ..timed_out(info)
        };
        let unknown = opened();
        let cause = |info, known: &Circumstances| of_end(&by_program(info), known).cause;
        assert_eq!(
            cause(retransmitted(), &unknown),
            Cause::RetransmissionTimeout
        );
        let early = TcpInfo {
            last_ack_recv_ms: 30_000,
            ..retransmitted()
        };
        assert_eq!(cause(early, &unknown), Cause::Unknown);
        assert_eq!(cause(probed(9, 150_000), &unknown), Cause::Unknown);
        assert_eq!(
            cause(probed(9, 150_000), &with_keepalive()),
            Cause::Keepalive
        );
        let closed = ConnectionEnd {
            by: EndedBy::Client,
            ..by_program(retransmitted())
        };
        assert_eq!(of_end(&closed, &unknown).cause, Cause::ClosedByClient);
    }

    #[test]
    fn a_cancelled_dial_is_a_request_timeout_only_if_one_was_seen() {
        let cancelled = ConnectionEnd {
            by: EndedBy::Cancelled,
            ..timed_out(retransmitted())
        };
        let timed_out = Circumstances {
            request_timed_out: true,
            ..Circumstances::default()
        };
        assert_eq!(of_end(&cancelled, &timed_out).cause, Cause::RequestTimeout);
        assert_eq!(
            of_end(&cancelled, &Circumstances::default()).cause,
            Cause::Unknown
        );
    }
}
