//! What a client spent on connections to servers that live, on a path that loses some packets: waits that ended without an answer,
//! and what is read of a response that goes on; and how much of that passed between sendings of one segment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::client_record::ClientRecord;
use super::connections::Connection;
use super::index::Index;
use crate::record::Segment;
use crate::result::{Part, PartKind};

/// The spans of all requests, each from its sending, or from its answer if that goes on, to its end.
pub(super) fn spans(record: &ClientRecord, last: Duration) -> Vec<Part> {
    let mut all = Vec::new();
    for (number, request) in &record.requests.by_number {
        let ended = request.outcome.map_or(last, |(at, _)| at.at);
        for (nth, (sent, id)) in request.sent.iter().enumerate() {
            let next = request.sent.get(nth + 1).map(|(at, _)| at.at);
            let lives = |connection: &&Connection| {
                let to = connection.endpoint.as_ref();
                to.is_some_and(|to| record.index.timeline.answers(to.node, &to.name, *sent))
            };
            let Some(connection) = record.connection(*id).filter(lives) else {
                continue;
            };
            let answered = request.first_good().filter(|(at, _)| at >= sent);
            let (from, begins_with) = match answered {
                Some((at, what)) => (at.at, format!("{what} {number}")),
                None => (sent.at, format!("request {number} on connection {id}")),
            };
            let lost = connection.ended().map(|at| at.at);
            let to = [next, lost, Some(ended)].into_iter().flatten().min();
            all.push(Part {
                kind: PartKind::LiveConnection,
                from,
                to: to.unwrap_or(last),
                connection: Some(*id),
                begins_with,
                ends_with: format!("the end of request {number}"),
                retransmitting: None,
            });
        }
    }
    all
}

/// How much of a part passed between the first and the last sending of a segment of its connection, either way.
pub(super) fn retransmitting(record: &ClientRecord, part: &Part) -> Option<Duration> {
    let connection = record.connection(part.connection?)?;
    let local = connection.local?;
    let began = connection.began()?.at;
    let mut waits = waits(record.index, local, began, part.to);
    waits.sort();
    let mut sum = Duration::ZERO;
    let mut until = part.from;
    for (from, to) in waits {
        let (from, to) = (from.max(until), to.min(part.to));
        if to > from {
            sum += to - from;
            until = to;
        }
    }
    Some(sum)
}

/// From the first to the last sending of each segment that was sent again.
fn waits(
    index: &Index,
    local: SocketAddr,
    from: Duration,
    to: Duration,
) -> Vec<(Duration, Duration)> {
    let mut by_segment: HashMap<(bool, u32), (Duration, Duration)> = HashMap::new();
    let mut see = |out: bool, segment: &Segment| {
        let at = Duration::from_nanos(segment.stamp_ns);
        let (_, last) = by_segment.entry((out, segment.seq)).or_insert((at, at));
        *last = (*last).max(at);
    };
    for (_, segment) in index.sent_from(local, from, to) {
        see(true, segment);
    }
    for (_, segment) in index.sent_to(local, from, to) {
        see(false, segment);
    }
    let again = by_segment.into_values().filter(|(from, to)| to > from);
    again.collect()
}
