//! A client's connections, and where each of them led.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::{Client, Place};
use crate::record::{ConnectionEnd, EndedBy, Observation};

use super::timeline::{Moment, Timeline};

/// A packet's own stamp may lie this far before the event that the client writes once connect() has returned.
const STAMP_SLACK: Duration = Duration::from_millis(20);

/// A handshake takes no longer than this where there is somebody to answer.
const CUT_SHORT: Duration = Duration::from_millis(100);

/// Where a connection led after DNAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    /// The server, or the address if none listens there.
    pub name: String,
    /// Its node.
    pub node: &'a str,
}

/// A connection of a client, or its attempt at one.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub id: u32,
    /// When its SYN went out.
    pub dialled: Option<Moment>,
    /// When it was established and shaken hands.
    pub opened: Option<Moment>,
    pub local: Option<SocketAddr>,
    pub target: Option<SocketAddr>,
    /// Its end, the case's own included.
    pub end: Option<(Moment, &'a ConnectionEnd)>,
    /// The end was that of a dial.
    pub dial_failed: bool,
    pub endpoint: Option<Endpoint<'a>>,
}

impl<'a> Connection<'a> {
    fn new(id: u32) -> Self {
        Self {
            id,
            dialled: None,
            opened: None,
            local: None,
            target: None,
            end: None,
            dial_failed: false,
            endpoint: None,
        }
    }

    /// When it began.
    pub(super) fn began(&self) -> Option<Moment> {
        self.dialled.or(self.opened)
    }

    /// When it ended within the case.
    pub(super) fn ended(&self) -> Option<Moment> {
        let within = self.end.filter(|(_, end)| end.by != EndedBy::CaseEnd);
        within.map(|(at, _)| at)
    }

    /// Whether the case ended before anything could come of it.
    pub(super) fn cut_short(&self) -> bool {
        let began = self.began().unwrap_or(Moment::START);
        let ended = self.end.filter(|(_, end)| end.by == EndedBy::CaseEnd);
        ended.is_some_and(|(at, _)| at.since(began) < CUT_SHORT)
    }

    /// Whether the client had it, open or being opened, at a moment; if its beginning was not recorded, it may have.
    pub(super) fn held_at(&self, moment: Moment) -> bool {
        self.began().is_none_or(|began| began < moment)
            && self.ended().is_none_or(|ended| ended > moment)
    }

    /// The time in which it was the client's.
    fn covers(&self, at: Moment) -> bool {
        self.began().is_none_or(|began| began <= at)
            && self.end.is_none_or(|(ended, _)| at <= ended)
    }
}

/// A client's connections in order of their numbers.
pub(super) fn of<'a>(client: &Client, timeline: &Timeline<'a>) -> Vec<Connection<'a>> {
    let mut found: Vec<Connection<'a>> = Vec::new();
    for (at, what) in &timeline.events {
        match what {
            Observation::DialStarted {
                client: c,
                connection,
                target,
                local,
            } if *c == client.name => {
                let entry = entry(&mut found, *connection);
                entry.dialled = Some(*at);
                entry.target = Some(*target);
                entry.local = entry.local.or(*local);
            }
            Observation::ConnectionOpened {
                client: c,
                connection,
                local,
                target,
                ..
            } if *c == client.name => {
                let entry = entry(&mut found, *connection);
                entry.opened = Some(*at);
                entry.target = Some(*target);
                entry.local = Some(*local);
            }
            Observation::DialFailed {
                client: c,
                connection,
                error,
            } if *c == client.name => {
                let entry = entry(&mut found, *connection);
                entry.end = Some((*at, error));
                entry.dial_failed = true;
            }
            Observation::ConnectionClosed {
                client: c,
                connection,
                end,
            } if *c == client.name => {
                entry(&mut found, *connection).end = Some((*at, end));
            }
            _ => {}
        }
    }
    found.sort_by_key(|connection| connection.id);
    for connection in &mut found {
        connection.endpoint = endpoint(client, timeline, connection);
    }
    found
}

fn entry<'c, 'a>(found: &'c mut Vec<Connection<'a>>, id: u32) -> &'c mut Connection<'a> {
    let index = found.iter().position(|c| c.id == id).unwrap_or_else(|| {
        found.push(Connection::new(id));
        found.len() - 1
    });
    &mut found[index]
}

/// Where a connection led: the best witness first, the server itself; then the packet on the wire; then the plan, where
/// no DNAT comes between; and only then what the client was told.
fn endpoint<'a>(
    client: &Client,
    timeline: &Timeline<'a>,
    connection: &Connection,
) -> Option<Endpoint<'a>> {
    let (accepted, syn) = (
        accepted(timeline, connection),
        syn(client, timeline, connection),
    );
    if let (Some(accepted), Some(syn)) = (&accepted, &syn)
        && accepted.node != syn.node
    {
        // Two witnesses that contradict each other are none.
        return None;
    }
    accepted
        .or(syn)
        .or_else(|| without_dnat(client, timeline, connection))
        .or_else(|| by_requests(client, timeline, connection))
}

