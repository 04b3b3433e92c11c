//! An outage in its parts, each of which lies between two events that were observed independently of each other.
//!
//! Nothing is tiled over: what lies between no two such events stays unexplained, and is told.

use std::collections::VecDeque;
use std::time::Duration;

use super::client_record::ClientRecord;
use super::connections::Connection;
use super::index::AT_ONCE;
use super::living;
use super::outages::Outage;
use super::request::Outcome;
use super::signs::Signs;
use super::timeline::{Injected, Moment};
use crate::result::{Part, PartKind};

/// What a busy machine may add to a client's pause.
const LATE: Duration = Duration::from_millis(250);

/// An outage's parts, from the fault to the recovery or the case's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// In order of time.
    pub parts: Vec<Part>,
    /// What of the outage lies in none.
    pub unexplained: Duration,
}

/// The parts of an outage until a time.
pub(super) fn of(record: &ClientRecord, outage: &Outage, until: Duration) -> Parts {
    let fault = outage.fault;
    let sorting = Sorting {
        record,
        window: (fault.at.at, until),
        signs: Signs::of(record),
    };
    let mut spans = Vec::new();
    for connection in record.connections {
        let own = outage
            .waited_on
            .is_some_and(|dead| dead.id == connection.id);
        spans.extend(sorting.waiting(connection, own.then_some(fault.at)));
        spans.extend(sorting.dialling(connection, fault.at));
    }
    spans.extend(sorting.responses());
    spans.extend(sorting.pauses());
    spans.extend(living::spans(record, until));
    let swept = sweep(spans, (fault.at.at, in_force(fault)), until);
    let mut parts = sorting.split_by_removal(swept);
    let live = |part: &&mut Part| part.kind == PartKind::LiveConnection;
    for part in parts.parts.iter_mut().filter(live) {
        part.retransmitting = living::retransmitting(record, part);
    }
    parts
}

fn in_force(fault: &Injected) -> String {
    format!("{} in force", fault.fault)
}

/// What a client did, and when.
struct Sorting<'r, 't, 'a> {
    record: &'r ClientRecord<'t, 'a>,
    /// The outage's beginning and end: of what lies wholly beside it no part is made.
    window: (Duration, Duration),
    signs: Signs,
}

