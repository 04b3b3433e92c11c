//! Every event of a record once, filed under what it is looked up by.
//!
//! The first stage: whatever is judged reads from here, and never walks the events again. Filing takes one pass.

mod arrivals;
mod exchange;
mod icmp;
mod look_up;
mod of_client;
mod own_link;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::{Case, Keepalive, Location, Sysctl};
use crate::record::{ClockName, EndedBy, Event, Observation, RequestId, Segment, Socket, Stage};
use crate::timeout_model::Kernel;

use super::timeline::{Moment, Timeline};
use arrivals::Arrivals;
pub(super) use exchange::{Exchange, Spoken};
use icmp::IcmpErrors;
pub(super) use icmp::Unreachable;
pub(super) use of_client::{ClientEvents, ConnectionEvent, RequestEvent};
use own_link::OwnLinks;

/// Events of one instant that different observers write, on a busy machine.
pub(super) const AT_ONCE: Duration = Duration::from_millis(50);
/// Jiffies round TCP_INFO's ages: one tick of the slowest kernel (HZ=100).
pub(super) const TICK: Duration = Duration::from_millis(10);

/// A packet's own stamp may lie this far before the event that the client writes of it.
pub(super) const STAMP_SLACK: Duration = Duration::from_millis(20);

/// Records tell of what reached a program from this version on.
const ARRIVALS_SINCE: u32 = 3;

/// An address and port that are the same whether an IPv4 or an IPv6 socket showed them.
type Endpoint = (IpAddr, u16);

pub(super) fn canonical(address: SocketAddr) -> Endpoint {
    (address.ip().to_canonical(), address.port())
}

/// Keepalive and TCP_USER_TIMEOUT of a socket.
type SocketOptions = (Option<Keepalive>, Option<Duration>);

/// Lists by a key.
type Filed<K, V> = HashMap<K, Vec<V>>;

/// From when something was not there, and until when if it came back.
type Absence = (Duration, Option<Duration>);
/// On one node alone, or on all.
type AbsenceOn<'a> = (Option<&'a str>, Absence);

