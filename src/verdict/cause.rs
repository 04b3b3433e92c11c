//! What ended a connection, from the evidence.
//!
//! No single word is believed: what the client or the kernel gives as the end must agree with what was seen otherwise
//! (TCP_INFO, packets, the socket's timer, options and sysctls, requests and PINGs, the server's own record). Evidence
//! that is missing, or that contradicts itself, gives [`Cause::Unknown`] and says which: a cause named here could have
//! been no other.

mod kernel;

use std::time::Duration;

use crate::plan::Cause;
use crate::record::EndedBy;

use super::evidence::Evidence;
use super::units::{exact, measured};

/// TCP_CLOSE: what a socket reads once the kernel has given it up.
const STATE_CLOSE: u8 = 7;
/// Tokio's timers count whole milliseconds, and the event before them may lag by as much.
const EARLY: Duration = Duration::from_millis(5);
/// What a busy machine may add to a client's own timer.
const LATE: Duration = Duration::from_millis(250);

/// A cause, and the evidence in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The mechanism.
    pub cause: Cause,
    /// What says so; of an unknown one, what is missing or contradicts.
    pub evidence: String,
}

/// A cause, or why none can be named.
type Judged = Result<Found, String>;

fn found(cause: Cause, evidence: impl Into<String>) -> Judged {
    let evidence = evidence.into();
    Ok(Found { cause, evidence })
}

/// What ended a connection or a dial.
pub(super) fn of(e: &Evidence) -> Found {
    let judged = match e.end.by {
        EndedBy::Kernel => kernel::of(e),
        EndedBy::Peer => closed_by_peer(e),
        EndedBy::Client => closed_by_client(e),
        EndedBy::RequestTimeout | EndedBy::Cancelled => request_timeout(e),
        EndedBy::ReadTimeout => read_timeout(e),
        EndedBy::PingTimeout => ping_timeout(e),
        EndedBy::IdleTimeout => idle_timeout(e),
        EndedBy::HeartbeatFailure => heartbeat_failure(e),
        EndedBy::DialTimeout => dial_timeout(e),
        EndedBy::TlsTimeout => tls_timeout(e),
        EndedBy::CaseEnd => never(e),
        EndedBy::Protocol => Err(e.end.text.clone()),
    };
    judged.unwrap_or_else(|evidence| Found {
        cause: Cause::Unknown,
        evidence,
    })
}

/// A client that says it ended its connection itself has a socket that lived until then.
fn lives(e: &Evidence) -> Result<(), String> {
    if e.program {
        return Err(format!(
            "{}: a program's own limits are not known",
            e.end.text
        ));
    }
    if e.end.errno.is_some() {
        return Err(format!("{}, but the socket has an error", e.end.text));
    }
    match e.end.tcp_info {
        Some(info) if info.state == STATE_CLOSE => Err(format!(
            "{}, but the kernel had given the socket up before",
            e.end.text
        )),
        Some(info) if info.state == 0 => Err(format!("{}: its TCP_INFO has no state", e.end.text)),
        _ => Ok(()),
    }
}

/// Holds a limit against the time that was seen to pass.
fn passed(
    what: &str,
    limit: Option<Duration>,
    since: Option<Duration>,
    e: &Evidence,
) -> Result<Duration, String> {
    let limit = limit.ok_or_else(|| format!("{}, but the client has no {what}", e.end.text))?;
    let since =
        since.ok_or_else(|| format!("{}, but what started its {what} was not seen", e.end.text))?;
    let waited = e.ended.saturating_sub(since);
    if waited + EARLY < limit || waited > limit + LATE {
        let (waited, limit) = (measured(waited), exact(limit));
        return Err(format!(
            "{}, but after {waited}: its {what} is {limit}",
            e.end.text
        ));
    }
    Ok(waited)
}

fn request_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    let limit = e.requests.limit;
    let since = e.requests.timed_out_since;
    if since.is_none() {
        return Err(format!(
            "{}, but no request failed by its timeout then",
            e.end.text
        ));
    }
    let waited = passed("request timeout", limit, since, e)?;
    let text = format!(
        "{}, {} after the request began",
        e.end.text,
        measured(waited)
    );
    found(Cause::RequestTimeout, text)
}

fn read_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    if e.dial || e.requests.timed_out_since.is_none() {
        return Err(format!("{}, but no request failed then", e.end.text));
    }
    let heard = e
        .end
        .tcp_info
        .map(|info| e.ended.saturating_sub(milliseconds(info.last_data_recv_ms)));
    let since = e
        .requests
        .last_sent
        .map(|sent| heard.map_or(sent, |heard| heard.max(sent)));
    let waited = passed("read timeout", e.transport.read_timeout, since, e)?;
    let text = format!("{}, {} after the request", e.end.text, measured(waited));
    found(Cause::ReadTimeout, text)
}

