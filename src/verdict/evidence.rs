//! What a record has on a connection besides its own end: its packets, its socket through time, its options and
//! sysctls, its PINGs and requests, what its server saw.
//!
//! Gathered once for a record, since a cause is looked for in every connection.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::{Client, FaultKind, Keepalive, Neighbour, Place, Where, Work};
use crate::record::{
    Observation, RequestError, RequestId, Segment, Socket, SocketChange, SocketTimer, TcpInfo,
};
use crate::timeout_model::{Kernel, TcpSysctls};

use super::cause::{self, Found};
use super::connections::{Connection, Endpoint};
use super::timeline::{Moment, Timeline};
use super::wire::Wire;

/// A packet's own stamp may lie this far before the event that the client writes of it.
pub(super) const STAMP_SLACK: Duration = Duration::from_millis(20);
/// Events of one instant that different observers write, on a busy machine.
pub(super) const AT_ONCE: Duration = Duration::from_millis(50);
/// A socket's end may be read this long after it.
const READ_LATE: Duration = Duration::from_secs(1);

/// An address and port that are the same whether an IPv4 or an IPv6 socket showed them.
type Key = (IpAddr, u16);

fn key(address: SocketAddr) -> Key {
    (address.ip().to_canonical(), address.port())
}

/// A record's evidence by whom it is of.
pub(super) struct Archive<'t, 'a> {
    timeline: &'t Timeline<'a>,
    sent: HashMap<Key, Vec<&'a Segment>>,
    received: HashMap<Key, Vec<&'a Segment>>,
    sockets: HashMap<(&'a str, Key), Vec<(Moment, &'a Socket)>>,
    server_closed: HashMap<Key, Vec<Moment>>,
    by_client: HashMap<&'a str, Vec<(Moment, &'a Observation)>>,
    icmp: Vec<(Moment, &'a str, (u8, u8))>,
}

impl<'t, 'a> Archive<'t, 'a> {
    /// Sorts a record's evidence.
    pub(super) fn of(timeline: &'t Timeline<'a>) -> Self {
        let mut archive = Self {
            timeline,
            sent: HashMap::new(),
            received: HashMap::new(),
            sockets: HashMap::new(),
            server_closed: HashMap::new(),
            by_client: HashMap::new(),
            icmp: Vec::new(),
        };
        for (at, what) in &timeline.events {
            archive.file(*at, what);
        }
        for segments in archive
            .sent
            .values_mut()
            .chain(archive.received.values_mut())
        {
            segments.sort_by_key(|segment| segment.stamp_ns);
        }
        archive
    }

    fn file(&mut self, at: Moment, what: &'a Observation) {
        match what {
            Observation::Segment(segment) => {
                self.sent
                    .entry(key(segment.from))
                    .or_default()
                    .push(segment);
                self.received
                    .entry(key(segment.to))
                    .or_default()
                    .push(segment);
            }
            Observation::Socket(socket) => {
                let place = (socket.place.as_str(), key(socket.local));
                self.sockets.entry(place).or_default().push((at, socket));
            }
            Observation::ServerClosed { peer, .. } => {
                self.server_closed.entry(key(*peer)).or_default().push(at);
            }
            Observation::Icmp { node, kind, .. } => self.icmp.push((at, node, *kind)),
            Observation::RequestSent { request, .. }
            | Observation::Response { request, .. }
            | Observation::RequestFailed { request, .. } => {
                self.by_client
                    .entry(&request.client)
                    .or_default()
                    .push((at, what));
            }
            Observation::DialStarted { client, .. }
            | Observation::PingSent { client, .. }
            | Observation::PingAcked { client, .. }
            | Observation::SocketOptions { client, .. } => {
                self.by_client.entry(client).or_default().push((at, what));
            }
            _ => {}
        }
    }