/// A record's events by what they are looked up by, each list in order of time.
pub(super) struct Index<'a> {
    pub case: &'a Case,
    pub clock: ClockName,
    pub kernel: &'a str,
    pub hz: Option<u32>,
    /// The faults, and who could answer when.
    pub timeline: Timeline<'a>,
    /// The time of the last event, or from which on programs are told that the case is over and given time for that.
    pub last: Duration,
    is_over: bool,
    /// It goes on to the case's end.
    pub whole: bool,
    /// The lab was ready.
    pub begun: bool,
    pub rig_error: Option<(&'a str, Option<&'a Location>)>,
    /// How long the lab waited for the machine, at the worst; zero if it is not worth telling of.
    pub lateness: Duration,
    pub skipped: Option<(&'a str, Option<&'a Location>)>,
    pub warnings: Vec<&'a str>,
    pub requests_sent: usize,
    pub responses: usize,
    /// Who held locks and who believed to, and who was no more.
    pub leadership: Vec<(Moment, Leadership<'a>)>,
    clients: HashMap<&'a str, ClientEvents<'a>>,
    accepted: Filed<Endpoint, (Moment, &'a str)>,
    closed: Filed<Endpoint, Moment>,
    closed_by: Filed<Endpoint, (Moment, EndedBy)>,
    server_options: HashMap<(&'a str, Endpoint), SocketOptions>,
    unnumbered: Filed<Endpoint, (Moment, &'a str)>,
    exchanges: Filed<IpAddr, Exchange<'a>>,
    arrivals: Arrivals,
    /// The record tells what reached a program.
    pub knows_arrivals: bool,
    sent: Filed<Endpoint, (Moment, &'a Segment)>,
    received: Filed<Endpoint, (Moment, &'a Segment)>,
    syns: Filed<IpAddr, (Moment, &'a Segment)>,
    syns_of: Filed<Endpoint, (Moment, &'a Segment)>,
    sockets: Filed<(&'a str, Endpoint), (Moment, &'a Socket)>,
    icmp: IcmpErrors<'a>,
    /// When an endpoint was out of a service's rules, and on which node alone.
    removed: HashMap<(&'a str, &'a str), Vec<AbsenceOn<'a>>>,
    sysctls: Filed<&'a str, Sysctl>,
    grown: HashMap<&'a str, BTreeMap<&'a str, u64>>,
}

/// Something said of a lock.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leadership<'a> {
    Holder {
        store: &'a str,
        holder: Option<&'a str>,
    },
    Belief {
        client: &'a str,
        leads: bool,
    },
    Gone {
        client: &'a str,
    },
}

impl<'a> Index<'a> {
    /// Files a record; `None` if it does not say which case it is of.
    pub(super) fn of(record: &'a [Event]) -> Option<Self> {
        let started = record.iter().find_map(|event| {
            let Observation::CaseStarted {
                clock,
                kernel,
                hz,
                case,
                record_version,
                ..
            } = &event.what
            else {
                return None;
            };
            let version = *record_version;
            Some((*clock, kernel.as_str(), *hz, case.as_ref(), version))
        });
        let (clock, kernel, hz, case, version) = started?;
        let hz = Kernel::of(kernel, hz).hz;
        let mut index = Self {
            case,
            clock,
            kernel,
            hz,
            timeline: Timeline::new(case),
            last: Duration::ZERO,
            is_over: false,
            whole: false,
            begun: false,
            rig_error: None,
            lateness: Duration::ZERO,
            skipped: None,
            warnings: Vec::new(),
            requests_sent: 0,
            responses: 0,
            leadership: Vec::new(),
            clients: HashMap::new(),
            accepted: HashMap::new(),
            closed: HashMap::new(),
            closed_by: HashMap::new(),
            server_options: HashMap::new(),
            unnumbered: HashMap::new(),
            exchanges: HashMap::new(),
            arrivals: Arrivals::default(),
            knows_arrivals: version >= ARRIVALS_SINCE,
            sent: HashMap::new(),
            received: HashMap::new(),
            syns: HashMap::new(),
            syns_of: HashMap::new(),
            sockets: HashMap::new(),
            icmp: IcmpErrors::default(),
            removed: HashMap::new(),
            sysctls: HashMap::new(),
            grown: HashMap::new(),
        };
        // Some events carry a time before that of their neighbours: a packet's own stamp.
        let mut sorted: Vec<&Event> = record.iter().collect();
        sorted.sort_by_key(|event| event.t_ns);
        for (order, event) in sorted.into_iter().enumerate() {
            index.file(Moment::new(event.at(), order), &event.what);
        }
        let by_own_link = OwnLinks::of(case);
        for (end, segments) in index.sent.iter_mut().chain(&mut index.received) {
            by_own_link.choose(end.0, segments, |(_, segment)| segment.node.as_str());
            segments.sort_by_key(|(_, segment)| segment.stamp_ns);
        }
        let syns = index.syns.values_mut().chain(index.syns_of.values_mut());
        for syns in syns {
            syns.sort_by_key(|(_, segment)| segment.stamp_ns);
        }
        index.icmp.settle(&by_own_link);
        index.arrivals.settle();
        Some(index)
    }

    fn file(&mut self, at: Moment, what: &'a Observation) {
        if !self.is_over {
            self.last = at.at;
        }
        match what {
            Observation::LabReady { .. } => self.begun = true,
            Observation::CaseEnded {} => self.whole = true,
            Observation::RigError { text, location } => {
                self.rig_error = self.rig_error.or(Some((text.as_str(), location.as_ref())));
            }
            Observation::Lateness { longest_us } => {
                self.lateness = self.lateness.max(Duration::from_micros(*longest_us));
            }
            Observation::Skipped { missing, location } => {
                self.skipped = self.skipped.or(Some((missing.as_str(), location.as_ref())));
            }
            Observation::Warning { text } => self.warnings.push(text),
            Observation::Sysctl { place, key, value } => {
                self.sysctls.entry(place).or_default().push(Sysctl {
                    key: key.clone(),
                    value: value.clone(),
                    location: Location::default(),
                });
            }
            Observation::Counters {
                place,
                stage,
                deltas,
            } => {
                // What it counted at its set-up is not the case's.
                if *stage != Stage::Start {
                    let grown = self.grown.entry(place).or_default();
                    for (counter, delta) in deltas {
                        let sum = grown.entry(counter).or_default();
                        *sum = sum.saturating_add(*delta);
                    }
                }
            }
            Observation::FaultInjected { fault, phases } => {
                self.timeline.injected(*fault, at, phases);
            }
            Observation::FaultHealed { fault } => self.timeline.healed(*fault, at),
            Observation::Forgotten {
                middlebox, from, ..
            } => self.timeline.forgotten.push((at, middlebox, from.port())),
            Observation::EndpointRemoved {
                service,
                endpoint,
                node,
            } => {
                let removed = self.removed.entry((service, endpoint)).or_default();
                let mut there = removed.iter().filter(|(of, _)| *of == node.as_deref());
                // Removed by two faults, it is out since the first.
                if there
                    .next_back()
                    .is_none_or(|(_, (_, back))| back.is_some())
                {
                    removed.push((node.as_deref(), (at.at, None)));
                }
            }
            Observation::EndpointAdded {
                service,
                endpoint,
                node,
            } => {
                let removed = self.removed.get_mut(&(service.as_str(), endpoint.as_str()));
                let removed = removed.into_iter().flatten();
                let there = removed.rev().find(|(of, _)| *of == node.as_deref());
                if let Some((_, (_, back @ None))) = there {
                    *back = Some(at.at);
                }
            }
            Observation::LeaderChanged { store, holder } => {
                let holder = holder.as_deref();
                let changed = Leadership::Holder { store, holder };
                self.leadership.push((at, changed));
            }
            Observation::LeaderBelief { client, leads } => {
                let leads = *leads;
                let belief = Leadership::Belief { client, leads };
                self.leadership.push((at, belief));
            }
            Observation::NodeReady { client, ready, .. } => {
                self.client_mut(client).ready.push((at, *ready));
            }
            Observation::ClientGone { client } => {
                self.leadership.push((at, Leadership::Gone { client }));
                let of = self.client_mut(client);
                of.gone = of.gone.or(Some(at));
            }
            Observation::ServerAccepted { server, peer, .. } => {
                let accepted = self.accepted.entry(canonical(*peer));
                accepted.or_default().push((at, server));
            }
            Observation::ServerClosed { peer, by, .. } => {
                self.closed.entry(canonical(*peer)).or_default().push(at);
                if let Some(by) = by {
                    let closed_by = self.closed_by.entry(canonical(*peer));
                    closed_by.or_default().push((at, *by));
                }
            }
            Observation::ServerRequest {
                server,
                peer,
                request,
                ..
            } => {
                self.exchange(at, server, *peer, Spoken::Request);
                if let Some(request) = request {
                    let of = self.client_mut(&request.client);
                    of.received.push((at, request.number, server));
                }
            }
            Observation::ServerResponse {
                server,
                peer,
                request,
                ..
            } => {
                self.exchange(at, server, *peer, Spoken::Response);
                match request {
                    Some(request) => {
                        let answered = &mut self.client_mut(&request.client).answered;
                        answered.entry(request.number).or_default().push(server);
                    }
                    None => {
                        let by_peer = self.unnumbered.entry(canonical(*peer));
                        by_peer.or_default().push((at, server));
                    }
                }
            }
            Observation::ServerStreamed {
                server,
                peer,
                request,
                sent,
            } => match request {
                Some(request) => {
                    let parts = &mut self.client_mut(&request.client).parts;
                    let parts = parts.entry(request.number).or_default();
                    parts.push((at, server, *sent));
                }
                None => self.exchange(at, server, *peer, Spoken::Part),
            },
            Observation::Segment(segment) => self.segment(at, segment),
            Observation::Socket(socket) => {
                let key = (socket.place.as_str(), canonical(socket.local));
                self.sockets.entry(key).or_default().push((at, socket));
            }
            Observation::Icmp {
                node,
                kind,
                from,
                about,
                ..
            } => self.icmp.file(at, node, *kind, *from, *about),
            Observation::DialStarted {
                client,
                connection,
                target,
                local,
            } => {
                let (target, local) = (*target, *local);
                let dialled = ConnectionEvent::Dialled { target, local };
                self.client_mut(client).connection(at, *connection, dialled);
            }
            Observation::ConnectionOpened {
                client,
                connection,
                local,
                target,
                protocol,
            } => {
                let (target, local, protocol) = (*target, *local, *protocol);
                let opened = ConnectionEvent::Opened {
                    target,
                    local,
                    protocol,
                };
                self.client_mut(client).connection(at, *connection, opened);
            }
            Observation::DialFailed {
                client,
                connection,
                error,
            } => {
                let failed = ConnectionEvent::DialFailed(error);
                self.client_mut(client).connection(at, *connection, failed);
            }
            Observation::ConnectionClosed {
                client,
                connection,
                end,
            } => {
                let closed = ConnectionEvent::Closed(end);
                self.client_mut(client).connection(at, *connection, closed);
            }
            Observation::PingSent { client, connection } => {
                self.client_mut(client).ping(at, *connection, false);
            }
            Observation::PingAcked { client, connection } => {
                self.client_mut(client).ping(at, *connection, true);
            }
            Observation::SocketOptions {
                client,
                connection,
                keepalive,
                user_timeout,
            } => {
                let options = (*keepalive, *user_timeout);
                self.client_mut(client).options.insert(*connection, options);
            }
            Observation::RequestSent {
                request,
                connection,
                ..
            } => {
                self.requests_sent += 1;
                self.request(at, request, RequestEvent::Sent(*connection));
            }
            Observation::ResponseBegan { request, .. } => {
                self.request(at, request, RequestEvent::Began);
            }
            Observation::StreamReceived {
                request, received, ..
            } => self.request(at, request, RequestEvent::Part(received)),
            Observation::Response {
                request,
                connection,
                server,
                ..
            } => {
                self.responses += 1;
                let server = server.as_deref();
                self.request(at, request, RequestEvent::Response(*connection, server));
            }
            Observation::RequestFailed {
                request,
                connection,
                error,
                ..
            } => self.request(at, request, RequestEvent::Failed(*connection, *error)),
            Observation::RequestUnfinished { request, .. } => {
                self.request(at, request, RequestEvent::Unfinished);
            }
            Observation::ProgramOutput {
                client,
                stream,
                text,
                ..
            } => self.client_mut(client).output.push((*stream, text)),
            Observation::ProgramSaid { client, ok, .. } => {
                self.client_mut(client).said.push((at.at, *ok));
            }
            Observation::ProgramExited {
                client,
                code,
                signal,
            } => {
                let client = self.client_mut(client);
                client.exited = Some((at.at, *code, *signal));
                client.runs_again = false;
            }
            Observation::ProgramStarted { client, .. } => {
                self.client_mut(client).runs_again = true;
            }
            Observation::PayloadReceived { local, .. } => {
                self.arrivals.came(*local, at);
            }
            Observation::PayloadWithheld { local, .. } => {
                self.arrivals.withheld(*local, at);
            }
            Observation::ProgramStopped { .. } => self.is_over = true,
            Observation::CaseStarted { .. }
            | Observation::ServerListening { .. }
            | Observation::ServerStarted { .. }
            | Observation::ServerReady { .. }
            | Observation::ServerExited { .. }
            | Observation::ServerOutput { .. }
            | Observation::Rules { .. } => {}
            Observation::ServerSocketOptions {
                server,
                peer,
                keepalive,
                user_timeout,
            } => {
                let options = (*keepalive, *user_timeout);
                let of = (server.as_str(), canonical(*peer));
                self.server_options.insert(of, options);
            }
        }
    }

    fn client_mut(&mut self, name: &'a str) -> &mut ClientEvents<'a> {
        self.clients.entry(name).or_default()
    }

    fn request(&mut self, at: Moment, request: &'a RequestId, event: RequestEvent<'a>) {
        let of = self.client_mut(&request.client);
        of.requests.push((at, request, event));
    }

    fn exchange(&mut self, at: Moment, server: &'a str, peer: SocketAddr, what: Spoken) {
        let of_peer = self.exchanges.entry(peer.ip().to_canonical());
        of_peer.or_default().push(Exchange {
            at,
            server,
            peer,
            what,
        });
    }

    fn segment(&mut self, at: Moment, segment: &'a Segment) {
        let sent = self.sent.entry(canonical(segment.from));
        sent.or_default().push((at, segment));
        let received = self.received.entry(canonical(segment.to));
        received.or_default().push((at, segment));
        // Where it led is seen behind DNAT: on a node's link.
        if is_syn(segment) && self.case.lab.node(&segment.node).is_some() {
            let of_host = self.syns.entry(segment.from.ip()).or_default();
            of_host.push((at, segment));
            let of_end = self.syns_of.entry(canonical(segment.from)).or_default();
            of_end.push((at, segment));
        }
    }
}

/// Whether a segment asks for a connection.
fn is_syn(segment: &Segment) -> bool {
    segment.flags.contains('S') && !segment.flags.contains('A')
}