fn accepted<'a>(timeline: &Timeline<'a>, connection: &Connection) -> Option<Endpoint<'a>> {
    let local = connection.local?;
    timeline.events.iter().find_map(|(at, what)| match what {
        Observation::ServerAccepted { server, peer, .. }
            if same(*peer, local) && connection.covers(*at) =>
        {
            server_named(timeline, server)
        }
        _ => None,
    })
}

fn syn<'a>(
    client: &Client,
    timeline: &Timeline<'a>,
    connection: &Connection,
) -> Option<Endpoint<'a>> {
    let pod_address = pod_address(client, timeline, connection.target?.ip());
    let (began, ended) = (connection.began()?.at, connection.end.map(|(at, _)| at.at));
    let mut destinations = timeline.events.iter().filter_map(|(_, what)| match what {
        Observation::Segment(s)
            if s.node == client.node && s.flags.contains('S') && !s.flags.contains('A') =>
        {
            let stamp = Duration::from_nanos(s.stamp_ns);
            // A dial that failed may not know its own port: then any SYN of its pod in its time may be its own.
            let ours = match connection.local {
                Some(local) => s.from == local,
                None => Some(s.from.ip()) == pod_address,
            };
            (ours && stamp + STAMP_SLACK >= began && ended.is_none_or(|ended| stamp <= ended))
                .then_some(s.to)
        }
        _ => None,
    });
    let first = destinations.next()?;
    let unambiguous = destinations.all(|other| other == first);
    unambiguous.then(|| at_address(timeline, first))?
}

fn pod_address(client: &Client, timeline: &Timeline, family: IpAddr) -> Option<IpAddr> {
    let Place::Pod(name) = &client.place else {
        // A node's address is that of all its host-network clients.
        return None;
    };
    let pod = timeline.case.lab.pod(name)?;
    Some(match family {
        IpAddr::V4(_) => pod.address.into(),
        IpAddr::V6(_) => pod.address6.into(),
    })
}

fn without_dnat<'a>(
    client: &Client,
    timeline: &Timeline<'a>,
    connection: &Connection,
) -> Option<Endpoint<'a>> {
    let target = connection.target?;
    let services = &timeline.case.lab.services;
    let direct =
        client.target.service.is_none() && services.iter().all(|service| service.address != target);
    direct.then(|| at_address(timeline, target))?
}

/// By the requests that went over it: the server's record of them, else the answer's own word.
fn by_requests<'a>(
    client: &Client,
    timeline: &Timeline<'a>,
    connection: &Connection,
) -> Option<Endpoint<'a>> {
    let mut sent = Vec::new();
    let mut told = None;
    for (at, what) in &timeline.events {
        match what {
            Observation::RequestSent {
                request,
                connection: c,
                ..
            } if request.client == client.name && *c == connection.id => {
                sent.push((*at, request));
            }
            Observation::Response {
                request,
                connection: c,
                server: Some(server),
                ..
            } if request.client == client.name && *c == connection.id => {
                told = told.or(Some(server));
            }
            _ => {}
        }
    }
    let witnessed = timeline.events.iter().find_map(|(at, what)| match what {
        Observation::ServerRequest {
            server,
            request: Some(request),
            ..
        } => {
            // The last sending before it: a request that was sent again went over another connection as well.
            let mine = sent.iter().any(|(when, r)| when <= at && *r == request);
            (mine && !sent_elsewhere(timeline, request, connection.id)).then_some(server)
        }
        _ => None,
    });
    server_named(timeline, witnessed.or(told)?)
}

fn sent_elsewhere(
    timeline: &Timeline,
    request: &crate::record::RequestId,
    connection: u32,
) -> bool {
    timeline.events.iter().any(|(_, what)| match what {
        Observation::RequestSent {
            request: r,
            connection: c,
            ..
        } => r == request && *c != connection,
        _ => false,
    })
}

fn server_named<'a>(timeline: &Timeline<'a>, name: &str) -> Option<Endpoint<'a>> {
    let node = timeline.node_of_server(name)?;
    let name = name.to_owned();
    Some(Endpoint { name, node })
}

fn at_address<'a>(timeline: &Timeline<'a>, address: SocketAddr) -> Option<Endpoint<'a>> {
    let lab = &timeline.case.lab;
    if let Some(server) = lab.server_at(address) {
        return server_named(timeline, &server.name);
    }
    let node = lab.node_with(address.ip())?;
    let name = address.to_string();
    Some(Endpoint { name, node })
}

/// Whether two addresses are the same, one of them perhaps as an IPv6 socket shows an IPv4 peer.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}
