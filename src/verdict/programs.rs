//! The requests of a program, as servers and the wire saw them: what it says of itself counts for nothing.
//!
//! A request is what a server received from the client's address, and its answer what that server sent. Requests that
//! never reached a server show in two ways only: as data that was sent again in vain, and as dials that failed.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::Client;
use crate::record::{ClockName, EndedBy, RequestError};

use super::connections::Connection;
use super::index::{AT_ONCE, Index, STAMP_SLACK};
use super::request::{Outcome, Request};
use super::requests::Requests;
use super::timeline::Moment;

/// Beyond its server's own delay, how long a request at the case's end may be without an answer and yet be well.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A program's requests.
pub(super) fn requests_of<'a>(
    client: &Client,
    index: &Index,
    connections: &[Connection],
) -> Requests<'a> {
    let mut requests = received(client, index, connections);
    let lost = connections.iter();
    requests.extend(lost.filter_map(|connection| lost_on(index, connection)));
    requests.sort_by_key(|request| request.first);
    // Numbered without gaps: a gap would mean a request that the record has lost.
    Requests::of_program((1..).zip(requests).collect())
}

/// What servers received, and what they answered.
fn received<'a>(client: &Client, index: &Index, connections: &[Connection]) -> Vec<Request<'a>> {
    let own = index.case.lab.addresses(&client.place);
    let own: Vec<IpAddr> = own.map(Vec::from).unwrap_or_default();
    let mut by_local: HashMap<(IpAddr, u16), Vec<&Connection>> = HashMap::new();
    for connection in connections {
        if let Some(local) = connection.local {
            let local = (local.ip().to_canonical(), local.port());
            by_local.entry(local).or_default().push(connection);
        }
    }
    let on = |peer: SocketAddr, at: Moment| {
        let peer = (peer.ip().to_canonical(), peer.port());
        let mut own = by_local.get(&peer)?.iter().rev();
        own.find(|c| c.began().is_none_or(|began| began <= at))
    };
    let mut requests: Vec<(Request, &str, Option<&Connection>)> = Vec::new();
    // Those without an answer, the oldest first: by server and peer.
    let mut waiting: HashMap<(&str, SocketAddr), VecDeque<usize>> = HashMap::new();
    let arrivals = Arrivals { index };
    for exchange in index.exchanges(&own) {
        let (at, server) = (exchange.at, exchange.server);
        let waiting = waiting.entry((server, exchange.peer)).or_default();
        if !exchange.is_response {
            waiting.push_back(requests.len());
            let connection = on(exchange.peer, at).copied();
            let sent = connection.map(|connection| (at, connection.id));
            let request = Request {
                sent: sent.into_iter().collect(),
                ..Request::new(at, None)
            };
            requests.push((request, server, connection));
        } else if let Some(oldest) = waiting.pop_front() {
            let (request, _, connection) = &requests[oldest];
            let closed = connection.and_then(Connection::ended);
            // What a server sends is no answer before it has come.
            if let Some(came) = arrivals.of_response(exchange.peer, request.first, at, closed) {
                let alive = index.timeline.server_answers(server, at);
                requests[oldest].0.outcome = Some((came, Outcome::Answered { alive }));
            }
        }
    }
    let all = requests.into_iter();
    all.filter_map(|(request, server, on)| without_answer(request, server, on, index))
        .collect()
}

/// What reached a program. TCP keeps the order: what comes after a response was sent, came after that response.
struct Arrivals<'i, 'a> {
    index: &'i Index<'a>,
}

impl Arrivals<'_, '_> {
    /// When the response reached the program at `local` that a server sent `at` a moment to what it was `asked` before; `None`
    /// if it never did, or met a socket that the program had `closed`.
    fn of_response(
        &self,
        local: SocketAddr,
        asked: Moment,
        at: Moment,
        closed: Option<Moment>,
    ) -> Option<Moment> {
        if !self.index.knows_arrivals {
            return Some(at);
        }
        // On the real clock a packet may be there before its server has told that it sent it.
        let early = match self.index.clock {
            ClockName::Real => STAMP_SLACK,
            ClockName::Virtual => Duration::ZERO,
        };
        let all = self.index.arrivals(local);
        let before = |arrived: &Moment| arrived.at + early < at.at || *arrived < asked;
        let next = all.partition_point(before);
        let arrived = all.get(next).copied();
        arrived.filter(|at| !self.is_refused(local, *at, closed))
    }