    fn of_client(&self, client: &Client) -> &[(Moment, &'a Observation)] {
        self.by_client
            .get(client.name.as_str())
            .map_or(&[], Vec::as_slice)
    }

    /// What was sent from `local` within a time, by the packets' own stamps.
    pub(super) fn sent_from(
        &self,
        local: SocketAddr,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = &'a Segment> {
        within(self.sent.get(&key(local)), from, to)
    }

    /// What was sent to `local` within a time, by the packets' own stamps.
    pub(super) fn sent_to(
        &self,
        local: SocketAddr,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = &'a Segment> {
        within(self.received.get(&key(local)), from, to)
    }

    /// A client's socket through time, as the kernel showed it, in order of time.
    pub(super) fn socket(&self, client: &'a Client, local: SocketAddr) -> &[(Moment, &'a Socket)] {
        let place = match &client.place {
            Place::Node(name) | Place::Pod(name) => name.as_str(),
        };
        self.sockets
            .get(&(place, key(local)))
            .map_or(&[], Vec::as_slice)
    }

    /// What ended a connection.
    pub(super) fn found(&self, client: &'a Client, connection: &Connection<'a>) -> Found {
        match Evidence::of(self, client, connection) {
            Some(evidence) => cause::of(&evidence),
            None => Found {
                cause: crate::plan::Cause::Unknown,
                evidence: String::from("its end was not recorded"),
            },
        }
    }
}

fn within<'s, 'a>(
    segments: Option<&'s Vec<&'a Segment>>,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = &'a Segment> + use<'s, 'a> {
    let all = segments.map_or(&[][..], Vec::as_slice);
    let times = from.saturating_sub(STAMP_SLACK)..=to;
    all.iter()
        .copied()
        .filter(move |s| times.contains(&Duration::from_nanos(s.stamp_ns)))
}

/// All that is known of a connection's end. Times are from the case's start.
#[derive(Debug, Clone)]
pub(super) struct Evidence<'a> {
    pub end: &'a crate::record::ConnectionEnd,
    pub ended: Duration,
    pub began: Option<Duration>,
    pub opened: Option<Duration>,
    /// Its end was that of a dial.
    pub dial: bool,
    pub program: bool,
    pub tls: bool,
    pub transport: &'a crate::plan::Transport,
    pub keepalive: Option<Keepalive>,
    pub user_timeout: Option<Duration>,
    pub sysctls: TcpSysctls,
    /// The kernel whose timers ruled.
    pub kernel: Kernel,
    pub wire: Wire,
    pub socket: SocketSeen,
    /// The first PING that was not answered any more.
    pub ping_sent: Option<Duration>,
    pub requests: RequestsSeen,
    pub server_closed: bool,
    /// Its endpoint's node died, and its link-layer address with it, before this end.
    pub dead_neighbour: bool,
    /// Its path lost some packets, and let others pass.
    pub lossy: bool,
    /// The kernel was told to destroy its socket.
    pub destroyed: bool,
    /// An ICMP error reached its node before this end.
    pub icmp: bool,
    /// When the case is over, by its plan.
    pub case_over: Duration,
}

/// A connection's socket, as sock_diag showed it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketSeen {
    /// The last timer that ran before the end.
    pub timer: Option<SocketTimer>,
    /// The last TCP_INFO, if the kernel destroyed it then.
    pub last: Option<TcpInfo>,
}

/// Jiffies round TCP_INFO's ages: one tick of the slowest kernel (HZ=100).
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What a client's requests say of an end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestsSeen {
    /// Of the request that timed out at the end: its first sign.
    pub timed_out_since: Option<Duration>,
    /// What that request's limit was.
    pub limit: Option<Duration>,
    /// The last request handed to the connection.
    pub last_sent: Option<Duration>,
    /// The last one that ended on it.
    pub last_over: Option<Duration>,
    /// The last one that timed out on it while it lived on.
    pub last_timeout: Option<Duration>,
}

