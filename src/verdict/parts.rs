//! An outage in its parts, each of which lies between two events that were observed independently of each other.
//!
//! Nothing is tiled over: what lies between no two such events stays unexplained, and is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Cause, Client};
use crate::record::Observation;

use super::cause::Found;
use super::connections::Connection;
use super::evidence::Archive;
use super::requests::{Outcome, Requests};
use super::seconds;
use super::struck::Struck;
use super::timeline::{Moment, Timeline};

/// What a busy machine may add to a client's pause.
const LATE: Duration = Duration::from_millis(250);

/// Events that follow each other without a pause, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(50);

/// What a client did in a part of its outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// It waited on the dead connection.
    DeadConnection,
    /// It dialled a dead endpoint that the rules still named: what a faster removal would have saved.
    EndpointRemoval,
    /// It dialled a dead endpoint that no rule named any more, or that no rule ever stood before.
    DeadDial,
    /// It opened a connection to a live endpoint.
    Handshake,
    /// It waited for the response of a live server.
    Response,
    /// Nothing was in flight: its pause between two tries.
    Backoff,
}

impl PartKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadConnection => "dead_connection",
            Self::EndpointRemoval => "endpoint_removal",
            Self::DeadDial => "dead_dial",
            Self::Handshake => "handshake",
            Self::Response => "response",
            Self::Backoff => "backoff",
        }
    }
}

/// A part of an outage. Times are from the case's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it was.
    pub kind: PartKind,
    /// Its beginning.
    #[serde(rename = "from_s", with = "seconds")]
    pub from: Duration,
    /// Its end.
    #[serde(rename = "to_s", with = "seconds")]
    pub to: Duration,
    /// The connection it was spent on.
    pub connection: Option<u32>,
    /// The event it begins with.
    pub begins_with: String,
    /// The event it ends with.
    pub ends_with: String,
}

impl Part {
    /// How long it lasted.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// An outage, from the fault to the recovery or the case's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Its parts, in order of time.
    pub parts: Vec<Part>,
    /// What of it lies in no part.
    pub unexplained: Duration,
}

/// What is known of a client.
#[derive(Clone, Copy)]
pub(super) struct Known<'t, 'a> {
    pub client: &'a Client,
    pub timeline: &'t Timeline<'a>,
    pub archive: &'t Archive<'t, 'a>,
    pub connections: &'t [Connection<'a>],
    /// What ended each of the connections, in their order.
    pub causes: &'t [Found],
    pub requests: &'t Requests,
}

/// The parts of the outage that `struck` brought, until `until`.
pub(super) fn of(known: &Known, struck: &Struck, until: Duration) -> Option<Outage> {
    let fault = struck.fault?;
    let mut spans = Vec::new();
    for connection in known.connections {
        let own = struck.dead.is_some_and(|dead| dead.id == connection.id);
        spans.extend(known.waiting(connection, own.then_some(fault.at)));
        spans.extend(known.dialling(connection, fault.at));
    }
    let text = format!(
        "{} of {} in force",
        fault.fault.kind.name(),
        fault.fault.kind.target()
    );
    spans.extend(known.responses());
    spans.extend(known.pauses(fault.at.at));
    let outage = sweep(spans, (fault.at.at, text), until);
    Some(split_by_removal(known, outage))
}

impl Known<'_, '_> {
    /// What ended one of the client's connections.
    pub(super) fn cause_of(&self, connection: &Connection) -> Found {
        let place = self.connections.iter().position(|c| c.id == connection.id);
        let found = place.and_then(|place| self.causes.get(place));
        found.cloned().unwrap_or_else(|| Found {
            cause: Cause::Unknown,
            evidence: String::from("it is none of the client's"),
        })
    }

    /// The time that a client spent on a connection whose endpoint had no power: since the fault that took it if the
    /// client's requests waited on it then, else since the first request that was handed to it.
    fn waiting(&self, connection: &Connection, struck: Option<Moment>) -> Option<Part> {
        let opened = connection.opened?;
        let to = connection.endpoint.as_ref()?;
        let lost = self.timeline.silent_from(to.node, &to.name).or(struck)?;
        let handed = || {
            let mut sendings = self.requests.sendings().into_iter();
            sendings.find(|(at, id)| *id == connection.id && *at > lost)
        };
        let (from, begins_with) = match struck {
            Some(fault) if opened < fault => (fault.at, self.fault_at(fault)),
            _ if opened > lost => return None,
            _ => {
                let (at, id) = handed()?;
                (at.at, format!("a request handed to connection {id}"))
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
        })
    }

