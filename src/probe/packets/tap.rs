//! An AF_PACKET socket with a filter in the kernel, and the packets it hears, each with the kernel's own stamp.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt,
};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::capture::{Capture, is_mark};
use super::parse::{FIN, Packet, RST, SYN, parse};
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::record::{Frame, LINK_HEADER, Observation, Recorder, SNAP_LENGTH, monotonic};

/// Packets read at once.
const BATCH: usize = 32;

/// Room asked for of packets that come while nobody reads, in bytes.
const BURST: usize = 4 << 20;

/// What a tap hears.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hears {
    /// All TCP and ICMP on `eth0`.
    Uplink,
    /// Everything on `eth0`.
    Everything,
    /// ICMP errors on `lo`: what a namespace's own kernel answers to its own sockets.
    OwnErrors,
    /// TCP segments that open or close a connection or carry payload, and ICMP, on every link.
    Turns,
    /// All TCP and ICMP on every link, with the beginning of what it carries.
    Everywhere,
}

/// A socket that hears packets.
pub(crate) struct Tap {
    /// Whose, in messages.
    name: String,
    socket: AsyncFd<Socket>,
    hears: Hears,
    room: RefCell<Room>,
    capture: Option<Rc<RefCell<Capture>>>,
}

/// Where packets are read to.
struct Room {
    headers: MultiHeaders<LinkAddr>,
    buffers: Vec<[u8; SNAP_LENGTH]>,
    /// Packets the kernel had no room for, so far.
    lost: u32,
}

/// A packet as read, and the kernel's stamp by CLOCK_REALTIME.
struct Seen {
    packet: Option<Packet>,
    stamp: Option<Duration>,
    /// As it is kept, but for its stamp.
    frame: Option<Frame>,
}

impl Tap {
    /// Hears packets in `namespace` from now on.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel has no AF_PACKET sockets, [`LinuxError::Kernel`] if it refuses one.
    pub(crate) fn open(
        name: &str,
        namespace: &Namespace,
        hears: Hears,
    ) -> Result<Self, LinuxError> {
        let socket = namespace
            .enter(|| open_socket(hears))
            .and_then(register)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => LinuxError::Missing {
                    what: "AF_PACKET sockets (CONFIG_PACKET)".to_owned(),
                    location: None,
                },
                _ => LinuxError::Kernel {
                    doing: format!("watching the packets of {name}"),
                    source,
                },
            })?;
        Ok(Self {
            name: name.to_owned(),
            socket,
            hears,
            room: RefCell::new(Room {
                headers: headers(),
                buffers: vec![[0; SNAP_LENGTH]; BATCH],
                lost: 0,
            }),
            capture: None,
        })
    }

    /// Keeps what it hears from now on, `limit` bytes at most, for whoever listens to `recorder`.
    pub(crate) fn keep(&mut self, limit: u64, recorder: &Recorder) {
        let capture = Rc::new(RefCell::new(Capture::new(&self.name, limit)));
        let (held, out) = (Rc::clone(&capture), recorder.clone());
        recorder.listen(move |event| {
            if is_mark(event) {
                held.borrow_mut().flush(&out);
            }
        });
        self.capture = Some(capture);
    }

    /// Packets that the kernel had no room for, so far.
    pub(crate) fn lost(&self) -> u32 {
        self.room.borrow().lost
    }

    /// Waits until there is something to read. Safe to cancel.
    ///
    /// # Errors
    /// As `epoll_wait(2)`.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        // Cleared before reading: what comes in between wakes us again.
        ready.clear_ready();
        Ok(())
    }

    /// All packets heard up to now, each with its time since the case's start, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub(crate) fn take(&self, recorder: &Recorder) -> io::Result<Vec<(Packet, Duration)>> {
        let mut packets = Vec::new();
        loop {
            let seen = self.read_batch(recorder)?;
            let count = seen.len();
            let start = case_clock(recorder);
            for seen in seen {
                let stamp = seen
                    .stamp
                    .map_or_else(|| recorder.now(), |stamp| stamp.saturating_sub(start));
                packets.extend(seen.packet.map(|packet| (packet, stamp)));
                if let (Some(capture), Some(mut frame)) = (&self.capture, seen.frame) {
                    frame.stamp_ns = u64::try_from(stamp.as_nanos()).unwrap_or(u64::MAX);
                    capture.borrow_mut().hear(frame);
                }
            }
            // A batch that is not full was the last one.
            if count < BATCH {
                break;
            }
        }
        if let Some(capture) = &self.capture {
            capture.borrow_mut().pass(recorder);
        }
        Ok(packets)
    }

    fn read_batch(&self, recorder: &Recorder) -> io::Result<Vec<Seen>> {
        let mut room = self.room.borrow_mut();
        let room = &mut *room;
        // A read leaves them with as much room as its messages took, and the next may have more to say.
        room.headers = headers();
        let mut lost = room.lost;
        let mut slices: Vec<_> = room
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let fd = self.socket.get_ref().as_raw_fd();
        // With MSG_TRUNC a packet's length is its own, not that of what was read of it.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let messages = match recvmmsg(fd, &mut room.headers, slices.iter_mut(), flags, None) {
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
            let bytes = message.iovs().next().unwrap_or_default();
            let keeps = self.capture.is_some();
            seen.push(Seen {
                packet: match self.hears {
                    Hears::Everywhere => parse(bytes).map(|packet| packet.with_payload(bytes)),
                    _ => parse(bytes),
                },
                stamp,
                frame: keeps.then(|| frame(bytes, message.bytes, message.address)),
            });
        }
        if lost != room.lost {
            if let Some(capture) = &self.capture {
                capture.borrow_mut().miss(lost.wrapping_sub(room.lost));
            }
            recorder.emit(Observation::Warning {
                text: format!(
                    "{}: {} packets came faster than they were read and are not in the record",
                    self.name,
                    lost.wrapping_sub(room.lost)
                ),
            });
            room.lost = lost;
        }
        Ok(seen)
    }
}

