//! A client's connections, and where each of them led.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::{self, Client, Place, Protocol, Service};
use crate::record::{ConnectionEnd, EndedBy, Segment};

use super::index::{ClientEvents, ConnectionEvent, Index, RequestEvent};
use super::timeline::Moment;

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
    /// What both ends speak, by ALPN or by what was sent first.
    pub protocol: Option<Protocol>,
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
            protocol: None,
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

    /// When its dial began that was under way at a moment.
    pub(super) fn dialling_at(&self, moment: Moment) -> Option<Moment> {
        let under_way = self.held_at(moment) && self.opened.is_none_or(|opened| opened > moment);
        self.dialled.filter(|began| under_way && *began <= moment)
    }

    /// Its SYN on the wire, behind DNAT.
    pub(super) fn syn<'i>(&self, index: &'i Index<'a>) -> Option<&'i Segment> {
        let (local, began) = (self.local?, self.began()?);
        let last = self.end.map_or(Moment::END, |(at, _)| at);
        let first = index.syns_of(local, began.at, last.at).first();
        first.map(|(_, segment)| *segment)
    }

    /// The time in which it was the client's.
    fn covers(&self, at: Moment) -> bool {
        self.began().is_none_or(|began| began <= at)
            && self.end.is_none_or(|(ended, _)| at <= ended)
    }
}

/// A client's connections in order of their numbers.
pub(super) fn of<'a>(client: &'a Client, index: &Index<'a>) -> Vec<Connection<'a>> {
    let mut found: BTreeMap<u32, Connection<'a>> = BTreeMap::new();
    let Some(events) = index.client(&client.name) else {
        return Vec::new();
    };
    for (at, id, event) in &events.connections {
        let entry = found.entry(*id).or_insert_with(|| Connection::new(*id));
        match *event {
            ConnectionEvent::Dialled { target, local } => {
                entry.dialled = Some(*at);
                entry.target = Some(target);
                entry.local = entry.local.or(local);
            }
            ConnectionEvent::Opened {
                target,
                local,
                protocol,
            } => {
                entry.opened = Some(*at);
                entry.protocol = protocol;
                entry.target = Some(target);
                entry.local = Some(local);
            }
            ConnectionEvent::DialFailed(error) => {
                entry.end = Some((*at, error));
                entry.dial_failed = true;
            }
            ConnectionEvent::Closed(end) => entry.end = Some((*at, end)),
        }
    }
    let witnesses = Witnesses {
        client,
        index,
        events,
        requests: OnceCell::new(),
    };
    let mut found: Vec<_> = found.into_values().collect();
    for connection in &mut found {
        connection.endpoint = witnesses.endpoint(connection);
    }
    found
}

/// Who says where a client's connections led.
struct Witnesses<'i, 'a> {
    client: &'a Client,
    index: &'i Index<'a>,
    events: &'i ClientEvents<'a>,
    requests: OnceCell<ByRequests<'a>>,
}