impl<'a> Evidence<'a> {
    fn of(
        archive: &Archive<'_, 'a>,
        client: &'a Client,
        connection: &Connection<'a>,
    ) -> Option<Self> {
        let (ended, end) = connection.end?;
        let (keepalive, user_timeout) = options(archive, client, connection);
        let timeline = archive.timeline;
        Some(Self {
            end,
            ended: ended.at,
            began: connection.began().map(|at| at.at),
            opened: connection.opened.map(|at| at.at),
            dial: connection.dial_failed,
            program: client.program().is_some(),
            tls: client.target.tls,
            transport: &client.transport,
            keepalive,
            user_timeout,
            sysctls: tcp_sysctls(client, timeline),
            kernel: Kernel::of(timeline.kernel, timeline.hz),
            wire: Wire::of(archive, connection, ended.at),
            socket: socket(archive, client, connection, ended.at),
            ping_sent: ping_sent(archive, client, connection, ended),
            requests: requests(archive, client, connection, ended),
            server_closed: server_closed(archive, connection, ended.at),
            dead_neighbour: timeline.faults.iter().any(|fault| {
                fault.at <= ended
                    && connection.endpoint.as_ref().is_some_and(|to| {
                        no_neighbour(&fault.fault.kind, client, to, timeline)
                    })
            }),
            lossy: timeline.faults.iter().any(|fault| {
                let to = connection.endpoint.as_ref();
                fault.at <= ended
                    && to.is_some_and(|to| loses_some(&fault.fault.kind, client, to, timeline))
            }),
            destroyed: timeline.faults.iter().any(|fault| {
                let kind = &fault.fault.kind;
                fault.at <= ended
                    && connection.held_at(fault.at)
                    && matches!(kind, FaultKind::SocketDestroyed { client: c, .. } if *c == client.name)
            }),
            icmp: archive.icmp.iter().any(|(at, on, kind)| {
                // Destination unreachable: type 3 of ICMP, type 1 of ICMPv6.
                *at <= ended && *on == client.node && matches!(kind.0, 1 | 3)
            }),
            case_over: timeline.case.lab.duration,
        })
    }
}

/// Whether a fault makes some packets vanish on the way to an endpoint, and not all.
fn loses_some(kind: &FaultKind, client: &Client, to: &Endpoint, timeline: &Timeline) -> bool {
    let FaultKind::Loss { path, percent } = kind else {
        return false;
    };
    let end = timeline.place(to.node, &to.name);
    let lab = &timeline.case.lab;
    *percent < 100.0 && path.place.is_crossed(lab, &client.place, &end)
}

/// Whether a fault leaves somebody on the way to an endpoint without a neighbour.
fn no_neighbour(kind: &FaultKind, client: &Client, to: &Endpoint, timeline: &Timeline) -> bool {
    match kind {
        FaultKind::PowerLoss { node, neighbour } => {
            *neighbour == Neighbour::Dead && node == to.node
        }
        FaultKind::LinkDown { behind } => {
            let end = timeline.place(to.node, &to.name);
            let place = Where::At(behind.clone());
            place.is_crossed(&timeline.case.lab, &client.place, &end)
        }
        _ => false,
    }
}

fn socket<'a>(
    archive: &Archive<'_, 'a>,
    client: &'a Client,
    connection: &Connection,
    ended: Duration,
) -> SocketSeen {
    let (Some(local), Some(began)) = (connection.local, connection.began()) else {
        return SocketSeen::default();
    };
    let own = archive.socket(client, local).iter();
    let own = own.filter(|(at, _)| at.at + STAMP_SLACK >= began.at);
    let mut seen = SocketSeen::default();
    for (at, socket) in own {
        match socket.change {
            SocketChange::Ended if at.at <= ended + READ_LATE => seen.last = socket.info,
            SocketChange::Born | SocketChange::Changed if at.at <= ended => {
                seen.timer = socket.timer.or(seen.timer);
            }
            _ => {}
        }
    }
    seen
}

fn ping_sent(
    archive: &Archive,
    client: &Client,
    connection: &Connection,
    ended: Moment,
) -> Option<Duration> {
    let mut unanswered = None;
    for (at, what) in archive.of_client(client) {
        match what {
            Observation::PingSent { connection: c, .. } if *c == connection.id && *at <= ended => {
                unanswered = unanswered.or(Some(at.at));
            }
            Observation::PingAcked { connection: c, .. } if *c == connection.id => {
                unanswered = None;
            }
            _ => {}
        }
    }
    unanswered
}