    fn fault_at(&self, at: Moment) -> String {
        let fault = self.timeline.faults.iter().find(|fault| fault.at == at);
        fault.map_or_else(String::new, |fault| {
            let kind = &fault.fault.kind;
            format!("{} of {} in force", kind.name(), kind.target())
        })
    }

    fn end_of(&self, connection: &Connection) -> (Duration, String) {
        let cause = self.cause_of(connection).cause;
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
        let (local, began) = (connection.local, connection.began()?);
        let last = connection.end.map_or(Moment::END, |(at, _)| at);
        let syn = local.and_then(|local| {
            let mut sent = self.archive.sent_from(local, began.at, last.at);
            sent.find(|segment| segment.flags.contains('S'))
        });
        let (from, begins_with) = match syn {
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
        })
    }

    /// When a program's connection was shaken hands: by its server, since the program says nothing.
    fn accepted(&self, connection: &Connection) -> Option<Duration> {
        self.client.program()?;
        let (local, opened) = (connection.local?, connection.opened?);
        self.timeline
            .events
            .iter()
            .find_map(|(at, what)| match what {
                Observation::ServerAccepted { peer, .. }
                    if super::connections::same(*peer, local) && *at >= connection.began()? =>
                {
                    Some(at.at.max(opened.at))
                }
                _ => None,
            })
    }

    /// Requests that a live server answered, by its own record too.
    fn responses(&self) -> impl Iterator<Item = Part> {
        let answered = self
            .requests
            .by_number
            .iter()
            .filter_map(|(number, request)| {
                let (at, what) = request.first_good()?;
                let (sent, connection) = request.sent.last()?;
                let whose = match self.client.program() {
                    Some(_) => "received by a server",
                    None => "handed over",
                };
                Some(Part {
                    kind: PartKind::Response,
                    from: sent.at,
                    to: at.at,
                    connection: Some(*connection),
                    begins_with: format!("request {number} {whose} on connection {connection}"),
                    ends_with: format!("{what} {number}, which its server recorded too"),
                })
            });
        answered.collect::<Vec<_>>().into_iter()
    }

    /// The pauses after `fault`: from the end of a try until the first sign of the next one, if no longer than the
    /// client pauses by its plan.
    fn pauses(&self, fault: Duration) -> Vec<Part> {
        let mut pauses = match self.client.program() {
            Some(_) => Vec::new(),
            None => self.workload_pauses(),
        };
        pauses.extend(self.pauses_after_connections());
        pauses.retain(|pause| pause.to > fault);
        pauses
    }

    fn workload_pauses(&self) -> Vec<Part> {
        let longest = self.client.workloads.longest_pause() + LATE;
        let ends = self
            .requests
            .by_number
            .iter()
            .filter_map(|(number, request)| {
                let (at, outcome) = request.outcome?;
                let how = match outcome {
                    Outcome::Answered { .. } | Outcome::Claimed => "response to",
                    Outcome::Failed(_) => "failure of",
                    Outcome::HealthyCut => "cut of",
                    Outcome::Unfinished | Outcome::CutShort | Outcome::GoesOn => return None,
                };
                Some((at, format!("{how} request {number}")))
            });
        ends.filter_map(|(at, text)| self.pause(at, text, longest))
            .collect()
    }

    /// Of a transport that tries again by itself after a back-off; and of a program, of which only its sockets are
    /// known.
    fn pauses_after_connections(&self) -> Vec<Part> {
        let longest = match self.client.program() {
            Some(_) => Duration::MAX,
            None if self.client.transport.retry.attempts == 0 => return Vec::new(),
            // Tokio's timers count whole milliseconds, one more for a pause of none.
            None => self.client.transport.retry.backoff + AT_ONCE,
        };
        let ends = self.connections.iter().filter_map(|connection| {
            let at = connection.ended()?;
            Some((at, self.end_of(connection).1))
        });
        ends.filter_map(|(at, text)| self.pause(at, text, longest))
            .collect()
    }

    fn pause(&self, from: Moment, begins_with: String, longest: Duration) -> Option<Part> {
        let over = || (self.timeline.last(), String::from("the end of the case"));
        let next = self.next_sign(from).map(|(next, text)| (next.at, text));
        let (to, ends_with) = next.unwrap_or_else(over);
        let part = Part {
            kind: PartKind::Backoff,
            from: from.at,
            to,
            connection: None,
            begins_with,
            ends_with,
        };
        (part.lasted() <= longest).then_some(part)
    }

    /// The first thing a client does after a moment: a dial, or a request on a connection that it has.
    fn next_sign(&self, after: Moment) -> Option<(Moment, String)> {
        let dials = self.connections.iter().filter_map(|connection| {
            let began = connection.began()?;
            self.dialled_for_it(connection)
                .then(|| (began, format!("dial {}", connection.id)))
        });
        let sendings = self
            .requests
            .by_number
            .iter()
            .flat_map(|(number, request)| {
                let text = move |at: &Moment| (*at, format!("request {number} handed over"));
                request.sent.iter().map(move |(at, _)| text(at))
            });
        let signs = dials.chain(sendings).filter(|(at, _)| *at > after);
        signs.min_by_key(|(at, _)| *at)
    }
}

