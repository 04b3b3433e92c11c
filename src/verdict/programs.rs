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
use super::index::{AT_ONCE, Index, STAMP_SLACK, Spoken};
use super::pace::Pace;
use super::request::{Outcome, Request, Stream};
use super::requests::{Requests, usual_answer};
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
    let mut answers: Vec<_> = requests.iter().flat_map(Request::good).collect();
    answers.sort_unstable();
    let pace = Pace::of(&answers, index.timeline.first_effect());
    for connection in connections {
        let lost = lost_on(index, connection);
        // What nobody waits for loses nobody anything.
        let lost = lost.filter(|_| !is_on_the_quiet(connection, &pace));
        let again = lost.as_ref().and_then(|lost| {
            let first = asked_again(client, index, connection, connections, (lost.first, &pace))?;
            Some(on_dead(connection, first, lost.outcome?))
        });
        requests.extend(lost.into_iter().chain(again));
    }
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
    // Those whose responses may go on.
    let mut going_on: HashMap<(&str, SocketAddr), usize> = HashMap::new();
    let arrivals = Arrivals { index };
    for exchange in index.exchanges(&own) {
        let (at, server) = (exchange.at, exchange.server);
        let waiting = waiting.entry((server, exchange.peer)).or_default();
        let answered = match exchange.what {
            Spoken::Request => {
                waiting.push_back(requests.len());
                let connection = on(exchange.peer, at).copied();
                let sent = connection.map(|connection| (at, connection.id));
                let request = Request {
                    sent: sent.into_iter().collect(),
                    ..Request::new(at, None)
                };
                requests.push((request, server, connection));
                continue;
            }
            Spoken::Response => waiting.pop_front(),
            Spoken::Part => going_on.get(&(server, exchange.peer)).copied(),
        };
        let Some(answered) = answered else { continue };
        let (request, _, connection) = &mut requests[answered];
        let closed = connection.and_then(Connection::ended);
        // What a server sends is no answer before it has come.
        let came = arrivals.of_response(exchange.peer, request.first, at, closed);
        let Some(came) = came else { continue };
        let alive = index.timeline.server_answers(server, at);
        if exchange.what == Spoken::Response {
            request.outcome = Some((came, Outcome::Answered { alive }));
            going_on.insert((server, exchange.peer), answered);
            continue;
        }
        let stream = request.stream.get_or_insert_with(|| Stream {
            began: came,
            good: Vec::new(),
        });
        stream.good.extend(alive.then_some(came));
    }
    let all = requests.iter().map(|(request, ..)| request);
    let usual = usual_answer(all, index.timeline.first_effect());
    let all = requests.into_iter();
    all.filter_map(|(request, server, on)| without_answer(request, server, on, (index, usual)))
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
    (index, usual): (&Index, Duration),
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
            let delay = found
                .map_or(Duration::ZERO, |server| server.response_delay)
                .max(usual);
            let in_flight = request.first.at + delay + IN_FLIGHT > index.last;
            // A protocol may have its own word at the end of an answer: of a living program it is nothing that waits.
            let last_word = found.is_some_and(|server| server.program.is_some())
                && on.and_then(|on| on.local).is_some_and(|local| {
                    let came = index.arrivals(local);
                    let before = came.partition_point(|came| *came <= request.first);
                    let last = came[..before].last();
                    last.is_some_and(|last| request.first.since(*last) <= AT_ONCE)
                });
            let answers = index.timeline.server_answers(server, Moment::END);
            if answers && (in_flight || last_word) {
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
    Some(on_dead(connection, first, outcome))
}

/// Whether a dial failed while as many answers came as in the same time before anything was broken: then it was made on the quiet,
/// as by a balancer that has other connections, and no request waited for it. (A thread that waits for its own dial is missed
/// among the answers, if it is one of five at most.)
fn is_on_the_quiet(dial: &Connection, pace: &Pace) -> bool {
    let (Some(began), Some(ended)) = (dial.began(), dial.ended()) else {
        return false;
    };
    dial.dial_failed && pace.is_kept(began, ended.at) == Some(true)
}

/// A request handed to a connection in vain.
fn on_dead<'a>(connection: &Connection, first: Moment, outcome: (Moment, Outcome)) -> Request<'a> {
    Request {
        sent: vec![(first, connection.id)],
        outcome: Some(outcome),
        ..Request::new(first, None)
    }
}

/// When the program last asked on a connection that has been dead since its data was `lost`, though it had answers on others in
/// the meantime: after the last of those that came before, at the earliest. What is asked there then stands in the kernel's
/// queue, and is not sent any more. That the queue has grown shows of it, or that the program was silent for unusually long
/// when the connection ended.
fn asked_again(
    client: &Client,
    index: &Index,
    connection: &Connection,
    all: &[Connection],
    (lost, pace): (Moment, &Pace),
) -> Option<Moment> {
    let local = connection.local?;
    let ended = connection.ended().unwrap_or(Moment::END);
    let last_answer = |until: Moment| {
        let others = all.iter().filter(|other| other.id != connection.id);
        let last = others.filter_map(|other| {
            let came = index.arrivals(other.local?);
            let earlier = came.partition_point(|came| *came < until);
            came[..earlier].last().copied()
        });
        last.max().filter(|last| *last > lost)
    };
    let shown = index.socket(client.place.name(), local);
    let shown = shown.iter().filter(|(at, _)| *at > lost && *at < ended);
    let shown: Vec<_> = shown.collect();
    let grown = shown.windows(2).rev().find_map(|pair| {
        let [(before, was), (at, is)] = pair else {
            return None;
        };
        is.has_more_than(was).then_some((*before, *at))
    });
    let joined = grown.and_then(|(before, at)| Some(last_answer(at)?.max(before)));
    let waited = last_answer(ended).filter(|last| {
        let usual = pace.longest_pause();
        ended != Moment::END && usual.is_some_and(|usual| ended.since(*last) > usual + usual / 2)
    });
    joined.max(waited)
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