fn requests(
    archive: &Archive,
    client: &Client,
    connection: &Connection,
    ended: Moment,
) -> RequestsSeen {
    let mut seen = RequestsSeen::default();
    // The first sign of the request under way: its dial, or its first sending. Of several under way at once each has
    // its own.
    let mut since = None;
    let mut begun: HashMap<u32, Duration> = HashMap::new();
    let mut dials: HashMap<u32, Duration> = HashMap::new();
    let at_once = client.workloads.at_once();
    let on = |c: &u32| *c == connection.id;
    for (at, what) in archive.of_client(client) {
        match what {
            Observation::DialStarted { connection: c, .. } => {
                since = since.or(Some(at.at));
                dials.insert(*c, at.at);
            }
            Observation::RequestSent {
                request,
                connection: c,
                ..
            } => {
                since = since.or(Some(at.at));
                let dialled = dials.remove(c).unwrap_or(at.at);
                begun.entry(request.number).or_insert(dialled);
                if on(c) && *at <= ended {
                    seen.last_sent = Some(at.at);
                }
            }
            Observation::Response { connection: c, .. } => {
                since = None;
                if on(c) && *at <= ended {
                    seen.last_over = Some(at.at);
                }
            }
            Observation::RequestFailed {
                request,
                connection: c,
                error,
                ..
            } => {
                if at_once {
                    let dialled = dials.get(&connection.id);
                    since = begun.get(&request.number).or(dialled).copied();
                }
                let own = c.as_ref().map_or(connection.dial_failed, on);
                let timeout = *error == RequestError::Timeout;
                if own && timeout && at.at.abs_diff(ended.at) <= AT_ONCE {
                    seen.timed_out_since = since;
                    seen.limit = limit(client, request);
                }
                if c.as_ref().is_some_and(on) && *at <= ended {
                    seen.last_over = Some(at.at);
                    if timeout {
                        seen.last_timeout = Some(at.at);
                    }
                }
                since = None;
            }
            _ => {}
        }
    }
    seen
}

/// The time a request may take: that of its workload where there are several.
fn limit(client: &Client, request: &RequestId) -> Option<Duration> {
    let named = |work: &&Work| request.workload.as_deref() == Some(work.name.as_str());
    match client.workloads.iter().find(named) {
        Some(work) => work.request_timeout,
        None => client.transport.request_timeout,
    }
}

fn server_closed(archive: &Archive, connection: &Connection, ended: Duration) -> bool {
    let began = connection.began().unwrap_or(Moment::START);
    let closed = connection
        .local
        .and_then(|local| archive.server_closed.get(&key(local)));
    let times = began.at..=ended + READ_LATE;
    closed.is_some_and(|all| all.iter().any(|at| times.contains(&at.at)))
}

/// A socket's keepalive and TCP_USER_TIMEOUT: ours has what the plan says, a program's what was read from it, if it
/// was.
fn options(
    archive: &Archive,
    client: &Client,
    connection: &Connection,
) -> (Option<Keepalive>, Option<Duration>) {
    if client.program().is_none() {
        let transport = &client.transport;
        return (transport.keepalive, transport.user_timeout);
    }
    let read = archive
        .of_client(client)
        .iter()
        .rev()
        .find_map(|(_, what)| match what {
            Observation::SocketOptions {
                connection: id,
                keepalive,
                user_timeout,
                ..
            } if *id == connection.id => Some((*keepalive, *user_timeout)),
            _ => None,
        });
    read.unwrap_or_default()
}

/// The sysctls in the client's namespace: by what was read back there, else by what was asked for, else the kernel's
/// defaults.
pub(super) fn tcp_sysctls(client: &Client, timeline: &Timeline) -> TcpSysctls {
    let place = match &client.place {
        Place::Node(name) | Place::Pod(name) => name,
    };
    let mut sysctls = timeline.case.lab.sysctls_at(&client.place).to_vec();
    sysctls.extend(timeline.sysctls(place));
    TcpSysctls::with(&sysctls)
}
