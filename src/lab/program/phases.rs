//! What a program is doing, for faults that wait for one of its phases: told by its packets, each of which waits here before it
//! goes on.
//!
//! A program says nothing of its requests, so a request is payload that it sends when none of its own goes unanswered on that
//! connection, and an answer is payload that comes back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::contract::phase::{PhaseBoard, RequestStage, Unacknowledged};
use crate::lab::masquerade::families;
use crate::linux::LinuxError;
use crate::linux::iptables::{self, Chain, Change, Match, Rule, Table, Target};
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::packet_queue::{Fate, PacketQueue};
use crate::plan::{self, LabPlan, Trigger};
use crate::probe::packets::parse::{ACK, FIN, Packet, RST, SYN, TcpSegment, parse};
use crate::record::{Observation, Recorder};

/// The first of the queues of programs; those of servers' emulations come before.
const FIRST_QUEUE: u16 = 1000;
/// After an answer for so long without another packet a program is idle: all is acknowledged by then (TCP_DELACK_MIN is 40 ms).
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// What comes so long after the beginning of an answer is one that goes on, and not the rest of a burst.
const GOES_ON_AFTER: Duration = Duration::from_millis(10);

/// Holds up a program's packets for as long as it takes to look at them.
pub(in crate::lab) struct PhaseWatch {
    client: String,
    own: Vec<IpAddr>,
    queue: PacketQueue,
    board: Rc<PhaseBoard>,
    recorder: Recorder,
    /// Whether no server of ours holds its answer back.
    holds: bool,
    /// Answers after which a connection has carried a request: of TLS the first one is the handshake's.
    warm_after: u32,
    flows: RefCell<HashMap<(SocketAddr, SocketAddr), Flow>>,
    opened: Cell<u32>,
    missed: Cell<bool>,
}

/// A connection.
struct Flow {
    number: u32,
    wire: Rc<Wire>,
    /// A request is out.
    asked: bool,
    answers: u32,
    /// When payload came last.
    came: Option<Duration>,
    /// Packets with payload, both ways.
    seen: u64,
    /// Somebody waits for it to rest.
    watched: bool,
}

/// Sequence numbers of what was sent and what was acknowledged.
#[derive(Default)]
struct Wire {
    sent: Cell<u32>,
    acknowledged: Cell<u32>,
}

impl Unacknowledged for Wire {
    fn unacknowledged(&self) -> bool {
        after(self.sent.get(), self.acknowledged.get())
    }
}