impl Sorting<'_, '_, '_> {
    /// Whether something lies in the outage, at least in part.
    fn matters(&self, from: Duration, to: Duration) -> bool {
        to > self.window.0 && from <= self.window.1
    }

    /// The time that a client spent on a connection whose endpoint had no power: since the fault that took it if the
    /// client's requests waited on it then, else since the first request that was handed to it.
    fn waiting(&self, connection: &Connection, struck: Option<Moment>) -> Option<Part> {
        let opened = connection.opened?;
        let to = connection.endpoint.as_ref()?;
        let silent = self.record.index.timeline.silent_from(to.node, &to.name);
        let lost = silent.or(struck)?;
        let handed = || {
            let handed = self.record.requests.handed_to(connection.id);
            handed.filter(|at| *at > lost).min()
        };
        let (from, begins_with) = match struck {
            Some(fault) if opened < fault => (fault.at, self.fault_at(fault)),
            // One that was opened afterwards is well, unless only a kernel answered for a program that does nothing.
            _ if opened > lost
                && self
                    .record
                    .index
                    .timeline
                    .answers(to.node, &to.name, opened) =>
            {
                return None;
            }
            _ => {
                let id = connection.id;
                (handed()?.at, format!("a request handed to connection {id}"))
            }
        };
        let (to, ends_with) = self.end_of(connection);
        Some(Part {
            kind: PartKind::DeadConnection,
            from,
            to,
            connection: Some(connection.id),
            begins_with,
            ends_with,
            retransmitting: None,
        })
    }

    fn fault_at(&self, at: Moment) -> String {
        let mut faults = self.record.index.timeline.faults.iter();
        let fault = faults.find(|fault| fault.at == at);
        fault.map_or_else(String::new, in_force)
    }

    fn end_of(&self, connection: &Connection) -> (Duration, String) {
        let cause = self.record.cause(connection);
        let id = connection.id;
        match connection.ended() {
            Some(at) if connection.dial_failed => (at.at, format!("dial {id} given up: {cause}")),
            Some(at) => (at.at, format!("connection {id} closed: {cause}")),
            None => (Duration::MAX, String::from("the end of the case")),
        }
    }

    /// A dial, from its SYN on the wire.
    fn dialling(&self, connection: &Connection, fault: Moment) -> Option<Part> {
        let endpoint = connection.endpoint.as_ref()?;
        let began = connection.began()?;
        let (from, begins_with) = match connection.syn(self.record.index) {
            _ if began < fault => (fault.at, self.fault_at(fault)),
            Some(syn) => (
                Duration::from_nanos(syn.stamp_ns),
                format!(
                    "SYN of dial {} to {} on the wire",
                    connection.id, endpoint.name
                ),
            ),
            None => (
                began.at,
                format!("dial {} to {}", connection.id, endpoint.name),
            ),
        };
        let (kind, to, ends_with) = match connection.opened {
            Some(at) => {
                let text = format!("connection {} accepted by {}", connection.id, endpoint.name);
                (
                    PartKind::Handshake,
                    self.accepted(connection).unwrap_or(at.at),
                    text,
                )
            }
            None => {
                let (to, text) = self.end_of(connection);
                (PartKind::DeadDial, to, text)
            }
        };
        Some(Part {
            kind,
            from,
            to,
            connection: Some(connection.id),
            begins_with,
            ends_with,
            retransmitting: None,
        })
    }

    /// When a program's connection was shaken hands: by its server, since the program says nothing.
    fn accepted(&self, connection: &Connection) -> Option<Duration> {
        self.record.client.program()?;
        let (local, opened) = (connection.local?, connection.opened?);
        let began = connection.began()?;
        let mut accepted = self.record.index.accepted(local).iter();
        let (at, _) = accepted.find(|(at, _)| *at >= began)?;
        Some(at.at.max(opened.at))
    }

    /// Requests that a live server answered, by its own record too.
    fn responses(&self) -> impl Iterator<Item = Part> {
        let whose = match self.record.client.program() {
            Some(_) => "received by a server",
            None => "handed over",
        };
        let requests = self.record.requests.by_number.iter();
        requests.filter_map(move |(number, request)| {
            let (at, what) = request.first_good()?;
            let (sent, connection) = request.sent.last()?;
            self.matters(sent.at, at.at).then(|| Part {
                kind: PartKind::Response,
                from: sent.at,
                to: at.at,
                connection: Some(*connection),
                begins_with: format!("request {number} {whose} on connection {connection}"),
                ends_with: format!("{what} {number}, which its server recorded too"),
                retransmitting: None,
            })
        })
    }

    /// The pauses after the fault: from the end of a try until the first sign of the next one, if no longer than the
    /// client pauses by its plan.
    fn pauses(&self) -> Vec<Part> {
        let mut pauses = match self.record.client.program() {
            Some(_) => Vec::new(),
            None => self.workload_pauses(),
        };
        pauses.extend(self.pauses_after_connections());
        pauses
    }

    fn workload_pauses(&self) -> Vec<Part> {
        let longest = self.record.client.workloads.longest_pause() + LATE;
        let requests = self.record.requests.by_number.iter();
        let pauses = requests.filter_map(|(number, request)| {
            let (at, outcome) = request.outcome?;
            let how = match outcome {
                Outcome::Answered { .. } | Outcome::Claimed => "response to",
                Outcome::Failed(_) => "failure of",
                Outcome::HealthyCut => "cut of",
                Outcome::Unfinished | Outcome::CutShort | Outcome::GoesOn => return None,
            };
            self.pause(at, longest, || format!("{how} request {number}"))
        });
        pauses.collect()
    }

    /// Of a transport that tries again by itself after a back-off; and of a program, of which only its sockets are
    /// known.
    fn pauses_after_connections(&self) -> Vec<Part> {
        let client = self.record.client;
        let longest = match client.program() {
            Some(_) => Duration::MAX,
            None if client.transport.retry.attempts == 0 => return Vec::new(),
            // Tokio's timers count whole milliseconds, one more for a pause of none.
            None => client.transport.retry.backoff + AT_ONCE,
        };
        let pauses = self.record.connections.iter().filter_map(|connection| {
            self.pause(connection.ended()?, longest, || self.end_of(connection).1)
        });
        pauses.collect()
    }

    fn pause(
        &self,
        from: Moment,
        longest: Duration,
        begins_with: impl FnOnce() -> String,
    ) -> Option<Part> {
        let next = self.signs.after(from);
        let to = next.map_or(self.record.index.last, |(next, _)| next.at);
        let lasted = to.saturating_sub(from.at);
        (lasted <= longest && self.matters(from.at, to)).then(|| Part {
            kind: PartKind::Backoff,
            from: from.at,
            to,
            connection: None,
            begins_with: begins_with(),
            ends_with: match next {
                Some((_, sign)) => sign.text(),
                None => String::from("the end of the case"),
            },
            retransmitting: None,
        })
    }

    /// Of each dial of a dead endpoint, what lies before the endpoint left the rules is due to them.
    fn split_by_removal(&self, parts: Parts) -> Parts {
        let each = parts.parts.into_iter();
        let split = each.flat_map(|part| match part.kind == PartKind::DeadDial {
            true => self.split(part),
            false => vec![part],
        });
        Parts {
            parts: split.collect(),
            ..parts
        }
    }

    fn split(&self, dial: Part) -> Vec<Part> {
        let (record, index) = (self.record, self.record.index);
        let connection = dial.connection.and_then(|id| record.connection(id));
        let endpoint = connection.and_then(|c| c.endpoint.as_ref());
        let (Some(service), Some(endpoint)) = (&record.client.target.service, endpoint) else {
            return vec![dial];
        };
        let mut services = index.case.lab.services.iter();
        let behind = services
            .find(|s| s.name == *service)
            .is_some_and(|s| s.endpoints.iter().any(|e| e.server == endpoint.name));
        let died = index.timeline.silent_from(endpoint.node, &endpoint.name);
        if !behind || died.is_none() {
            return vec![dial];
        }
        let by_rules = |part: Part| Part {
            kind: PartKind::EndpointRemoval,
            ..part
        };
        match index.removal(service, &endpoint.name, &record.client.node, dial.from) {
            Some(at) if at <= dial.from => vec![dial],
            Some(at) if at < dial.to => {
                let text = format!("{} left the rules of {service}", endpoint.name);
                let first = Part {
                    to: at,
                    ends_with: text.clone(),
                    ..dial.clone()
                };
                let rest = Part {
                    from: at,
                    begins_with: text,
                    ..dial
                };
                vec![by_rules(first), rest]
            }
            Some(_) | None => vec![by_rules(dial)],
        }
    }
}

