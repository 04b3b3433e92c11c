//! The connections of a program, from what its packets and its sockets say.

mod agenda;
mod ends;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::diag::{Ends, Shown};
use super::watch::Watch;
use crate::plan::Protocol;
use crate::probe::packets::parse::{ACK, FIN, Packet, RST, SYN, TcpSegment};
use crate::record::{EndedBy, Observation, TcpInfo, TcpState};
use agenda::Agenda;
use ends::errno_of;

/// Of more sockets than this that wait at once, none is looked at out of turn.
const MOST_STIRRED: usize = 64;

/// An ICMP error ends a dial at the instant it comes; what ends it later was something else.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A socket that is no more, or that the kernel has given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// The kernel's number of it.
    pub(super) cookie: u64,
    /// Its own address: cleared where the program disconnected it before (own RST, shutdown() while dialling).
    pub(super) local: SocketAddr,
    /// Its peer's, as the program knew it: before DNAT. Cleared as the other.
    pub(super) remote: SocketAddr,
    /// Its last TCP_INFO.
    pub(super) info: TcpInfo,
}

/// A program's connections.
#[derive(Debug)]
pub(super) struct Tracker {
    client: String,
    /// Its own addresses.
    addresses: Vec<IpAddr>,
    /// SYNs the kernel sends again before it gives a dial up.
    syn_limit: u8,
    open: BTreeMap<u32, Tracked>,
    agenda: Agenda,
    by_ends: HashMap<Ends, u32>,
    by_cookie: HashMap<u64, u32>,
    /// The latest from each of its own addresses.
    by_local: HashMap<SocketAddr, u32>,
    last_id: u32,
    over: bool,
}

#[derive(Debug)]
struct Tracked {
    id: u32,
    /// As its packets have them.
    ends: Ends,
    /// The kernel's number of its socket, and the addresses that it knows; `None` until it was seen.
    socket: Option<(u64, Ends)>,
    /// Sequence number of its SYN.
    seq: u32,
    /// Sendings again of its SYN.
    syns_again: u8,
    /// The SYN was answered.
    established: bool,
    /// The peer's FIN came.
    peer_closed: bool,
    /// The peer's RST came.
    reset: bool,
    /// A RST went out.
    resets: Option<Duration>,
    /// The last ICMP error that came while it was being opened, and what the kernel makes of it.
    unreachable: Option<(Duration, i32)>,
    /// It waits for an answer.
    watch: Option<Watch>,
    /// The next look at its socket; set by the agenda.
    planned_look: Option<Duration>,
    /// When its socket was last seen to be the program's.
    alive_at: Duration,
    /// When its socket was first seen to be in none of the kernel's tables, before the kernel told of its end.
    missed: Option<Duration>,
}

/// What was observed, and when.
type Observed = Vec<(Duration, Observation)>;

impl Tracker {
    pub(super) fn new(client: &str, addresses: Vec<IpAddr>, syn_limit: u8) -> Self {
        Self {
            client: client.to_owned(),
            addresses,
            syn_limit,
            open: BTreeMap::new(),
            agenda: Agenda::default(),
            by_ends: HashMap::new(),
            by_cookie: HashMap::new(),
            by_local: HashMap::new(),
            last_id: 0,
            over: false,
        }
    }