impl<'a> Witnesses<'_, 'a> {
    /// Where a connection led: the best witness first, the server itself; then the packet on the wire; then the plan, where
    /// no DNAT comes between; and only then what the client was told.
    fn endpoint(&self, connection: &Connection) -> Option<Endpoint<'a>> {
        let (accepted, syn) = (self.accepted(connection), self.syn(connection));
        if let (Some(accepted), Some(syn)) = (&accepted, &syn)
            && accepted.node != syn.node
        {
            // Two witnesses that contradict each other are none.
            return None;
        }
        accepted
            .or(syn)
            .or_else(|| self.without_dnat(connection))
            .or_else(|| {
                let requests = self.requests.get_or_init(|| ByRequests::of(self.events));
                self.server_named(requests.server(connection.id)?)
            })
    }

    fn accepted(&self, connection: &Connection) -> Option<Endpoint<'a>> {
        let mut accepted = self.index.accepted(connection.local?).iter();
        let own = accepted.find(|(at, _)| connection.covers(*at));
        self.server_named(own?.1)
    }

    fn syn(&self, connection: &Connection) -> Option<Endpoint<'a>> {
        let (began, ended) = (
            connection.began()?.at,
            connection.end.map_or(Duration::MAX, |(at, _)| at.at),
        );
        let own = |s: &Segment| s.node == self.client.node;
        let pod_address = self.pod_address(connection.target?.ip());
        let mut destinations: Vec<SocketAddr> = match (connection.local, pod_address) {
            (Some(local), _) => {
                let syns = self.index.syns_of(local, began, ended).iter();
                let syns = syns.map(|(_, segment)| *segment);
                syns.filter(|s| own(s)).map(|s| s.to).collect()
            }
            // A dial that failed may not know its own port: then any SYN of its pod in its time may be its own.
            (None, Some(pod)) => {
                let syns = self.index.syns_from(pod, began, ended).iter();
                let syns = syns.map(|(_, segment)| *segment);
                syns.filter(|s| own(s)).map(|s| s.to).collect()
            }
            (None, None) => Vec::new(),
        };
        destinations.dedup();
        match destinations[..] {
            [one] => self.at_address(one, began),
            _ => None,
        }
    }

    fn pod_address(&self, family: IpAddr) -> Option<IpAddr> {
        let Place::Pod(name) = &self.client.place else {
            // A node's address is that of all its host-network clients.
            return None;
        };
        let pod = self.index.case.lab.pod(name)?;
        Some(match family {
            IpAddr::V4(_) => pod.address.into(),
            IpAddr::V6(_) => pod.address6.into(),
        })
    }

    fn without_dnat(&self, connection: &Connection) -> Option<Endpoint<'a>> {
        let target = connection.target?;
        let services = &self.index.case.lab.services;
        let direct = self.client.target.service.is_none()
            && services.iter().all(|service| service.address != target);
        direct.then(|| self.at_address(target, connection.began()?.at))?
    }

    /// Who had a service's address that moves.
    fn holder(&self, service: &'a Service, at: Duration) -> Option<&'a plan::Endpoint> {
        service.endpoints.iter().find(|endpoint| {
            let left = self
                .index
                .removal(&service.name, &endpoint.server, &self.client.node, at);
            left.is_none_or(|left| left > at)
        })
    }

    fn server_named(&self, name: &str) -> Option<Endpoint<'a>> {
        let node = self.index.timeline.node_of_server(name)?;
        let name = name.to_owned();
        Some(Endpoint { name, node })
    }

    fn at_address(&self, address: SocketAddr, at: Duration) -> Option<Endpoint<'a>> {
        let lab = &self.index.case.lab;
        let mut services = lab.services.iter();
        if let Some(service) = services.find(|s| s.proxy.moves() && s.address == address) {
            return self.server_named(&self.holder(service, at)?.server);
        }
        if let Some(server) = lab.server_at(address) {
            return self.server_named(&server.name);
        }
        let node = lab.node_with(address.ip())?;
        let name = address.to_string();
        Some(Endpoint { name, node })
    }
}

/// Where connections led by the requests that went over them: by the server's record of them, else by the answer's own
/// word.
#[derive(Default)]
struct ByRequests<'a> {
    witnessed: HashMap<u32, &'a str>,
    told: HashMap<u32, &'a str>,
}

impl<'a> ByRequests<'a> {
    fn of(events: &ClientEvents<'a>) -> Self {
        let mut by = Self::default();
        // Where a request was sent first; `None` if over several connections.
        let mut sent: HashMap<u32, Option<(Moment, u32)>> = HashMap::new();
        for (at, request, event) in &events.requests {
            match *event {
                RequestEvent::Sent(connection) => {
                    let only = sent
                        .entry(request.number)
                        .or_insert(Some((*at, connection)));
                    *only = only.filter(|(_, earlier)| *earlier == connection);
                }
                RequestEvent::Response(connection, Some(server)) => {
                    by.told.entry(connection).or_insert(server);
                }
                RequestEvent::Response(_, None)
                | RequestEvent::Began
                | RequestEvent::Part(_)
                | RequestEvent::Failed(..)
                | RequestEvent::Unfinished => {}
            }
        }
        for (at, number, server) in &events.received {
            // A request that was sent again over another connection says nothing.
            let only = sent.get(number).copied().flatten();
            if let Some((_, connection)) = only.filter(|(sent, _)| sent <= at) {
                by.witnessed.entry(connection).or_insert(server);
            }
        }
        by
    }

    fn server(&self, connection: u32) -> Option<&'a str> {
        let witnessed = self.witnessed.get(&connection);
        witnessed.or_else(|| self.told.get(&connection)).copied()
    }
}