/// Spans of one kind, by their beginnings.
struct OfKind {
    spans: VecDeque<Part>,
}

impl OfKind {
    /// The first that is not over at a time.
    fn at(&mut self, cursor: Duration) -> Option<&Part> {
        while self.spans.front().is_some_and(|part| part.to <= cursor) {
            self.spans.pop_front();
        }
        self.spans.front()
    }
}

/// Goes through an outage from its beginning to `until`. Of parts that overlap, the kind that comes first in
/// [`PartKind`] is taken: what a client waits on, not what else it has.
fn sweep(mut spans: Vec<Part>, (from, begins_with): (Duration, String), until: Duration) -> Parts {
    spans.retain(|part| part.to > from && part.from <= until);
    spans.sort_by_key(|part| (part.kind, part.from));
    let of_kind = spans.chunk_by(|a, b| a.kind == b.kind);
    let of_kind = of_kind.map(|spans| OfKind {
        spans: spans.to_vec().into(),
    });
    let mut kinds: Vec<OfKind> = of_kind.collect();
    let (mut cursor, mut last_event) = (from, begins_with);
    let mut swept = Parts {
        parts: Vec::new(),
        unexplained: Duration::ZERO,
    };
    while cursor < until {
        // The first kind with something now, and what of the kinds before it, or of all, comes next.
        let (mut here, mut next) = (None, None::<&Part>);
        for kind in &mut kinds {
            match kind.at(cursor) {
                Some(part) if part.from <= cursor => {
                    here = Some(part);
                    break;
                }
                Some(part) if next.is_none_or(|next| part.from < next.from) => next = Some(part),
                Some(_) | None => {}
            }
        }
        let Some(here) = here else {
            let next = next.map_or(until, |part| part.from.min(until));
            swept.unexplained += next - cursor;
            cursor = next;
            last_event = String::new();
            continue;
        };
        let mut part = here.clone();
        if part.from < cursor {
            part.from = cursor;
            if !last_event.is_empty() {
                part.begins_with.clone_from(&last_event);
            }
        }
        // Something that matters more may begin meanwhile.
        if let Some(before) = next.filter(|before| before.from < part.to) {
            part.to = before.from;
            part.ends_with.clone_from(&before.begins_with);
        }
        if part.to > until {
            part.to = until;
            part.ends_with = String::from("the end of the case");
        }
        cursor = part.to;
        last_event.clone_from(&part.ends_with);
        swept.parts.push(part);
    }
    swept
}