    /// A packet was seen at `stamp`.
    pub(super) fn see(&mut self, packet: &Packet, stamp: Duration) -> Observed {
        match packet {
            _ if self.over => Vec::new(),
            Packet::Tcp(segment) if self.is_own(segment.from.ip()) => self.sent(segment, stamp),
            Packet::Tcp(segment) => {
                self.received(segment);
                Vec::new()
            }
            Packet::Icmp {
                kind, to, about, ..
            } => {
                // Destination unreachable: type 3 of ICMP, type 1 of ICMPv6.
                if self.is_own(*to) && kind.0 == if to.is_ipv4() { 3 } else { 1 } {
                    let is_meant =
                        |dial: &Tracked| about.is_none_or(|(from, _)| from == dial.ends.0);
                    let dials = self.open.values_mut();
                    for dial in dials.filter(|c| !c.established && is_meant(c)) {
                        dial.unreachable = Some((stamp, errno_of(*kind, to.is_ipv4())));
                    }
                }
                Vec::new()
            }
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    fn take(&mut self, id: u32) -> Option<Tracked> {
        let tracked = self.open.remove(&id)?;
        self.agenda.forget(&tracked);
        self.by_ends.remove(&tracked.ends);
        if let Some((cookie, _)) = tracked.socket {
            self.by_cookie.remove(&cookie);
        }
        if self.by_local.get(&tracked.ends.0) == Some(&id) {
            self.by_local.remove(&tracked.ends.0);
        }
        Some(tracked)
    }

    fn sent(&mut self, segment: &TcpSegment, stamp: Duration) -> Observed {
        let known = self.by_ends.get(&(segment.from, segment.to)).copied();
        if segment.has(SYN) && !segment.has(ACK) {
            return self.dialled(segment, known, stamp);
        }
        let Some(id) = known else {
            return Vec::new();
        };
        if segment.has(RST) {
            // The kernel sends one when keepalive ends, too: how the socket dies tells.
            if let Some(tracked) = self.open.get_mut(&id) {
                tracked.resets.get_or_insert(stamp);
            }
            return Vec::new();
        }
        if segment.has(FIN)
            && let Some(tracked) = self.take(id)
        {
            let (by, text) = match tracked.peer_closed {
                true => (EndedBy::Peer, "closed by the server"),
                false => (EndedBy::Client, "closed by the program (FIN)"),
            };
            return vec![(stamp, self.end(&tracked, by, None, None, text))];
        }
        Vec::new()
    }

    fn dialled(&mut self, syn: &TcpSegment, known: Option<u32>, stamp: Duration) -> Observed {
        let mut observed = Vec::new();
        if let Some(tracked) = known.and_then(|id| self.open.get_mut(&id))
            && tracked.seq == syn.seq
        {
            tracked.syns_again = tracked.syns_again.saturating_add(1);
            // Its timer is set anew.
            self.agenda.plan(tracked, Some(stamp));
            return observed;
        }
        if let Some(old) = known.and_then(|id| self.take(id)) {
            let text = "its ports were used again";
            observed.push((stamp, self.end(&old, EndedBy::Kernel, None, None, text)));
        }
        // A program connects anew when it has given up what it waited on, as a rule.
        self.stirred(stamp);
        self.last_id += 1;
        let (id, ends) = (self.last_id, (syn.from, syn.to));
        let watch = Watch {
            since: stamp,
            due: None,
        };
        let mut tracked = Tracked {
            id,
            ends,
            socket: None,
            seq: syn.seq,
            syns_again: 0,
            established: false,
            peer_closed: false,
            reset: false,
            resets: None,
            unreachable: None,
            watch: Some(watch),
            planned_look: None,
            alive_at: stamp,
            missed: None,
        };
        self.agenda.plan(&mut tracked, Some(stamp));
        self.open.insert(id, tracked);
        self.by_ends.insert(ends, id);
        self.by_local.insert(ends.0, id);
        observed.push((
            stamp,
            Observation::DialStarted {
                client: self.client.clone(),
                connection: id,
                target: syn.to,
                local: Some(syn.from),
            },
        ));
        observed
    }

    fn received(&mut self, segment: &TcpSegment) {
        let known = self.by_ends.get(&(segment.to, segment.from));
        let Some(tracked) = known.and_then(|id| self.open.get_mut(id)) else {
            return;
        };
        if segment.has(SYN) && segment.has(ACK) && !tracked.established {
            tracked.established = true;
            tracked.watch = None;
            let next = tracked.planned_look.filter(|_| tracked.socket.is_none());
            self.agenda.plan(tracked, next);
        }
        tracked.peer_closed |= segment.has(FIN);
        tracked.reset |= segment.has(RST);
    }

    /// A server has accepted a connection and, with TLS, shaken hands.
    pub(super) fn accepted(
        &mut self,
        peer: SocketAddr,
        protocol: Option<Protocol>,
        now: Duration,
    ) -> Observed {
        let found = self.by_local.get(&canonical(peer));
        let found = found.and_then(|id| self.open.get(id));
        let opened = found
            .filter(|_| !self.over)
            .map(|tracked| Observation::ConnectionOpened {
                client: self.client.clone(),
                connection: tracked.id,
                local: tracked.ends.0,
                target: tracked.ends.1,
                protocol,
            });
        opened.into_iter().map(|opened| (now, opened)).collect()
    }

    /// Data from `local`, first sent at `since`, was sent again: its socket is to be looked at. The connection's number, if
    /// there is one.
    pub(super) fn sent_again(
        &mut self,
        local: SocketAddr,
        since: Option<Duration>,
        at: Duration,
    ) -> Option<u32> {
        let found = self.by_local.get(&local);
        let tracked = found.and_then(|id| self.open.get_mut(id))?;
        let watch = tracked.watch.get_or_insert(Watch {
            since: since.unwrap_or(at),
            due: None,
        });
        watch.since = since.unwrap_or(watch.since);
        self.agenda.plan(tracked, Some(at));
        Some(tracked.id)
    }

    /// Whose connections they are.
    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// Something was broken: every socket shows the timer that rules from now on.
    pub(super) fn look_at_all(&mut self, now: Duration) {
        for tracked in self.open.values_mut() {
            self.agenda.plan(tracked, Some(now));
        }
    }

    /// The program has done something at `now` that shows: if it has closed a socket that waited in vain, then by now.
    pub(super) fn stirred(&mut self, now: Duration) {
        // With thousands that wait, each of which is dialled for again, that would be millions of looks.
        if self.agenda.len() > MOST_STIRRED {
            return;
        }
        // Whoever waits has a look planned.
        for id in self.agenda.planned() {
            let tracked = self.open.get_mut(&id);
            if let Some(tracked) = tracked.filter(|c| c.watch.is_some()) {
                let look = tracked.planned_look.map_or(now, |at| at.min(now));
                self.agenda.plan(tracked, Some(look));
            }
        }
    }

    /// When a socket is to be looked at next.
    pub(super) fn next_look(&self) -> Option<Duration> {
        self.agenda.next()
    }

    /// The connections whose sockets are to be looked at by `now`, with the addresses that their sockets know.
    pub(super) fn due(&self, now: Duration) -> Vec<(u32, Ends)> {
        let due = self.agenda.due(now).into_iter();
        due.filter_map(|id| self.open.get(&id))
            .map(|c| (c.id, c.socket.map_or(c.ends, |(_, ends)| ends)))
            .collect()
    }

    /// Whether a connection has no end yet.
    pub(super) fn has(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    /// The kernel's number of a connection's socket, if it is known.
    pub(super) fn cookie(&self, id: u32) -> Option<u64> {
        self.open.get(&id)?.socket.map(|(cookie, _)| cookie)
    }

    /// A connection's socket was seen at `now`.
    pub(super) fn looked(&mut self, id: u32, shown: &Shown, now: Duration) -> Observed {
        let Some(tracked) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        if tracked.socket.is_none() {
            let earlier = self.by_cookie.insert(shown.cookie, id);
            tracked.socket = Some((shown.cookie, shown.ends()));
            // A program that connects one socket after the other: it had let go of the first before.
            if let Some(old) = earlier.filter(|old| *old != id)
                && let Some(mut old) = self.open.remove(&old)
            {
                old.socket = None;
                self.agenda.forget(&old);
                self.by_ends.remove(&old.ends);
                let text = "the program connected its socket anew";
                return vec![(now, self.end(&old, EndedBy::Client, None, None, text))];
            }
        }
        let Some(tracked) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        if is_closing(shown.state) {
            return self.closing(id, now);
        }
        (tracked.alive_at, tracked.missed) = (now, None);
        let timer = shown.timer.filter(|_| shown.state != TcpState::TimeWait);
        let due = timer.map(|timer| now + Duration::from_millis(timer.left_ms.into()));
        if shown.unanswered() || due.is_some() {
            let since = tracked.watch.map_or(now, |watch| watch.since);
            let watch = Watch { since, due };
            let next = match shown.unanswered() {
                true => Some(watch.next(now)),
                // Nothing is unacknowledged: the program's FIN would go out, so only the kernel's timer can say nothing.
                false => due.map(|due| due + AT_ONCE),
            };
            self.agenda.plan(tracked, next);
            tracked.watch = shown.unanswered().then_some(watch).or(tracked.watch);
        } else {
            tracked.watch = None;
            self.agenda.plan(tracked, None);
        }
        Vec::new()
    }

    /// The program closed a socket, whatever the wire shows.
    fn closing(&mut self, id: u32, now: Duration) -> Observed {
        let Some(tracked) = self.take(id) else {
            return Vec::new();
        };
        let (by, text) = match tracked.peer_closed {
            true => (EndedBy::Peer, "closed by the server"),
            false => (
                EndedBy::Client,
                "closed by the program (its FIN waits behind data that nobody acknowledges)",
            ),
        };
        let mut closed = self.end(&tracked, by, None, None, text);
        if let Observation::ConnectionClosed { end, .. }
        | Observation::DialFailed { error: end, .. } = &mut closed
        {
            end.not_before = Some(tracked.alive_at);
        }
        vec![(now, closed)]
    }

    /// A socket is no more.
    pub(super) fn died(&mut self, death: &Death, now: Duration) -> Observed {
        let (local, remote) = (canonical(death.local), canonical(death.remote));
        let by_cookie = self.by_cookie.get(&death.cookie);
        // On a node itself packets are seen after DNAT, while the socket speaks of the address before it.
        let known = by_cookie
            .or_else(|| self.by_ends.get(&(local, remote)))
            .or_else(|| self.by_local.get(&local))
            .or_else(|| self.cleared(local));
        let known = known.copied().filter(|_| !self.over);
        known.map_or_else(Vec::new, |id| self.gone(id, death.info, now))
    }

    /// The one connection that a socket whose addresses were cleared can have been: the only one of its port that was never
    /// seen.
    fn cleared(&self, local: SocketAddr) -> Option<&u32> {
        let unseen = |id: &&u32| self.open.get(id).is_some_and(|c| c.socket.is_none());
        let mut same = self.by_local.iter();
        let found = same.find(|(known, id)| known.port() == local.port() && unseen(id));
        found
            .filter(|_| local.ip().is_unspecified())
            .map(|(_, id)| id)
    }

    /// The case is over: what is open then ends with it, and nothing counts any more.
    pub(super) fn finish(&mut self, now: Duration) -> Observed {
        self.over = true;
        self.agenda.clear();
        let open = std::mem::take(&mut self.open);
        let over = |c| self.end(c, EndedBy::CaseEnd, None, None, "the case is over");
        let ends = open.values().map(|c| match c.missed {
            Some(missed) => (missed, self.untold(c)),
            None => (now, over(c)),
        });
        ends.collect()
    }

    /// The program's node has lost its power: nothing counts any more.
    pub(super) fn stop(&mut self) {
        self.over = true;
        self.agenda.clear();
        self.open.clear();
    }

    /// The connections it has, established or being opened: number and own address.
    pub(super) fn open(&self) -> Vec<(u32, SocketAddr)> {
        self.open.values().map(|c| (c.id, c.ends.0)).collect()
    }
}

/// Whether the program has closed a socket that is in this state.
fn is_closing(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::LastAck
            | TcpState::Closing
            | TcpState::TimeWait
    )
}

/// An IPv6 socket shows an IPv4 peer in an IPv6 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
