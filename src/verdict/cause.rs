//! What ended a connection, from the evidence.
//!
//! No single word is believed: what the client or the kernel gives as the end must agree with what was seen otherwise
//! (TCP_INFO, packets, the socket's timer, options and sysctls, requests and PINGs, the server's own record). Evidence
//! that is missing, or that contradicts itself, gives [`Cause::Unknown`] and says which: a cause named here could have
//! been no other.

mod kernel;
mod program;
mod window;

use std::time::Duration;

use crate::plan::{Cause, IdleCheck, Protocol, TimeoutEnds};
use crate::record::EndedBy;

use super::evidence::Evidence;
use crate::plan::units::{exact, measured};

/// TCP_CLOSE: what a socket reads once the kernel has given it up.
const STATE_CLOSE: u8 = 7;
/// Tokio's timers count whole milliseconds, and the event before them may lag by as much.
const EARLY: Duration = Duration::from_millis(5);
/// What a busy machine may add to a client's own timer.
const LATE: Duration = Duration::from_millis(250);

/// What ended a connection, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// The mechanism.
    pub cause: Cause,
    /// The evidence in one line; of an unknown cause, what is missing or contradicts.
    pub evidence: String,
}

impl Diagnosis {
    /// Of a cause that can't be told.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self {
            cause: Cause::Unknown,
            evidence: why.into(),
        }
    }
}

/// A diagnosis, or why there can be none.
type Judged = Result<Diagnosis, String>;

fn found(cause: Cause, evidence: impl Into<String>) -> Judged {
    let evidence = evidence.into();
    Ok(Diagnosis { cause, evidence })
}

/// What ended a connection or a dial, if its end was recorded.
pub(super) fn of(evidence: Option<Evidence>) -> Diagnosis {
    let Some(e) = &evidence else {
        return Diagnosis::unknown("its end was not recorded");
    };
    let judged = match e.end.by {
        EndedBy::Kernel => kernel::of(e),
        EndedBy::Peer => closed_by_peer(e),
        EndedBy::Client => program::closed(e),
        EndedBy::RequestTimeout => request_timeout(e),
        EndedBy::ReadTimeout => read_timeout(e),
        EndedBy::PingTimeout => ping_timeout(e),
        EndedBy::IdleTimeout => idle_timeout(e),
        EndedBy::HeartbeatFailure => heartbeat_failure(e),
        EndedBy::DialTimeout => dial_timeout(e),
        EndedBy::TlsTimeout => tls_timeout(e),
        EndedBy::CaseEnd => never(e),
        EndedBy::Protocol => Err(e.end.text.clone()),
    };
    judged.unwrap_or_else(Diagnosis::unknown)
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
        Some(_) | None => Ok(()),
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

/// The same where the client does not look at that time but at its next request.
fn passed_at_least(
    what: &str,
    limit: Option<Duration>,
    since: Option<Duration>,
    e: &Evidence,
) -> Result<Duration, String> {
    let waited = since.map(|since| e.ended.saturating_sub(since));
    match (limit, waited) {
        (Some(limit), Some(waited)) if waited > limit + LATE => Ok(waited),
        // Too early, or as with a timer.
        _ => passed(what, limit, since, e),
    }
}

fn request_timeout(e: &Evidence) -> Judged {
    lives(e)?;
    let stream_alone = e.transport.timeout_ends == TimeoutEnds::Stream;
    if e.opened.is_some() && e.transport.protocol == Protocol::H2 && stream_alone {
        let text = &e.end.text;
        return Err(format!(
            "{text}, but with HTTP/2 that ends a request's stream alone"
        ));
    }
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
    let heard = last_heard(e);
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
    let heard = last_heard(e);
    let silent_since = heard.map_or(sent, |heard| heard.max(sent));
    let limit = e.transport.ping.map(|ping| ping.timeout);
    let after_timeout = e.transport.ping_after_timeout;
    // Further requests that time out while a PING is out send no other.
    // After a timeout it is the next request that finds the answer overdue.
    let overdue = || passed_at_least("PING timeout", after_timeout, Some(silent_since), e);
    let waited = match (limit, after_timeout) {
        (None, Some(_)) => overdue()?,
        _ => passed("PING timeout", limit, Some(silent_since), e).or_else(|_| overdue())?,
    };
    let text = format!("{}, {} after it went out", e.end.text, measured(waited));
    found(Cause::PingTimeout, text)
}

/// The client closes what is open when its heartbeats fail: one failed at that moment, and somebody else saw that it had
/// no good answer.
fn heartbeat_failure(e: &Evidence) -> Judged {
    lives(e)?;
    let doubt = |what: String| Err(format!("{}, but {what}", e.end.text));
    let Some(beat) = &e.failed_beat else {
        return doubt(String::from("no heartbeat was seen to fail then"));
    };
    let number = beat.number;
    if beat.failed < 2 {
        return doubt(format!("request {number} was the first heartbeat to fail"));
    }
    if e.transport.protocol == Protocol::H1 && beat.connection == Some(e.id) {
        return doubt(format!("with HTTP/1.1 request {number} ended it itself"));
    }
    let sent_and_heard = e.requests.last_sent.zip(last_heard(e));
    let seen = match (beat.answered, beat.refused) {
        (false, _) => format!("no server has an answer to request {number}"),
        (true, true) => format!("a server refused request {number}"),
        (true, false) if sent_and_heard.is_some_and(|(sent, heard)| heard < sent) => {
            String::from("its socket had received nothing since its last request")
        }
        (true, false) => return doubt(format!("a server answered request {number}")),
    };
    found(Cause::HeartbeatFailure, format!("{}: {seen}", e.end.text))
}

/// When the socket had received something last, by its own word.
fn last_heard(e: &Evidence) -> Option<Duration> {
    let info = e.end.tcp_info?;
    Some(e.ended.saturating_sub(milliseconds(info.last_data_recv_ms)))
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
    let limit = e.transport.idle_timeout;
    let waited = match e.transport.idle_check {
        IdleCheck::Timer => passed("idle timeout", limit, since, e)?,
        IdleCheck::NextRequest => passed_at_least("idle timeout", limit, since, e)?,
    };
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
    let closed = e.end.tcp_info.is_some_and(|info| info.state == STATE_CLOSE);
    if closed && !e.wire.peer_fin {
        let text = &e.end.text;
        return Err(format!(
            "{text}, but no FIN was seen, and its socket reads otherwise"
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
    let mut text = e.end.text.clone();
    if e.socket.window_closed.is_some() {
        let probed = times(e.wire.all_probes.len());
        text += &format!("; its peer's window is closed, and it was probed {probed}");
    }
    found(Cause::Never, text)
}

/// How often, in words.
fn times(number: usize) -> String {
    match number {
        1 => String::from("once"),
        number => format!("{number} times"),
    }
}

/// Two clocks' readings of one instant, on a busy machine.
const AGREE: Duration = Duration::from_millis(150);

fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

#[cfg(test)]
mod tests;
