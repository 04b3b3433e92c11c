//! What made a program close a connection: its own affair, but how long after what it did so tells its limits.

use std::time::Duration;

use super::super::evidence::{Evidence, LastRequest};
use super::super::index::{AT_ONCE, TICK};
use super::{Judged, found, unanswered_for, unanswered_syn};
use crate::plan::units::exact;
use crate::plan::{Cause, Protocol};

/// An HTTP/2 PING: 9 bytes of header and 8 of payload (RFC 9113, 6.7).
const PING: u32 = 17;
/// What a record of TLS 1.3 adds to what it carries: header, type and tag (RFC 8446, 5.2).
const TLS_RECORD: u32 = 5 + 1 + 16;

pub(super) fn closed(e: &Evidence) -> Judged {
    if !e.program {
        return Err(format!("{}, but a client of ours says why", e.end.text));
    }
    if unanswered_syn(e).is_ok() {
        let waited = e.ended.saturating_sub(e.began.unwrap_or(e.ended));
        let text = unanswered_for(e, waited);
        // The kernel goes on for longer: this was a limit of the program's own, of one kind or the other.
        let by_socket = |limit: &Duration| waited + TICK >= *limit && waited <= *limit + *limit / 8;
        let text = match e.user_timeout.filter(by_socket) {
            Some(limit) => format!("{text}; its TCP_USER_TIMEOUT is {}", exact(limit)),
            None => text,
        };
        return found(Cause::DialTimeout, text);
    }
    let mut told = vec![e.end.text.clone()];
    told.extend(after_request(e));
    told.extend(after_sending(e));
    if let Some(read) = e
        .socket
        .last_read
        .filter(|read| e.opened.is_none_or(|at| *read > at))
    {
        told.push(format!(
            "{} after the last data that it received",
            after(e, read)
        ));
    }
    found(Cause::ClosedByClient, told.join(", "))
}

/// How long after its last request, or the answer to it.
fn after_request(e: &Evidence) -> Option<String> {
    let request = e.last_request?;
    let number = request.number;
    Some(match request.answered {
        Some(at) => format!("{} after the answer to its request {number}", after(e, at)),
        None => format!("{} after its request {number}", after(e, sent(e, request))),
    })
}

/// When a request was sent: a server receives it by half a round trip later, and the socket knows.
fn sent(e: &Evidence, request: LastRequest) -> Duration {
    let own = e.socket.last_sent.filter(|own| *own <= request.sent);
    own.filter(|own| request.sent.saturating_sub(*own) <= AT_ONCE)
        .unwrap_or(request.sent)
}

/// How long after it sent what nobody acknowledged, or else what it sent last, where that was no request.
fn after_sending(e: &Evidence) -> Option<String> {
    let request = e.last_request.map(|request| request.sent);
    let is_request = |at: Duration| request.is_some_and(|sent| sent.abs_diff(at) <= AT_ONCE);
    if let Some(first) = e.wire.sendings.first() {
        let what = match () {
            () if is_request(*first) => return None,
            () if is_ping(e) => "an HTTP/2 PING by its length",
            () => "what nobody acknowledged",
        };
        return Some(format!("{} after it sent {what}", after(e, *first)));
    }
    let sent = e.socket.last_sent?;
    // What went out as it closed (TLS has an alert for that) is no wait.
    let waited = sent + TICK < e.ended && e.opened.is_none_or(|at| sent > at);
    (waited && !is_request(sent))
        .then(|| format!("{} after the last data that it sent", after(e, sent)))
}

fn is_ping(e: &Evidence) -> bool {
    let length = if e.tls { PING + TLS_RECORD } else { PING };
    e.protocol == Some(Protocol::H2) && e.wire.length == length
}

/// From `since` to the end. Where that was found by looking, both looks; where they lie a tick apart, what lies between them,
/// to the tick.
fn after(e: &Evidence, since: Duration) -> String {
    let text = |at: Duration| format!("{:.3} s", at.saturating_sub(since).as_secs_f64());
    match e.end.not_before {
        None => text(e.ended),
        Some(earliest) if e.ended.saturating_sub(earliest) <= TICK => {
            let between = earliest + e.ended.saturating_sub(earliest) / 2;
            format!("{:.2} s", between.saturating_sub(since).as_secs_f64())
        }
        Some(earliest) => format!("between {} and {}", text(earliest), text(e.ended)),
    }
}
