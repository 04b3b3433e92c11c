//! What Linux did with `net.ipv4.tcp_tw_recycle`=1 until 4.12, in place of kernels that no longer do it.
//!
//! A rule holds up each SYN to the server, and the lab drops it or lets it go on, by the timestamp it bears (see
//! [`memory`]). The packet itself is never changed: its later segments have to pass the kernel's own PAWS.
//!
//! Machines behind one address differ in uptime, and so in their timestamps; a lab's pods share one kernel's clock. A
//! pod's `uptime` is added to its timestamp here, where it is judged. Which pod sent it is told by its source address or,
//! where its node masquerades, by that node's conntrack: the entry whose replies would go where this SYN came from.

mod memory;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::masquerade::families;
use super::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::{self, Chain, Change, Match, Rule, Table, Target};
use crate::linux::netlink::Channel;
use crate::linux::packet_queue::{Fate, PacketQueue};
use crate::plan::{EMULATED, Emulated, Emulation, LabPlan, Location, Place, Server};
use crate::probe::packets::parse::{Packet, parse, timestamp};
use crate::probe::rules::masqueraded;
use crate::record::{Observation, Recorder, Stage, monotonic};
use memory::Memory;

/// The check in front of one server.
pub(crate) struct TwRecycle {
    place: String,
    node: String,
    queue: PacketQueue,
    memory: RefCell<Memory>,
    clocks: Clocks,
    dropped: Cell<u64>,
    /// Of these, those that are in the record.
    recorded: Cell<u64>,
    /// Some have come too fast to be judged.
    missed: Cell<bool>,
    /// Its node has lost its power.
    dead: Cell<bool>,
}

/// What this machine lacks, with who asked for it.
fn asked_by(what: Emulation, location: &Location, error: LinuxError) -> LinuxError {
    match error {
        LinuxError::Missing { what: missing, .. } => LinuxError::Missing {
            what: format!("{missing}, for the emulation of {}", what.name()),
            location: Some(location.clone()),
        },
        other @ (LinuxError::Refused { .. }
        | LinuxError::Kernel { .. }
        | LinuxError::Program { .. }) => other,
    }
}

/// By how much the clocks of pods are ahead of the kernel's.
struct Clocks {
    /// Of pods that are, by their address.
    ahead: HashMap<IpAddr, Duration>,
    /// Nodes that masquerade, by their address.
    nodes: HashMap<IpAddr, RefCell<Channel>>,
}

impl TwRecycle {
    /// Puts the check in front of every server of `plan` that wants it, in the address families that clients use.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this machine has no NFQUEUE, [`LinuxError::Kernel`] if it refuses it.
    pub(super) fn load(network: &Network, plan: &LabPlan) -> Result<Vec<Self>, LinuxError> {
        let mut all = Vec::new();
        for (number, server) in (0..).zip(&plan.servers) {
            if let Some(Emulated {
                what: what @ Emulation::TwRecycle,
                location,
            }) = &server.emulate
            {
                let loaded = Self::of(network, plan, server, number);
                all.push(loaded.map_err(|error| asked_by(*what, location, error))?);
            }
        }
        Ok(all)
    }

    fn of(
        network: &Network,
        plan: &LabPlan,
        server: &Server,
        number: u16,
    ) -> Result<Self, LinuxError> {
        let namespace = network.namespace(&server.place);
        // The queue before its rules: what is held up and has no queue is lost.
        let queue = PacketQueue::bind(&namespace, number)?;
        let port = server.listen.first().map_or(0, SocketAddr::port);
        let mut channel = Channel::open(&namespace, NETLINK_NETFILTER)?;
        for family in families(plan) {
            iptables::load(&mut channel, &namespace, family, &[rules(port, number)])?;
        }
        let (Place::Node(place) | Place::Pod(place)) = &server.place;
        Ok(Self {
            place: place.clone(),
            node: server.node.clone(),
            queue,
            memory: RefCell::default(),
            clocks: Clocks::of(network, plan)?,
            dropped: Cell::new(0),
            recorded: Cell::new(0),
            missed: Cell::new(false),
            dead: Cell::new(false),
        })
    }

    /// `node` has lost its power: of what was there nothing more is seen.
    pub(super) fn end_node(&self, node: &str) {
        if self.node == node {
            self.dead.set(true);
        }
    }

    /// `node` has its power again: its kernel has seen nobody yet.
    pub(super) fn node_is_back(&self, node: &str) {
        if self.node == node {
            self.dead.set(false);
            self.memory.take();
        }
    }

