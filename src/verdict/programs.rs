//! The requests of a program, as servers and the wire saw them: what it says of itself counts for nothing.
//!
//! A request is what a server received from the client's address, and its answer what that server sent. Requests that
//! never reached a server show in two ways only: as data that was sent again in vain, and as dials that failed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::plan::{Client, Server};
use crate::record::{EndedBy, Observation, RequestError};

use super::connections::{Connection, same};
use super::requests::{Outcome, Request, Requests};
use super::timeline::{Moment, Timeline};

/// Beyond its server's own delay, how long a request at the case's end may be without an answer and yet be well.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A program's requests.
pub(super) fn requests_of(
    client: &Client,
    timeline: &Timeline,
    connections: &[Connection],
) -> Requests {
    let mut requests = received(client, timeline, connections);
    requests.extend(
        connections
            .iter()
            .filter_map(|connection| lost(client, timeline, connection)),
    );
    requests.sort_by_key(|request| request.first);
    // Numbered without gaps: a gap would mean a request that the record has lost.
    Requests((1..).zip(requests).collect())
}

/// What servers received, and what they answered.
fn received(client: &Client, timeline: &Timeline, connections: &[Connection]) -> Vec<Request> {
    let own = timeline
        .case
        .lab
        .addresses(&client.place)
        .map(Vec::from)
        .unwrap_or_default();
    let mut requests: Vec<(Request, &str)> = Vec::new();
    // Those without an answer, the oldest first: by server and peer.
    let mut waiting: HashMap<(&str, SocketAddr), Vec<usize>> = HashMap::new();
    for (at, what) in &timeline.events {
        match what {
            Observation::ServerRequest { server, peer, .. }
                if own.contains(&peer.ip().to_canonical()) =>
            {
                let on = connections.iter().rev().find(|c| {
                    c.local.is_some_and(|local| same(local, *peer))
                        && c.began().is_none_or(|began| began <= *at)
                });
                waiting
                    .entry((server, *peer))
                    .or_default()
                    .push(requests.len());
                let sent = on.map(|connection| (*at, connection.id));
                requests.push((
                    Request {
                        first: *at,
                        sent: sent.into_iter().collect(),
                        outcome: None,
                    },
                    server,
                ));
            }
            Observation::ServerResponse { server, peer, .. } => {
                let oldest = waiting
                    .get_mut(&(server.as_str(), *peer))
                    .filter(|waiting| !waiting.is_empty());
                if let Some(waiting) = oldest {
                    let alive = timeline.server_answers(server, *at);
                    requests[waiting.remove(0)].0.outcome =
                        Some((*at, Outcome::Answered { alive }));
                }
            }
            _ => {}
        }
    }
    let unanswered =
        |(request, server): (Request, &str)| without_answer(request, server, timeline, connections);
    requests.into_iter().filter_map(unanswered).collect()
}

/// A request that a server received and did not answer ends with its connection. One that is on its way when the case
/// ends says nothing.
fn without_answer(
    mut request: Request,
    server: &str,
    timeline: &Timeline,
    connections: &[Connection],
) -> Option<Request> {
    if request.outcome.is_some() {
        return Some(request);
    }
    let connection = request
        .sent
        .last()
        .and_then(|(_, id)| connections.iter().find(|c| c.id == *id));
    request.outcome = match connection.and_then(Connection::ended) {
        Some(ended) => Some((ended, Outcome::Failed(RequestError::ConnectionLost))),
        None => {
            let lab = &timeline.case.lab;
            let found = lab.servers.iter().find(|s| s.name == server);
            let delay = found.map_or(Duration::ZERO, |server: &Server| server.response_delay);
            let in_flight = request.first.at + delay + IN_FLIGHT > timeline.last();
            let alive = timeline.server_answers(server, Moment::END);
            if in_flight && alive {
                return None;
            }
            Some((Moment::END, Outcome::Unfinished))
        }
    };
    Some(request)
}

/// The request that a connection to the dead, or one that never came about, was for.
fn lost(client: &Client, timeline: &Timeline, connection: &Connection) -> Option<Request> {
    let by_case_end = connection
        .end
        .is_some_and(|(_, end)| end.by == EndedBy::CaseEnd);
    let ended = connection.ended();
    if connection.dial_failed {
        let began = connection.began()?;
        // A dial under way at the case's end is judged by what came before it.
        let at = ended.filter(|_| !by_case_end)?;
        let outcome = Some((at, Outcome::Failed(RequestError::Dial)));
        return Some(Request {
            first: began,
            sent: vec![(began, connection.id)],
            outcome,
        });
    }
    let first = sent_in_vain(client, timeline, connection)?;
    let outcome = match ended {
        Some(at) => (at, Outcome::Failed(RequestError::ConnectionLost)),
        None => (Moment::END, Outcome::Unfinished),
    };
    Some(Request {
        first,
        sent: vec![(first, connection.id)],
        outcome: Some(outcome),
    })
}

/// When the client first sent data to an endpoint that could not answer, if it had to send it again.
fn sent_in_vain(client: &Client, timeline: &Timeline, connection: &Connection) -> Option<Moment> {
    let local = connection.local?;
    let endpoint = connection.endpoint.as_ref()?;
    let lost = timeline.silent_from(endpoint.node, &endpoint.name)?;
    let ended = connection.ended().unwrap_or(Moment::END);
    let mut first = None;
    for (at, what) in &timeline.events {
        let Observation::Segment(segment) = what else {
            continue;
        };
        // The program's FIN is sent again as well, and by then the connection is not its own any more.
        let own = segment.node == client.node && segment.from == local && segment.len > 0;
        if own && *at > lost && *at <= ended {
            if segment.retransmission > 0 {
                return first.or(Some(*at));
            }
            first = first.or(Some(*at));
        }
    }
    None
}
