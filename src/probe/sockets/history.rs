//! What of a namespace's sockets is news: each socket's last writing, and what differs from it.
//!
//! A healthy exchange leaves data unacknowledged for a round trip, and nobody wants to read of that. So what looks like one
//! is held back, and written, with its own time, once it turns out to be none: something is sent again, a timer counts, or
//! it has lasted for a retransmission timeout.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::diag::{Ends, Shown};
use crate::record::{Observation, Socket, SocketChange, TcpState, TimerKind};

/// A SYN that has brought about no socket after this long was lost.
const ARRIVES: Duration = Duration::from_secs(1);

/// Of so many sockets that send something again it is looked whether more joins it, whenever their program sends anything else. Of
/// more, who has hundreds of dead connections at once, that would be most of a lab's work: there it shows when they send again.
const FEW: usize = 32;

/// The first of all addresses.
const LOWEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What was observed, and when.
pub(super) type Observed = Vec<(Duration, Observation)>;

/// The sockets of one namespace.
#[derive(Debug, Default)]
pub(super) struct History {
    place: String,
    known: BTreeMap<Ends, Known>,
    /// Connections of which a SYN was seen, and no socket yet.
    expected: BTreeMap<Ends, Expected>,
    /// What joins the data that waits to be sent again is news: it is all that shows of a program's asking on a dead connection.
    of_program: bool,
    /// Of a program's: those that send something again.
    again: BTreeSet<Ends>,
}

#[derive(Debug)]
struct Known {
    written: Shown,
    held: Option<(Duration, Shown)>,
}

#[derive(Debug, Clone, Copy)]
struct Expected {
    since: Duration,
    state: TcpState,
}