/// Room for a batch's addresses, stamps and counts of packets lost.
fn headers() -> MultiHeaders<LinkAddr> {
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::timespec, u32)))
}

/// A packet to keep: the link layer's part as libpcap's LINKTYPE_LINUX_SLL has it (kind, hardware type, address with its
/// length, EtherType).
fn frame(bytes: &[u8], length: usize, from: Option<LinkAddr>) -> Frame {
    let mut link_header = [0; LINK_HEADER];
    let kind = from.map_or(0, |from| from.pkttype());
    link_header[1] = kind;
    if let Some(from) = from {
        link_header[2..4].copy_from_slice(&from.hatype().to_be_bytes());
        let address = from.addr().unwrap_or_default();
        link_header[4..6].copy_from_slice(&(address.len() as u16).to_be_bytes());
        link_header[6..12].copy_from_slice(&address);
        // The kernel gives it in the network's order already.
        link_header[14..16].copy_from_slice(&from.protocol().to_ne_bytes());
    }
    Frame {
        stamp_ns: 0,
        outgoing: kind == libc::PACKET_OUTGOING,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        link_header,
        bytes: bytes.to_vec(),
    }
}

/// The case's start by CLOCK_REALTIME, in which the kernel stamps packets. Taken anew for each batch: that clock may be set.
fn case_clock(recorder: &Recorder) -> Duration {
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    let now = monotonic();
    let running = now.saturating_sub(recorder.started_at().unwrap_or(now));
    wall.saturating_sub(running)
}

fn open_socket(hears: Hears) -> io::Result<Socket> {
    // Protocol 0 hears nothing until it is bound, when the filter is in place.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    match hears {
        Hears::Uplink | Hears::Everywhere => socket.attach_filter(&all())?,
        Hears::OwnErrors => socket.attach_filter(&own_errors())?,
        Hears::Turns => socket.attach_filter(&turns())?,
        Hears::Everything => {}
    }
    // What the kernel's `rmem_max` does not allow, it does not give: what is lost then is said.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BURST)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BURST));
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    socket.bind(&every_packet_of(match hears {
        Hears::Uplink | Hears::Everything => nix::net::if_::if_nametoindex("eth0")?,
        Hears::OwnErrors => nix::net::if_::if_nametoindex("lo")?,
        // packet(7): every interface.
        Hears::Turns | Hears::Everywhere => 0,
    }))?;
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

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_BYTE_AFTER: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_HEADER_LENGTH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ANY_OF: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
/// As much of a packet as there is: what is read of it is cut, its length is to be known.
const WHOLE: u32 = u32::MAX;
/// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the packet's EtherType.
const ETHERTYPE: u32 = (-0x1000_i32).cast_unsigned();
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: whether it comes or goes.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
const ADD_INDEX: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X;
const TO_INDEX: u32 = libc::BPF_MISC | libc::BPF_TAX;
const EQUAL_TO_INDEX: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X;
/// Where TCP's flags stand in its header.
const TCP_FLAGS: u32 = 13;
/// Where the length of its header stands there: four bits, in words of four bytes.
const DATA_OFFSET: u32 = 12;