/// Whether sequence number `a` lies after `b`.
fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl PhaseWatch {
    /// Of `client`, a program at these addresses, if a fault of `plan` waits for it.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this machine has no NFQUEUE, [`LinuxError::Kernel`] if it refuses it.
    pub(in crate::lab) fn of(
        client: &plan::Client,
        plan: &LabPlan,
        own: &[IpAddr],
        namespace: &Rc<Namespace>,
        board: &Rc<PhaseBoard>,
        recorder: &Recorder,
    ) -> Result<Option<Self>, LinuxError> {
        let waits = |trigger: &Trigger| match trigger {
            Trigger::Phase { client: name, .. } => *name == client.name,
            Trigger::At(_) | Trigger::Forgotten { .. } => false,
        };
        if !plan.faults.iter().any(|fault| waits(&fault.trigger)) {
            return Ok(None);
        }
        let place = plan.clients.iter().position(|c| c.name == client.name);
        let place = u16::try_from(place.unwrap_or_default()).unwrap_or_default();
        let number = FIRST_QUEUE.saturating_add(place);
        // The queue before its rules: what is held up and has no queue is lost.
        let queue = PacketQueue::bind(namespace, number)?;
        let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
        for family in families(plan) {
            iptables::load(&mut channel, namespace, family, &[rules(number)])?;
        }
        for address in own {
            board.asks_from(&client.name, *address);
        }
        Ok(Some(Self {
            client: client.name.clone(),
            own: own.iter().map(IpAddr::to_canonical).collect(),
            queue,
            board: Rc::clone(board),
            recorder: recorder.clone(),
            holds: plan
                .servers_of(client)
                .all(|server| server.program.is_some()),
            warm_after: if client.target.tls { 2 } else { 1 },
            flows: RefCell::default(),
            opened: Cell::new(0),
            missed: Cell::new(false),
        }))
    }

    /// Looks at packets, for ever.
    ///
    /// # Errors
    /// If they can no longer be read.
    pub(super) async fn run(self: &Rc<Self>) -> io::Result<()> {
        let missed = || {
            if !self.missed.replace(true) {
                let client = &self.client;
                let text = format!(
                    "packets of {client} came faster than they could be looked at: a phase of it may have been missed"
                );
                self.recorder.emit(Observation::Warning { text });
            }
        };
        self.queue
            .judge(|packet| Ok(self.judge(packet)), missed)
            .await
    }

    fn judge(self: &Rc<Self>, packet: &[u8]) -> Fate {
        let Some(Packet::Tcp(segment)) = parse(packet) else {
            return Fate::Accept;
        };
        if self.own.contains(&segment.from.ip().to_canonical()) {
            self.sends(&segment);
            return Fate::Accept;
        }
        self.receives(&segment, packet)
    }

    fn sends(&self, segment: &TcpSegment) {
        let pair = (segment.from, segment.to);
        if segment.has(SYN) {
            if self.opens(pair, segment) {
                self.board.before_connect(&self.client);
            }
            return;
        }
        if let Some((number, wire, warm)) = self.asks(pair, segment) {
            self.board.before_write(&self.client, number, warm);
            let stage = RequestStage::Sent(wire);
            self.board.set(&self.client, number, stage);
        }
        if segment.has(FIN | RST)
            && let Some(flow) = self.flows.borrow_mut().remove(&pair)
        {
            self.board.over(&self.client, flow.number);
        }
    }

    /// Whether it is a new connection's first SYN, and not one that is sent again.
    fn opens(&self, pair: (SocketAddr, SocketAddr), syn: &TcpSegment) -> bool {
        let first = syn.seq.wrapping_add(1);
        let mut flows = self.flows.borrow_mut();
        let again = flows.get(&pair).is_some_and(|f| f.wire.sent.get() == first);
        if again {
            return false;
        }
        let number = self.opened.get() + 1;
        self.opened.set(number);
        let wire = Wire::default();
        wire.sent.set(first);
        wire.acknowledged.set(first);
        let flow = Flow {
            number,
            wire: Rc::new(wire),
            asked: false,
            answers: 0,
            came: None,
            seen: 0,
            watched: false,
        };
        flows.insert(pair, flow);
        self.board
            .set(&self.client, number, RequestStage::Connecting);
        true
    }

    /// The connection on which this segment begins a request, and whether it has carried one before.
    fn asks(
        &self,
        pair: (SocketAddr, SocketAddr),
        segment: &TcpSegment,
    ) -> Option<(u32, Rc<Wire>, bool)> {
        let mut flows = self.flows.borrow_mut();
        let flow = flows.get_mut(&pair)?;
        let end = segment.seq.wrapping_add(segment.len);
        if segment.len == 0 || !after(end, flow.wire.sent.get()) {
            return None;
        }
        flow.wire.sent.set(end);
        flow.seen += 1;
        let begins = !std::mem::replace(&mut flow.asked, true);
        let warm = flow.answers >= self.warm_after;
        begins.then(|| (flow.number, Rc::clone(&flow.wire), warm))
    }

    fn receives(self: &Rc<Self>, segment: &TcpSegment, packet: &[u8]) -> Fate {
        let pair = (segment.to, segment.from);
        let now = self.recorder.now();
        let mut flows = self.flows.borrow_mut();
        let Some(flow) = flows.get_mut(&pair) else {
            return Fate::Accept;
        };
        let wire = Rc::clone(&flow.wire);
        if segment.has(ACK) && after(segment.ack, wire.acknowledged.get()) {
            wire.acknowledged.set(segment.ack);
        }
        if segment.has(RST) {
            let number = flow.number;
            flows.remove(&pair);
            drop(flows);
            self.board.over(&self.client, number);
            return Fate::Accept;
        }
        let warm = flow.answers >= self.warm_after;
        let (number, asked) = (flow.number, flow.asked);
        if asked && warm && self.holds && !wire.unacknowledged() {
            drop(flows);
            let struck = self.board.before_response(&self.client);
            if struck && segment.len > 0 {
                // What it acknowledges has come; what it carries has not been sent yet.
                self.recorder.emit(Observation::PayloadWithheld {
                    client: self.client.clone(),
                    local: pair.0,
                    remote: pair.1,
                });
                return bare(packet).map_or(Fate::Drop, Fate::Replace);
            }
            flows = self.flows.borrow_mut();
        }
        let Some(flow) = flows.get_mut(&pair).filter(|_| segment.len > 0) else {
            return Fate::Accept;
        };
        let goes_on = !asked && flow.came.is_some_and(|came| now > came + GOES_ON_AFTER);
        flow.came = Some(now);
        flow.seen += 1;
        if asked || goes_on {
            flow.asked = false;
            flow.answers += 1;
        }
        let rests_later = !std::mem::replace(&mut flow.watched, true);
        drop(flows);
        if asked {
            self.board.over(&self.client, number);
        } else if goes_on && warm {
            self.board.streaming(&self.client, number, wire);
        }
        if rests_later {
            tokio::task::spawn_local(Rc::clone(self).rests(pair));
        }
        Fate::Accept
    }

    /// It pauses when nothing more has been seen on the connection for a while: nobody but the program knows more.
    async fn rests(self: Rc<Self>, pair: (SocketAddr, SocketAddr)) {
        let seen = || self.flows.borrow().get(&pair).map(|flow| flow.seen);
        let mut before = seen();
        loop {
            tokio::time::sleep(IDLE_AFTER).await;
            let now = seen();
            if now == before {
                break;
            }
            before = now;
        }
        let rests = match self.flows.borrow_mut().get_mut(&pair) {
            None => return,
            Some(flow) => {
                flow.watched = false;
                (flow.answers >= self.warm_after && !flow.asked).then_some(flow.number)
            }
        };
        if let Some(number) = rests {
            self.board.over(&self.client, number);
            self.board.rest(&self.client);
        }
    }
}

