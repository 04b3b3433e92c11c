//! Packets on a link: connections opening and closing, segments sent again, keepalive probes, ICMP.
//!
//! An AF_PACKET socket on a node's `eth0` sees what the fabric sees: addresses after DNAT. One on a pod's sees what the pod
//! sends and receives, with the addresses that its sockets know; what its node drops, refuses or answers is seen only there.
//! A filter in the kernel lets TCP and ICMP through; a small state for each flow tells a retransmission from a first sending.
//! A link whose packets are kept has the same one socket, without the filter.

mod capture;
mod flow;
pub(crate) mod parse;
pub(crate) mod tap;

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use self::flow::Flows;
use self::parse::{Packet, TcpSegment};
use self::tap::{Hears, Tap};
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::record::{Observation, Recorder};

/// Watches a link.
pub struct PacketProbe {
    name: String,
    tap: Tap,
    /// Of links that are only kept, nothing is told.
    flows: Option<RefCell<Flows>>,
    listener: RefCell<Option<Listener>>,
}

/// Called with every TCP segment, its time since the case's start, and whether it belongs in the record.
type Listener = Box<dyn Fn(&TcpSegment, Duration, bool)>;

impl PacketProbe {
    /// Watches `eth0` of `namespace`, which is the node's or pod's called `name`, from now on.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel has no AF_PACKET sockets, [`LinuxError::Kernel`] if it refuses one.
    pub fn open(name: &str, namespace: &Namespace) -> Result<Self, LinuxError> {
        Self::hearing(name, namespace, Hears::Uplink)
    }

    /// Watches `lo` of the node `node` for ICMP errors: those that the node itself gives its own sockets never get to a link.
    ///
    /// # Errors
    /// As [`PacketProbe::open`].
    pub(crate) fn open_own_errors(node: &str, namespace: &Namespace) -> Result<Self, LinuxError> {
        Self::hearing(node, namespace, Hears::OwnErrors)
    }

    fn hearing(name: &str, namespace: &Namespace, hears: Hears) -> Result<Self, LinuxError> {
        Ok(Self {
            name: name.to_owned(),
            tap: Tap::open(name, namespace, hears)?,
            flows: Some(RefCell::default()),
            listener: RefCell::default(),
        })
    }

    /// Keeps all packets on `eth0` of `namespace`, which is the node's or pod's called `name`: the newest `limit` bytes.
    /// If `tells`, it records what it sees as well.
    ///
    /// # Errors
    /// As [`PacketProbe::open`].
    pub fn keep(
        name: &str,
        namespace: &Namespace,
        tells: bool,
        limit: u64,
        recorder: &Recorder,
    ) -> Result<Self, LinuxError> {
        let mut tap = Tap::open(name, namespace, Hears::Everything)?;
        tap.keep(limit, recorder);
        Ok(Self {
            name: name.to_owned(),
            tap,
            flows: tells.then(RefCell::default),
            listener: RefCell::default(),
        })
    }

    /// Calls `listener` with every TCP segment from now on, before it is recorded.
    pub(crate) fn listen(&self, listener: impl Fn(&TcpSegment, Duration, bool) + 'static) {
        *self.listener.borrow_mut() = Some(Box::new(listener));
    }

    /// Records what is seen, until reading fails. Safe to cancel at any time; [`PacketProbe::drain`] takes the rest.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub async fn run(&self, recorder: &Recorder) -> io::Result<()> {
        loop {
            self.tap.readable().await?;
            self.drain(recorder)?;
        }
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub fn drain(&self, recorder: &Recorder) -> io::Result<()> {
        let packets = self.tap.take(recorder)?;
        let Some(flows) = &self.flows else {
            return Ok(());
        };
        for (packet, stamp) in packets {
            match packet {
                Packet::Tcp(segment) => {
                    // Not borrowed while it is recorded: who hears of it may drain in turn.
                    let sendings = flows.borrow_mut().see(&segment, stamp);
                    if let Some(listener) = &*self.listener.borrow() {
                        listener(&segment, stamp, !sendings.is_empty());
                    }
                    for sending in sendings {
                        recorder.emit(Observation::Segment(sending.on(&self.name)));
                    }
                }
                Packet::Icmp {
                    kind,
                    from,
                    to,
                    about,
                } => recorder.emit(Observation::Icmp {
                    node: self.name.clone(),
                    kind,
                    from,
                    to,
                    about,
                }),
            }
        }
        Ok(())
    }
}