/// `yes` and `no` count the instructions skipped.
fn op(code: u32, yes: u8, no: u8, value: u32) -> SockFilter {
    SockFilter::new(code as u16, yes, no, value)
}

/// Classic BPF: TCP and ICMP of IPv4; TCP and ICMPv6's errors (types below 128, so no neighbour discovery) of IPv6; nothing
/// else.
fn all() -> Vec<SockFilter> {
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
        op(RETURN, 0, 0, WHOLE),
        op(RETURN, 0, 0, 0),
    ]
}

/// ICMP and ICMPv6's errors, as they come: on `lo` a packet is seen as it goes as well.
fn own_errors() -> Vec<SockFilter> {
    vec![
        op(LOAD_WORD, 0, 0, PACKET_TYPE),
        op(EQUAL, 10, 0, libc::PACKET_OUTGOING.into()),
        op(LOAD_WORD, 0, 0, ETHERTYPE),
        op(EQUAL, 0, 2, 0x0800),
        op(LOAD_BYTE, 0, 0, 9),
        op(EQUAL, 5, 6, 1),
        op(EQUAL, 0, 5, 0x86dd),
        op(LOAD_BYTE, 0, 0, 6),
        op(EQUAL, 0, 3, 58),
        op(LOAD_BYTE, 0, 0, 40),
        op(AT_LEAST, 1, 0, 128),
        op(RETURN, 0, 0, WHOLE),
        op(RETURN, 0, 0, 0),
    ]
}

/// As [`all`], but of TCP only segments with SYN, FIN, RST or payload. (Of a later fragment it may let one through that is
/// none; the parser knows.)
fn turns() -> Vec<SockFilter> {
    let turn = u32::from(SYN | FIN | RST);
    vec![
        op(LOAD_WORD, 0, 0, ETHERTYPE),
        op(EQUAL, 0, 13, 0x0800),
        op(LOAD_BYTE, 0, 0, 9),
        op(EQUAL, 25, 0, 1),
        op(EQUAL, 0, 25, 6),
        op(LOAD_HEADER_LENGTH, 0, 0, 0),
        op(LOAD_BYTE_AFTER, 0, 0, TCP_FLAGS),
        op(ANY_OF, 21, 0, turn),
        // Payload: the packet is longer than both headers.
        op(LOAD_BYTE_AFTER, 0, 0, DATA_OFFSET),
        op(AND, 0, 0, 0xf0),
        op(SHIFT_RIGHT, 0, 0, 2),
        op(ADD_INDEX, 0, 0, 0),
        op(TO_INDEX, 0, 0, 0),
        op(LOAD_HALF, 0, 0, 2),
        op(EQUAL_TO_INDEX, 15, 14, 0),
        op(EQUAL, 0, 14, 0x86dd),
        op(LOAD_BYTE, 0, 0, 6),
        op(EQUAL, 0, 8, 6),
        op(LOAD_BYTE, 0, 0, 40 + TCP_FLAGS),
        op(ANY_OF, 9, 0, turn),
        op(LOAD_BYTE, 0, 0, 40 + DATA_OFFSET),
        op(AND, 0, 0, 0xf0),
        op(SHIFT_RIGHT, 0, 0, 2),
        op(TO_INDEX, 0, 0, 0),
        op(LOAD_HALF, 0, 0, 4),
        op(EQUAL_TO_INDEX, 4, 3, 0),
        op(EQUAL, 0, 3, 58),
        op(LOAD_BYTE, 0, 0, 40),
        op(AT_LEAST, 1, 0, 128),
        op(RETURN, 0, 0, WHOLE),
        op(RETURN, 0, 0, 0),
    ]
}