impl History {
    pub(super) fn new(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            ..Self::default()
        }
    }

    /// With what is news of a program's sockets only.
    pub(super) fn of_program(self, of_program: bool) -> Self {
        Self { of_program, ..self }
    }

    /// The sockets of a program that send something again and again, if they are few.
    pub(super) fn in_vain(&self) -> impl Iterator<Item = Ends> {
        let few = self.again.iter().filter(|_| self.again.len() <= FEW);
        few.copied()
    }

    /// Files a socket as one that sends something again, or no more.
    fn file(&mut self, ends: &Ends) {
        let known = self.known.get(ends).filter(|_| self.of_program);
        match known.is_some_and(|known| sends_again(&known.written)) {
            true => self.again.insert(*ends),
            false => self.again.remove(ends),
        };
    }

    /// A connection is opened at `since` between these addresses, and its socket here is in `state` at first.
    pub(super) fn expect(&mut self, ends: Ends, state: TcpState, since: Duration) {
        if !self.known.contains_key(&ends) {
            self.expected
                .entry(ends)
                .or_insert(Expected { since, state });
        }
    }

    /// The addresses of the sockets known here, and of those expected.
    pub(super) fn all(&self) -> Vec<Ends> {
        self.known
            .keys()
            .chain(self.expected.keys())
            .copied()
            .collect()
    }

    /// The sockets known or expected with this address of their own.
    pub(super) fn with(&self, local: SocketAddr) -> Vec<Ends> {
        let known = self.known.range((local, LOWEST)..).map(|(ends, _)| ends);
        let expected = self.expected.range((local, LOWEST)..).map(|(ends, _)| ends);
        let own = |ends: &&Ends| ends.0 == local;
        known
            .take_while(own)
            .chain(expected.take_while(own))
            .copied()
            .collect()
    }

    /// Whether an acknowledgement could change anything about the socket.
    pub(super) fn is_settled(&self, ends: &Ends) -> bool {
        self.known.get(ends).is_some_and(|known| {
            let last = known.held.as_ref().map_or(&known.written, |(_, held)| held);
            last.state == TcpState::Established
                && last.send_queue == 0
                && last.receive_queue == 0
                && probes(last) == 0
                && !waits(last)
        })
    }

    /// Whether there is a socket with these addresses, or is to be one.
    pub(super) fn has(&self, ends: &Ends) -> bool {
        self.known.contains_key(ends) || self.expected.contains_key(ends)
    }

    /// Whether a client's socket is expected there that was never seen.
    pub(super) fn expects_client(&self, ends: &Ends) -> bool {
        let expected = self.expected.get(ends);
        expected.is_some_and(|expected| expected.state == TcpState::SynSent)
    }

    /// Forgets everything: the machine is no more.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.expected.clear();
        self.again.clear();
    }

    /// The socket was looked at, and is so.
    pub(super) fn saw(&mut self, shown: Shown, now: Duration) -> Observed {
        // Not a socket but the memory of one: its end tells.
        if is_memory(&shown) {
            return Vec::new();
        }
        let ends = shown.ends();
        let mut observed = Vec::new();
        match self.known.get_mut(&ends) {
            // A request socket makes way for the connection's own. Otherwise it is another one by the same addresses, and
            // of the one before the end is told by the kernel, if later.
            Some(known)
                if known.written.cookie == shown.cookie
                    || known.written.state == TcpState::SynReceived =>
            {
                let more = self.of_program
                    && sends_again(&known.written)
                    && sends_again(&shown)
                    && shown.send_queue > known.written.send_queue;
                let again = more.then(|| shown.clone());
                observed = known.changed(&self.place, shown, now);
                if let Some(shown) = again.filter(|_| observed.is_empty()) {
                    observed.push((now, event(&self.place, &shown, SocketChange::Changed)));
                    known.written = shown;
                }
            }
            _ => {
                if let Some(ends) = self.expected_as(&shown) {
                    self.expected.remove(&ends);
                }
                observed.push((now, event(&self.place, &shown, SocketChange::Born)));
                let known = Known {
                    written: shown,
                    held: None,
                };
                self.known.insert(ends, known);
            }
        }
        self.file(&ends);
        observed
    }

    /// The socket was looked for, and not found.
    pub(super) fn missed(&mut self, ends: &Ends, now: Duration) -> Observed {
        self.again.remove(ends);
        let Some(known) = self.known.get_mut(ends) else {
            // A SYN that never arrived made no socket; a client's that is gone will be told of by the kernel.
            let vain = |e: &Expected| {
                e.state == TcpState::SynReceived && now.saturating_sub(e.since) > ARRIVES
            };
            if self.expected.get(ends).is_some_and(vain) {
                self.expected.remove(ends);
            }
            return Vec::new();
        };
        if known.written.state == TcpState::SynReceived {
            // The kernel does not tell of the end of one that was never established.
            let last = known.written.clone();
            self.known.remove(ends);
            return vec![(now, event(&self.place, &last, SocketChange::Ended))];
        }
        // Ended for the kernel, and kept by its program.
        let closed = Shown {
            state: TcpState::Close,
            timer: None,
            info: None,
            ..known.latest().clone()
        };
        known.changed(&self.place, closed, now)
    }

    /// The kernel tells that the socket is no more. `memory` is what it remembers of the connection.
    pub(super) fn died(&mut self, shown: Shown, memory: Option<Shown>, now: Duration) -> Observed {
        let ends = shown.ends();
        self.again.remove(&ends);
        let mut observed = Vec::new();
        let same = |known: &Known| {
            known.written.cookie == shown.cookie || known.written.state == TcpState::SynReceived
        };
        if self.known.get(&ends).is_some_and(same) {
            if let Some(known) = self.known.remove(&ends) {
                observed = known.flush(&self.place);
            }
        } else if let Some(ends) = self.expected_as(&shown) {
            observed.extend(self.birth_of(ends, &shown));
        }
        let last = match memory.filter(is_memory) {
            Some(memory) => Shown {
                info: shown.info,
                ..memory
            },
            None => Shown {
                timer: None,
                ..shown
            },
        };
        observed.push((now, event(&self.place, &last, SocketChange::Ended)));
        observed
    }

    /// The expected connection that `shown` is. On a node itself the wire shows a client's peer after DNAT.
    fn expected_as(&self, shown: &Shown) -> Option<Ends> {
        let exact = shown.ends();
        if self.expected.contains_key(&exact) {
            return Some(exact);
        }
        let mut by_port = self.with(shown.local).into_iter();
        by_port.find(|ends| self.expects_client(ends))
    }

    /// The birth of a socket that was gone before it could be looked at: what its SYN says of it, and nothing else.
    fn birth_of(&mut self, ends: Ends, shown: &Shown) -> Option<(Duration, Observation)> {
        let expected = self.expected.remove(&ends)?;
        let born = Shown {
            state: expected.state,
            timer: None,
            send_queue: 0,
            receive_queue: 0,
            info: None,
            ..shown.clone()
        };
        Some((
            expected.since,
            event(&self.place, &born, SocketChange::Born),
        ))
    }

    /// What is held back, as it is now: the case is at a point where everything counts.
    pub(super) fn flush(&mut self) -> Observed {
        let mut observed = Vec::new();
        for known in self.known.values_mut() {
            if let Some((at, held)) = known.held.take() {
                observed.push((at, event(&self.place, &held, SocketChange::Changed)));
                known.written = held;
            }
        }
        observed
    }
}

impl Known {
    fn latest(&self) -> &Shown {
        self.held.as_ref().map_or(&self.written, |(_, held)| held)
    }

    fn changed(&mut self, place: &str, shown: Shown, now: Duration) -> Observed {
        let mut observed = Vec::new();
        if Material::of(&shown) == Material::of(&self.written) {
            self.held = None;
            return observed;
        }
        if let Some((at, held)) = self.held.take() {
            let same = is_same_wait(&held, &shown);
            let lasts = now.saturating_sub(at) >= timeout(&held);
            if is_exchange(&held, &shown) && !(same && lasts) {
                self.held = Some(if same { (at, held) } else { (now, shown) });
                return observed;
            }
            if same {
                observed.push((at, event(place, &held, SocketChange::Changed)));
                self.written = held;
            }
            if Material::of(&shown) == Material::of(&self.written) {
                return observed;
            }
        }
        if is_exchange(&self.written, &shown) {
            self.held = Some((now, shown));
        } else {
            observed.push((now, event(place, &shown, SocketChange::Changed)));
            self.written = shown;
        }
        observed
    }

