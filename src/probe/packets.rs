//! Packets on a node's uplink: connections opening and closing, segments sent again, keepalive probes, ICMP.
//!
//! An AF_PACKET socket on `eth0` sees what the fabric sees: addresses after DNAT. A filter in the kernel lets TCP and ICMP
//! through, cut to their headers; a small state for each flow tells a retransmission from a first sending.

mod flow;
mod parse;

use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt,
};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::flow::Flows;
use self::parse::{Packet, parse};
use crate::lab::LabError;
use crate::lab::namespace::Namespace;
use crate::record::{Observation, Recorder, monotonic};

/// Bytes kept of each packet: the longest headers are 60 (IPv4 with options, or 40 for IPv6) + 60 (TCP with options).
const SNAP_LENGTH: usize = 120;
/// Packets read at once.
const BATCH: usize = 32;

/// Watches a node's uplink.
pub struct PacketProbe {
    node: String,
    socket: AsyncFd<Socket>,
    flows: Flows,
    headers: MultiHeaders<()>,
    buffers: Vec<[u8; SNAP_LENGTH]>,
    lost: u32,
}

/// A packet as read, and the kernel's stamp by CLOCK_REALTIME.
struct Seen {
    packet: Option<Packet>,
    stamp: Option<Duration>,
}

impl PacketProbe {
    /// Watches `eth0` of `namespace`, which is the node `node`'s, from now on.
    ///
    /// # Errors
    /// [`LabError::Missing`] if this kernel has no AF_PACKET sockets, [`LabError::Kernel`] if it refuses one.
    pub fn open(node: &str, namespace: &Namespace) -> Result<Self, LabError> {
        let socket =
            namespace
                .enter(open_socket)
                .and_then(register)
                .map_err(|source| match source.raw_os_error() {
                    Some(libc::EAFNOSUPPORT) => LabError::Missing {
                        what: "AF_PACKET sockets (CONFIG_PACKET)".to_owned(),
                        location: None,
                    },
                    _ => LabError::Kernel {
                        doing: format!("watching the packets of {node}"),
                        source,
                    },
                })?;
        let space = nix::cmsg_space!(libc::timespec, u32);
        Ok(Self {
            node: node.to_owned(),
            socket,
            flows: Flows::default(),
            headers: MultiHeaders::preallocate(BATCH, Some(space)),
            buffers: vec![[0; SNAP_LENGTH]; BATCH],
            lost: 0,
        })
    }

    /// Records what is seen, until reading fails. Safe to cancel at any time; [`PacketProbe::drain`] takes the rest.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub async fn run(&mut self, recorder: &Recorder) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            // Cleared before reading: what comes in between wakes us again.
            ready.clear_ready();
            drop(ready);
            self.drain(recorder)?;
        }
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub fn drain(&mut self, recorder: &Recorder) -> io::Result<()> {
        loop {
            let seen = self.read_batch(recorder)?;
            let count = seen.len();
            let now = case_clock(recorder);
            for seen in seen {
                let stamp = seen
                    .stamp
                    .map_or_else(|| recorder.now(), |stamp| stamp.saturating_sub(now));
                self.record(recorder, seen.packet, stamp);
            }
            // A batch that is not full was the last one.
            if count < BATCH {
                return Ok(());
            }
        }
    }

    fn record(&mut self, recorder: &Recorder, packet: Option<Packet>, stamp: Duration) {
        match packet {
            Some(Packet::Tcp(segment)) => {
                for sending in self.flows.see(&segment, stamp) {
                    recorder.emit(Observation::Segment(sending.on(&self.node)));
                }
            }
            Some(Packet::Icmp { kind, from, to }) => recorder.emit(Observation::Icmp {
                node: self.node.clone(),
                kind,
                from,
                to,
            }),
            None => {}
        }
    }

    fn read_batch(&mut self, recorder: &Recorder) -> io::Result<Vec<Seen>> {
        let mut lost = self.lost;
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let fd = self.socket.get_ref().as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = match recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut seen = Vec::with_capacity(BATCH);
        for message in messages {
            let mut stamp = None;
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => stamp = Some(time.into()),
                    ControlMessageOwned::RxqOvfl(total) => lost = total,
                    _ => {}
                }
            }
            let packet = message.iovs().next().and_then(parse);
            seen.push(Seen { packet, stamp });
        }
        if lost != self.lost {
            recorder.emit(Observation::Warning {
                text: format!(
                    "{}: {} packets came faster than they were read and are not in the record",
                    self.node,
                    lost.wrapping_sub(self.lost)
                ),
            });
            self.lost = lost;
        }
        Ok(seen)
    }
}

/// The case's start by CLOCK_REALTIME, in which the kernel stamps packets. Taken anew for each batch: that clock may be set.
fn case_clock(recorder: &Recorder) -> Duration {
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    let now = monotonic();
    let running = now.saturating_sub(recorder.started_at().unwrap_or(now));
    wall.saturating_sub(running)
}

fn open_socket() -> io::Result<Socket> {
    // Protocol 0 hears nothing until it is bound, when the filter is in place.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter())?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    socket.bind(&every_packet_of(nix::net::if_::if_nametoindex("eth0")?))?;
    Ok(socket)
}

fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, and stays inside the AsyncFd until both are dropped.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

fn every_packet_of(link: u32) -> SockAddr {
    // SAFETY: sockaddr_ll is plain data; zero is a value of each of its fields.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = link.cast_signed();
    // SAFETY: the storage holds any socket address; the length set is that of the one written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            length.write(size_of::<libc::sockaddr_ll>() as libc::socklen_t);
            Ok(())
        })
    }
    .expect("the closure does not fail");
    address
}

/// Classic BPF: TCP and ICMP of IPv4; TCP and ICMPv6's errors (types below 128, so no neighbour discovery) of IPv6; nothing
/// else.
fn filter() -> Vec<SockFilter> {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the packet's EtherType.
    const ETHERTYPE: u32 = (-0x1000_i32).cast_unsigned();
    let op = |code: u32, yes, no, value| SockFilter::new(code as u16, yes, no, value);
    // `yes` and `no` count the instructions skipped.
    vec![
        op(LOAD_WORD, 0, 0, ETHERTYPE),
        op(EQUAL, 0, 3, 0x0800),
        op(LOAD_BYTE, 0, 0, 9),
        op(EQUAL, 7, 0, 6),
        op(EQUAL, 6, 7, 1),
        op(EQUAL, 0, 6, 0x86dd),
        op(LOAD_BYTE, 0, 0, 6),
        op(EQUAL, 3, 0, 6),
        op(EQUAL, 0, 3, 58),
        op(LOAD_BYTE, 0, 0, 40),
        op(AT_LEAST, 1, 0, 128),
        op(RETURN, 0, 0, SNAP_LENGTH as u32),
        op(RETURN, 0, 0, 0),
    ]
}