fn ping_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    let Some(sent) = e.ping_sent else {
        return Err(format!(
            "{}, but no PING was seen that waited for one",
            e.end.text
        ));
    };
    // The wait begins anew whenever something was read.
    let heard = e
        .end
        .tcp_info
        .map(|info| e.ended.saturating_sub(milliseconds(info.last_data_recv_ms)));
    let silent_since = heard.map_or(sent, |heard| heard.max(sent));
    let limit = e.transport.ping.map(|ping| ping.timeout);
    let after_timeout = e.transport.ping_after_timeout;
    let waited = match (limit, after_timeout) {
        (Some(_), None) => passed("PING timeout", limit, Some(silent_since), e)?,
        (None, Some(_)) => passed("PING timeout", after_timeout, e.requests.last_timeout, e)?,
        _ => passed("PING timeout", limit, Some(silent_since), e)
            .or_else(|_| passed("PING timeout", after_timeout, e.requests.last_timeout, e))?,
    };
    let text = format!("{}, {} after it went out", e.end.text, measured(waited));
    found(Cause::PingTimeout, text)
}

/// The client closes what is open when its heartbeats fail, so one must have failed at that moment.
fn heartbeat_failure(e: &Evidence) -> Judged {
    lives(e)?;
    found(Cause::HeartbeatFailure, e.end.text.clone())
}

fn idle_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    if e.dial {
        return Err(format!("{}, but it was never open", e.end.text));
    }
    if e.requests.last_sent > e.requests.last_over {
        return Err(format!("{}, but a request waited on it", e.end.text));
    }
    let since = e.requests.last_over.or(e.opened);
    let waited = passed("idle timeout", e.transport.idle_timeout, since, e)?;
    let text = format!(
        "{}, {} after its last request",
        e.end.text,
        measured(waited)
    );
    found(Cause::IdleTimeout, text)
}

fn dial_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    unanswered_syn(e)?;
    let waited = passed("dial timeout", e.transport.dial_timeout, e.began, e)?;
    found(Cause::DialTimeout, unanswered_for(e, waited))
}

/// What a dial in vain looked like.
fn unanswered_for(e: &Evidence, waited: Duration) -> String {
    let syns = match e.wire.syns.len() {
        1 => String::from("1 SYN"),
        number => format!("{number} SYNs"),
    };
    format!("{}: {syns} unanswered for {}", e.end.text, measured(waited))
}

fn tls_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    if !e.dial {
        return Err(format!("{}, but it had been opened", e.end.text));
    }
    let waited = passed("TLS timeout", e.transport.tls_timeout, e.wire.syn_acked, e)?;
    let text = format!(
        "{}, {} after its SYN was answered",
        e.end.text,
        measured(waited)
    );
    found(Cause::DialTimeout, text)
}

/// A dial that nobody answered.
fn unanswered_syn(e: &Evidence) -> Result<(), String> {
    let doubt = |what: &str| Err(format!("{}, but {what}", e.end.text));
    if !e.dial || e.opened.is_some() {
        return doubt("it had been opened");
    }
    if e.wire.syns.is_empty() {
        return doubt("no SYN of it was seen on the wire");
    }
    if e.wire.syn_acked.is_some() || e.end.tcp_info.is_some_and(|info| info.rtt_us > 0) {
        return doubt("its SYN was answered");
    }
    Ok(())
}

fn closed_by_peer(e: &Evidence) -> Judged {
    if e.end
        .tcp_info
        .is_some_and(|info| info.state == STATE_CLOSE && info.retransmits > 0)
    {
        return Err(format!(
            "{}, but the kernel had given the socket up",
            e.end.text
        ));
    }
    let seen = match (e.wire.peer_fin, e.server_closed) {
        (true, true) => "its FIN was seen, and the server has the end too",
        (true, false) => "its FIN was seen",
        (false, true) => "the server has the end too",
        (false, false) => {
            let text = &e.end.text;
            return Err(format!(
                "{text}, but no FIN was seen, and no server has its end"
            ));
        }
    };
    found(Cause::ClosedByPeer, format!("{}: {seen}", e.end.text))
}

fn closed_by_client(e: &Evidence) -> Judged {
    if !e.program {
        return Err(format!("{}, but a client of ours says why", e.end.text));
    }
    found(Cause::ClosedByClient, e.end.text.clone())
}

/// It was still there when the case was over.
fn never(e: &Evidence) -> Judged {
    if e.ended + EARLY < e.case_over {
        let over = exact(e.case_over);
        return Err(format!("{}, but the case goes on until {over}", e.end.text));
    }
    if e.end.tcp_info.is_some_and(|info| info.state == STATE_CLOSE) || e.end.errno.is_some() {
        return Err(format!(
            "{}, but the kernel had given the socket up",
            e.end.text
        ));
    }
    if e.wire.reset {
        return Err(format!("{}, but it was reset before", e.end.text));
    }
    found(Cause::Never, e.end.text.clone())
}

fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}