impl Known<'_, '_> {
    /// Whether a dial was for the requests that are looked at: where a client has several workloads, another's may be the
    /// first on it.
    fn dialled_for_it(&self, connection: &Connection) -> bool {
        let Some(opened) = connection
            .opened
            .filter(|_| self.client.workloads.several())
        else {
            return true;
        };
        let own = self.requests.sendings().into_iter();
        let first = own.filter(|(_, id)| *id == connection.id).min();
        first.is_some_and(|(at, _)| at.since(opened) <= AT_ONCE)
    }
}

/// Goes through an outage from its beginning to `until`. Of parts that overlap, the kind that comes first in
/// [`PartKind`] is taken: what a client waits on, not what else it has.
fn sweep(mut spans: Vec<Part>, (from, begins_with): (Duration, String), until: Duration) -> Outage {
    spans.sort_by_key(|part| (part.from, part.kind));
    let (mut cursor, mut last_event) = (from, begins_with);
    let mut outage = Outage {
        parts: Vec::new(),
        unexplained: Duration::ZERO,
    };
    while cursor < until {
        let here = spans
            .iter()
            .filter(|part| part.from <= cursor && part.to > cursor)
            .min_by_key(|part| part.kind);
        let Some(here) = here else {
            let next = spans
                .iter()
                .map(|part| part.from)
                .filter(|from| *from > cursor)
                .min();
            let next = next.unwrap_or(until).min(until);
            outage.unexplained += next - cursor;
            cursor = next;
            last_event = String::new();
            continue;
        };
        // Something that matters more may begin meanwhile.
        let before = spans
            .iter()
            .filter(|part| part.kind < here.kind && part.from > cursor && part.from < here.to)
            .min_by_key(|part| part.from);
        let mut part = here.clone();
        if part.from < cursor {
            part.from = cursor;
            if !last_event.is_empty() {
                part.begins_with.clone_from(&last_event);
            }
        }
        if let Some(before) = before {
            part.to = before.from;
            part.ends_with.clone_from(&before.begins_with);
        }
        if part.to > until {
            part.to = until;
            part.ends_with = String::from("the end of the case");
        }
        cursor = part.to;
        last_event.clone_from(&part.ends_with);
        outage.parts.push(part);
    }
    outage
}

/// Of each dial of a dead endpoint, what lies before the endpoint left the rules is due to them.
fn split_by_removal(known: &Known, outage: Outage) -> Outage {
    let parts = outage.parts.into_iter().flat_map(|part| {
        if part.kind == PartKind::DeadDial {
            split(known, part)
        } else {
            vec![part]
        }
    });
    Outage {
        parts: parts.collect(),
        ..outage
    }
}

fn split(known: &Known, dial: Part) -> Vec<Part> {
    let connection = known
        .connections
        .iter()
        .find(|c| Some(c.id) == dial.connection);
    let endpoint = connection.and_then(|c| c.endpoint.as_ref());
    let (Some(service), Some(endpoint)) = (&known.client.target.service, endpoint) else {
        return vec![dial];
    };
    let lab = &known.timeline.case.lab;
    let behind = lab
        .services
        .iter()
        .find(|s| s.name == *service)
        .is_some_and(|s| s.endpoints.iter().any(|e| e.server == endpoint.name));
    let died = known.timeline.silent_from(endpoint.node, &endpoint.name);
    if !behind || died.is_none() {
        return vec![dial];
    }
    let removed = removal(known.timeline, service, &endpoint.name);
    let by_rules = |part: Part| Part {
        kind: PartKind::EndpointRemoval,
        ..part
    };
    match removed {
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
        _ => vec![by_rules(dial)],
    }
}

/// When an endpoint left a service's rules.
pub(super) fn removal(timeline: &Timeline, service: &str, endpoint: &str) -> Option<Duration> {
    timeline.events.iter().find_map(|(at, what)| match what {
        Observation::EndpointRemoved {
            service: s,
            endpoint: e,
        } if s == service && e == endpoint => Some(at.at),
        _ => None,
    })
}