    fn flush(self, place: &str) -> Observed {
        let held = self.held.into_iter();
        held.map(|(at, held)| (at, event(place, &held, SocketChange::Changed)))
            .collect()
    }
}

/// What of a socket is worth writing when it changes. All else changes with every segment, or runs down by itself.
#[derive(PartialEq, Eq)]
struct Material {
    state: TcpState,
    timer: Option<TimerKind>,
    /// Retransmissions or probes: of the timer; by TCP_INFO with its back-off; in the socket's life.
    counts: [u32; 5],
    sends: bool,
    receives: bool,
    unacknowledged: bool,
}

/// Where in [`Material::counts`] TCP_INFO's probes stand.
const PROBES: usize = 2;

impl Material {
    fn of(shown: &Shown) -> Self {
        let info = shown.info.unwrap_or_default();
        Self {
            state: shown.state,
            timer: shown.timer.map(|timer| timer.kind),
            counts: [
                shown.timer.map_or(0, |timer| timer.count).into(),
                info.retransmits.into(),
                info.probes.into(),
                info.backoff.into(),
                info.total_retrans,
            ],
            sends: shown.send_queue > 0,
            receives: shown.receive_queue > 0,
            unacknowledged: info.unacked > 0,
        }
    }
}

/// Whether nothing has happened between the two but data, or a first keepalive probe, on its way: the second may be a
/// healthy exchange's.
fn is_exchange(before: &Shown, after: &Shown) -> bool {
    let (a, mut b) = (Material::of(before), Material::of(after));
    let open = matches!(b.state, TcpState::Established | TcpState::CloseWait);
    let in_flight = b.timer != Some(TimerKind::ZeroWindowProbe);
    let first_probe = probes(before) == 0 && probes(after) == 1;
    if first_probe {
        b.counts = Material::of(&Shown {
            timer: before.timer,
            ..after.clone()
        })
        .counts;
        b.counts[PROBES] = a.counts[PROBES];
    }
    let pending = b.sends || b.receives || b.unacknowledged || first_probe;
    open && a.state == b.state && a.counts == b.counts && in_flight && pending
}

/// Keepalive probes that nobody has answered.
fn probes(shown: &Shown) -> u8 {
    let keepalive = shown.timer.filter(|t| t.kind == TimerKind::Keepalive);
    keepalive.map_or(0, |timer| timer.count)
}

/// Whether what was on its way, or unread, at the first look still is at the second, and was in between.
fn is_same_wait(first: &Shown, second: &Shown) -> bool {
    let read = |shown: &Shown| {
        let unread = u64::from(shown.receive_queue);
        shown.progress.received.saturating_sub(unread)
    };
    let unacknowledged = first.send_queue > 0
        && second.send_queue > 0
        && first.progress.acknowledged == second.progress.acknowledged;
    let unread = first.receive_queue > 0 && second.receive_queue > 0 && read(first) == read(second);
    let unanswered = probes(first) > 0 && probes(second) >= probes(first);
    unacknowledged || unread || unanswered
}

/// The retransmission timeout of a socket.
fn timeout(shown: &Shown) -> Duration {
    Duration::from_micros(shown.info.map_or(0, |info| info.rto_us).into())
}

/// Whether a timer runs that a packet from the peer would stop.
fn waits(shown: &Shown) -> bool {
    let kind = shown.timer.map(|timer| timer.kind);
    matches!(
        kind,
        Some(TimerKind::Retransmission | TimerKind::ZeroWindowProbe)
    )
}

/// Whether what was sent is being sent again.
fn sends_again(shown: &Shown) -> bool {
    shown.info.is_some_and(|info| info.retransmits > 0) && shown.send_queue > 0
}

/// Whether the kernel has put a smaller thing in the socket's place, for TIME-WAIT or a FIN-WAIT-2 that nobody holds.
fn is_memory(shown: &Shown) -> bool {
    shown.state == TcpState::TimeWait
        || shown
            .timer
            .is_some_and(|timer| timer.kind == TimerKind::TimeWait)
}

fn event(place: &str, shown: &Shown, change: SocketChange) -> Observation {
    Observation::Socket(Socket {
        place: place.to_owned(),
        local: shown.local,
        peer: shown.peer,
        change,
        state: shown.state,
        send_queue: shown.send_queue,
        receive_queue: shown.receive_queue,
        timer: shown.timer,
        info: shown.info,
    })
}

#[cfg(test)]
mod tests;