/// All that it sends and that comes for it waits in queue `number`.
fn rules(number: u16) -> Change {
    let rule = |chain| {
        let tcp = Match::Tcp {
            port: None,
            syn: false,
        };
        Rule::last(chain, vec![tcp], Target::Queue(number))
    };
    let rules = [Chain::Input, Chain::Output].map(rule);
    Change::more(Table::Filter, Vec::new(), rules.into())
}

/// A segment's acknowledgement without its payload; `None` if it is none of IPv4's or IPv6's without extensions.
fn bare(packet: &[u8]) -> Option<Vec<u8>> {
    const TCP: u8 = 6;
    let (network, pseudo) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet[0] & 0xf) * 4;
            (packet.get(9) == Some(&TCP)).then_some((length, packet.get(12..20)?))?
        }
        6 => (packet.get(6) == Some(&TCP)).then_some((40, packet.get(8..40)?))?,
        _ => return None,
    };
    let transport = usize::from(packet.get(network + 12)? >> 4) * 4;
    let pseudo = pseudo.to_vec();
    let mut bare = packet.get(..network + transport)?.to_vec();
    let own = u16::try_from(transport).ok()?;
    if network == 40 {
        bare[4..6].copy_from_slice(&own.to_be_bytes());
    } else {
        let whole = u16::try_from(bare.len()).ok()?;
        bare[2..4].copy_from_slice(&whole.to_be_bytes());
        bare[10..12].fill(0);
        let sum = checksum(&[&bare[..network]]);
        bare[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bare[network + 13] = ACK;
    bare[network + 16..network + 18].fill(0);
    let rest = [0, 0, 0, TCP];
    let sum = checksum(&[
        &pseudo,
        &u32::from(own).to_be_bytes(),
        &rest,
        &bare[network..],
    ]);
    bare[network + 16..network + 18].copy_from_slice(&sum.to_be_bytes());
    Some(bare)
}

/// RFC 1071, of pieces of even lengths.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks_exact(2));
    let mut sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_acknowledgement_has_right_checksums_and_no_payload() {
        let mut packet = vec![
            0x45, 0, 0, 60, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        packet.extend([
            0, 80, 0x80, 1, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 1, 0, 0xaa, 0xbb, 0, 0,
        ]);
        packet.extend(b"HTTP/1.1 200 OK\r\n\r\n.");
        let bare = bare(&packet).expect("TCP");
        assert_eq!((bare.len(), bare[3], bare[33]), (40, 40, ACK));
        // A right checksum makes the whole sum to nothing.
        assert_eq!(checksum(&[&bare[..20]]), 0);
        let length = 20_u32.to_be_bytes();
        assert_eq!(
            checksum(&[&bare[12..20], &length, &[0, 0, 0, 6], &bare[20..]]),
            0
        );
        assert_eq!(&bare[24..32], &packet[24..32], "the same sequence numbers");
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert!(after(5, u32::MAX));
        assert!(!after(u32::MAX, 5));
        assert!(!after(7, 7));
    }
}