    /// Judges SYNs, for ever.
    ///
    /// # Errors
    /// If they can no longer be read, or a node does not say whom it masqueraded.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let missed = || self.missed.set(true);
        self.queue.judge(|packet| self.judge(packet), missed).await
    }

    fn judge(&self, packet: &[u8]) -> io::Result<Fate> {
        let Some(Packet::Tcp(syn)) = parse(packet) else {
            return Ok(Fate::Accept);
        };
        let Some(value) = timestamp(packet) else {
            return Ok(Fate::Accept);
        };
        let value = ahead(value, self.clocks.ahead_of(syn.from, syn.to)?);
        let source = syn.from.ip();
        if self.memory.borrow_mut().lets_in(source, value, monotonic()) {
            return Ok(Fate::Accept);
        }
        self.dropped.set(self.dropped.get() + 1);
        Ok(Fate::Drop)
    }

    /// Records what it has counted since the last look, under the names that the kernel had for it.
    pub(crate) fn look(&self, stage: &Stage, recorder: &Recorder) {
        if self.missed.take() {
            let text = format!(
                "SYNs to {} came faster than they could be judged: some went on unjudged",
                self.place
            );
            recorder.emit(Observation::Warning { text });
        }
        let dropped = self.dropped.get();
        let new = dropped - self.recorded.replace(dropped);
        if new > 0 && !self.dead.get() {
            let counters = Emulation::TwRecycle.counters().iter();
            recorder.emit(Observation::Counters {
                place: self.place.clone(),
                stage: stage.clone(),
                deltas: counters
                    .map(|name| (format!("{EMULATED}.{name}"), new))
                    .collect::<BTreeMap<_, _>>(),
            });
        }
    }
}

/// A timestamp of a machine that runs for so much longer.
fn ahead(value: u32, by: Duration) -> u32 {
    // The clock has 32 bits, of milliseconds, and begins anew.
    #[expect(clippy::cast_possible_truncation, reason = "as the clock itself")]
    let by = by.as_millis() as u32;
    value.wrapping_add(by)
}

/// All SYNs to `port` wait in queue `number`.
fn rules(port: u16, number: u16) -> Change {
    let opens = Match::Tcp {
        port: Some(port),
        syn: true,
    };
    let rule = Rule::last(Chain::Input, vec![opens], Target::Queue(number));
    Change::more(Table::Filter, Vec::new(), vec![rule])
}

impl Clocks {
    fn of(network: &Network, plan: &LabPlan) -> Result<Self, LinuxError> {
        let mut clocks = Self {
            ahead: HashMap::new(),
            nodes: HashMap::new(),
        };
        for pod in plan.pods.iter().filter(|pod| !pod.uptime.is_zero()) {
            let addresses: [IpAddr; 2] = [pod.address.into(), pod.address6.into()];
            clocks.ahead.extend(addresses.map(|a| (a, pod.uptime)));
        }
        if clocks.ahead.is_empty() {
            return Ok(clocks);
        }
        for node in plan.nodes.iter().filter(|node| node.masquerade) {
            let namespace = network.namespace(&Place::Node(node.name.clone()));
            for address in [IpAddr::from(node.address), node.address6.into()] {
                let channel = Channel::open(&namespace, NETLINK_NETFILTER)?;
                clocks.nodes.insert(address, RefCell::new(channel));
            }
        }
        Ok(clocks)
    }

    /// By how much the clock of who sends from one address to another is ahead.
    fn ahead_of(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Duration> {
        let sender = match self.nodes.get(&from.ip()) {
            None => Some(from),
            Some(channel) => masqueraded(&mut channel.borrow_mut(), from, to)?,
        };
        let ahead = sender.and_then(|sender| self.ahead.get(&sender.ip()));
        Ok(ahead.copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_for_it_is_said_with_the_line_that_asks_for_it() {
        let location = Location {
            file: "d1.yaml".to_owned(),
            line: 7,
            column: 3,
            length: 4,
            text: String::new(),
        };
        let missing = LinuxError::Missing {
            what: "NFQUEUE".to_owned(),
            location: None,
        };
        let told = asked_by(Emulation::TwRecycle, &location, missing);
        let LinuxError::Missing {
            what,
            location: Some(at),
        } = told
        else {
            panic!("{told}");
        };
        assert_eq!(what, "NFQUEUE, for the emulation of tw_recycle");
        assert_eq!(at, location);
    }

    #[test]
    fn an_uptime_is_added_in_milliseconds_and_wraps_as_the_clock_does() {
        assert_eq!(ahead(7, Duration::from_secs(3600)), 3_600_007);
        assert_eq!(ahead(u32::MAX, Duration::from_millis(2)), 1);
        // The clock itself has begun anew after 2^32 ms.
        assert_eq!(ahead(5, Duration::from_millis(1 << 32)), 5);
    }
}
