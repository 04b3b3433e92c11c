//! sock_diag(7)'s messages, as bytes: one socket by its addresses, or all of a namespace, each with its TCP_INFO.
//!
//! Written by hand, since looking has to be cheap: many sockets are asked for in one send, and of an answer only what the
//! record needs is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::linux::tcp_info;
use crate::record::{SocketTimer, TcpInfo, TcpState, TimerKind};

/// The two addresses of a socket: its own, and its peer's as it knows it.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// A socket as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its own address.
    pub(super) local: SocketAddr,
    /// Its peer's, as the program knows it: before DNAT.
    pub(super) peer: SocketAddr,
    /// The kernel's number of it, which no other socket ever has.
    pub(super) cookie: u64,
    pub(super) state: TcpState,
    pub(super) timer: Option<SocketTimer>,
    pub(super) send_queue: u32,
    pub(super) receive_queue: u32,
    pub(super) info: Option<TcpInfo>,
    pub(super) progress: Progress,
}

/// How far a socket has come in its life, where the kernel says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes of its own that were acknowledged.
    pub(super) acknowledged: u64,
    /// Bytes that came in.
    pub(super) received: u64,
}

impl Shown {
    pub(super) fn ends(&self) -> Ends {
        (self.local, self.peer)
    }

    /// Whether it waits for an answer to its SYN, or for an acknowledgement of data.
    pub(super) fn unanswered(&self) -> bool {
        match self.state {
            TcpState::SynSent => true,
            TcpState::Established | TcpState::CloseWait => self.send_queue > 0,
            TcpState::SynReceived
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::LastAck
            | TcpState::Listen
            | TcpState::Closing => false,
        }
    }
}

/// NETLINK_SOCK_DIAG's messages (linux/sock_diag.h, linux/inet_diag.h).
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The attribute that holds `tcp_info`, and the bit that asks for it.
const INET_DIAG_INFO: u16 = 2;
const WITH_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
/// Length of `nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// Length of `inet_diag_msg`.
const HEADER: usize = 72;

/// Appends the question for the socket with these addresses.
pub(super) fn ask_for(bytes: &mut Vec<u8>, sequence: u32, (local, peer): Ends) {
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    netlink_header(
        bytes,
        72,
        SOCK_DIAG_BY_FAMILY,
        libc::NLM_F_REQUEST,
        sequence,
    );
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, WITH_INFO, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        match address {
            IpAddr::V4(v4) => {
                bytes.extend(v4.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    // Any interface, any cookie.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(u64::MAX.to_ne_bytes());
}

/// Appends the question for all sockets in one of `states`, a bit each by the kernel's number, of both families: only this
/// older form of the question takes both at once.
pub(super) fn ask_for_all(bytes: &mut Vec<u8>, sequence: u32, states: u32) {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    netlink_header(bytes, 76, TCPDIAG_GETSOCK, flags, sequence);
    bytes.extend([0, 0, 0, WITH_INFO]);
    bytes.extend([0; 48]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
}

fn netlink_header(bytes: &mut Vec<u8>, length: u32, kind: u16, flags: libc::c_int, sequence: u32) {
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags as u16).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
}

/// A message of the kernel's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Socket(Shown),
    /// errno, positive; 0 is an acknowledgement.
    Error(i32),
    /// The last of a dump.
    Done,
    /// Something not asked for.
    Other,
}

/// The messages of a datagram, each with its sequence number.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<(u32, Message)> {
    let mut messages = Vec::new();
    while let Some(length) = word(bytes, 0) {
        let length = length as usize;
        let (Some(message), Some(sequence)) = (
            bytes.get(..length).filter(|m| m.len() >= NETLINK_HEADER),
            word(bytes, 8),
        ) else {
            break;
        };
        messages.push((sequence, parse_message(message)));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

fn parse_message(message: &[u8]) -> Message {
    let body = &message[NETLINK_HEADER..];
    match u16::from_ne_bytes([message[4], message[5]]) {
        TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => {
            parse_socket(body).map_or(Message::Other, Message::Socket)
        }
        NLMSG_ERROR => match word(body, 0) {
            Some(error) => Message::Error(error.cast_signed().saturating_neg()),
            None => Message::Other,
        },
        NLMSG_DONE => Message::Done,
        _ => Message::Other,
    }
}

/// `inet_diag_msg` and its attributes.
fn parse_socket(body: &[u8]) -> Option<Shown> {
    let attributes = body.get(HEADER..)?;
    let address = |port: usize, at: usize| {
        let ip = match i32::from(body[0]) {
            libc::AF_INET => Ipv4Addr::from(*body[at..].first_chunk::<4>()?).into(),
            // An IPv6 socket shows an IPv4 peer in an IPv6 address.
            libc::AF_INET6 => {
                IpAddr::from(Ipv6Addr::from(*body[at..].first_chunk::<16>()?)).to_canonical()
            }
            _ => return None,
        };
        Some(SocketAddr::new(
            ip,
            u16::from_be_bytes([body[port], body[port + 1]]),
        ))
    };
    let info = info_of(attributes).unwrap_or_default();
    Some(Shown {
        local: address(4, 8)?,
        peer: address(6, 24)?,
        cookie: u64::from(word(body, 44)?) | u64::from(word(body, 48)?) << 32,
        state: TcpState::from_number(body[1])?,
        timer: timer(body[2]).map(|kind| SocketTimer {
            kind,
            left_ms: left(word(body, 52).unwrap_or_default()),
            count: body[3],
        }),
        receive_queue: word(body, 56)?,
        send_queue: word(body, 60)?,
        // A socket that waits in TIME-WAIT, or for its handshake, has none: an empty attribute, or zeroes.
        info: Some(tcp_info::of_bytes(info)).filter(|info| info.state > 0),
        progress: Progress {
            acknowledged: long(info, 120).unwrap_or_default(),
            received: long(info, 128).unwrap_or_default(),
        },
    })
}

/// `idiag_timer`'s meaning (linux/inet_diag.h, net/ipv4/inet_diag.c).
fn timer(number: u8) -> Option<TimerKind> {
    Some(match number {
        1 => TimerKind::Retransmission,
        2 => TimerKind::Keepalive,
        3 => TimerKind::TimeWait,
        4 => TimerKind::ZeroWindowProbe,
        _ => return None,
    })
}

/// A timer that should have fired a moment ago has a little less than none left.
fn left(milliseconds: u32) -> u32 {
    u32::try_from(milliseconds.cast_signed()).unwrap_or(0)
}

/// The bytes of the socket's `tcp_info`.
fn info_of(mut attributes: &[u8]) -> Option<&[u8]> {
    while let Some(head) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let attribute = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == INET_DIAG_INFO {
            return Some(attribute);
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    None
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let long = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*long))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
            parse_socket(&bytes);
        }
    }

    #[test]
    fn questions_are_as_long_as_they_say() {
        let ends = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let mut bytes = Vec::new();
        ask_for(&mut bytes, 1, ends);
        assert_eq!(bytes.len(), 72);
        let ends = (
            "[fd00::1]:1".parse().unwrap(),
            "[fd00::2]:2".parse().unwrap(),
        );
        ask_for(&mut bytes, 2, ends);
        assert_eq!(bytes.len(), 144);
        ask_for_all(&mut bytes, 3, u32::MAX);
        assert_eq!(bytes.len(), 144 + 76);
        assert_eq!(parse(&bytes).len(), 3);
    }

    #[test]
    fn a_timer_that_is_due_has_nothing_left() {
        assert_eq!(left(21_570), 21_570);
        assert_eq!(left((-4_i32).cast_unsigned()), 0);
    }
}