    /// Whether the program's kernel refused what came: it had closed that socket. (Who shuts down one half has an answer still.)
    fn is_refused(&self, local: SocketAddr, at: Moment, closed: Option<Moment>) -> bool {
        let mut after = self.index.sent_from(local, at.at, at.at + AT_ONCE).iter();
        closed.is_some_and(|closed| closed < at)
            && after.any(|(_, segment)| segment.flags.contains('R'))
    }
}

/// A request that a server received and did not answer ends with its connection. One that is on its way when the case
/// ends says nothing.
fn without_answer<'a>(
    mut request: Request<'a>,
    server: &str,
    on: Option<&Connection>,
    index: &Index,
) -> Option<Request<'a>> {
    if request.outcome.is_some() {
        return Some(request);
    }
    let mut servers = index.case.lab.servers.iter();
    let found = servers.find(|s| s.name == server);
    request.outcome = match on.and_then(Connection::ended) {
        Some(ended) => {
            // By its packets alone a farewell looks like a request.
            let farewell = found.is_some_and(|server| server.program.is_some())
                && ended.since(request.first) <= AT_ONCE
                && index.timeline.server_answers(server, ended);
            if farewell {
                return None;
            }
            Some((ended, Outcome::Failed(RequestError::ConnectionLost)))
        }
        None => {
            let delay = found.map_or(Duration::ZERO, |server| server.response_delay);
            let in_flight = request.first.at + delay + IN_FLIGHT > index.last;
            if in_flight && index.timeline.server_answers(server, Moment::END) {
                return None;
            }
            Some((Moment::END, Outcome::Unfinished))
        }
    };
    Some(request)
}

/// The request that a connection to the dead, or one that never came about, was for.
fn lost_on<'a>(index: &Index, connection: &Connection) -> Option<Request<'a>> {
    let ended = connection.ended();
    let (first, outcome) = if connection.dial_failed {
        let end = connection.end.map(|(_, end)| end.by);
        // A dial under way at the case's end is judged by what came before it.
        let at = ended.filter(|_| end != Some(EndedBy::CaseEnd))?;
        (
            connection.began()?,
            (at, Outcome::Failed(RequestError::Dial)),
        )
    } else {
        let lost = Outcome::Failed(RequestError::ConnectionLost);
        let outcome = ended.map_or((Moment::END, Outcome::Unfinished), |at| (at, lost));
        (sent_in_vain(index, connection)?, outcome)
    };
    Some(Request {
        sent: vec![(first, connection.id)],
        outcome: Some(outcome),
        ..Request::new(first, None)
    })
}

/// When the client first sent data to an endpoint that could not answer, if it had to send it again.
fn sent_in_vain(index: &Index, connection: &Connection) -> Option<Moment> {
    let local = connection.local?;
    let endpoint = connection.endpoint.as_ref()?;
    let lost = index.timeline.silent_from(endpoint.node, &endpoint.name)?;
    let ended = connection.ended().unwrap_or(Moment::END);
    let sent = index.sent_from(local, Duration::ZERO, Duration::MAX).iter();
    // The program's FIN is sent again as well, and by then the connection is not its own any more.
    let own = sent.filter(|(at, segment)| segment.len > 0 && *at > lost && *at <= ended);
    let own: Vec<_> = own.collect();
    let again = own.iter().any(|(_, segment)| segment.retransmission > 0);
    // The first sending is told when it is sent again.
    let sent = own
        .iter()
        .map(|(at, segment)| at.stamped(Duration::from_nanos(segment.stamp_ns)));
    sent.min().filter(|_| again)
}
