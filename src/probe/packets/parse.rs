//! IP packets, as far as the probe needs them. Pure, and never panics on any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// FIN.
pub(crate) const FIN: u8 = 0x01;
/// SYN.
pub(crate) const SYN: u8 = 0x02;
/// RST.
pub(crate) const RST: u8 = 0x04;
/// ACK.
pub(crate) const ACK: u8 = 0x10;

/// TCP's flags in their order on the wire, lowest bit first, as letters.
const LETTERS: [(u8, char); 8] = [
    (SYN, 'S'),
    (FIN, 'F'),
    (RST, 'R'),
    (0x08, 'P'),
    (ACK, 'A'),
    (0x20, 'U'),
    (0x40, 'E'),
    (0x80, 'C'),
];

/// A packet worth looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A TCP segment.
    Tcp(TcpSegment),
    /// An ICMP message.
    Icmp {
        /// Type and code.
        kind: (u8, u8),
        /// Source.
        from: IpAddr,
        /// Destination.
        to: IpAddr,
        /// Source and destination of the TCP segment that it is about, if it is an error and about one.
        about: Option<(SocketAddr, SocketAddr)>,
    },
}

/// A TCP segment's header, and how much it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpSegment {
    /// Source.
    pub(crate) from: SocketAddr,
    /// Destination.
    pub(crate) to: SocketAddr,
    /// Flags as on the wire.
    pub(crate) flags: u8,
    /// Sequence number of its first byte.
    pub(crate) seq: u32,
    /// Acknowledgement number; means something only with ACK.
    pub(crate) ack: u32,
    /// Payload bytes.
    pub(crate) len: u32,
    /// The beginning of its payload, for whoever reads that ([`Packet::with_payload`]).
    pub(crate) payload: Vec<u8>,
}

impl TcpSegment {
    /// Whether one of `flags` is set.
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Sequence numbers it takes: its payload, and one each for SYN and FIN.
    pub(crate) fn span(&self) -> u32 {
        self.len + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    /// Its flags as letters, e.g. `SA`, `PA`, `R`.
    pub(crate) fn letters(&self) -> String {
        let set = LETTERS.iter().filter(|(flag, _)| self.has(*flag));
        set.map(|(_, letter)| letter).collect()
    }
}

/// Protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// Bytes of an ICMP error before the packet that it repeats.
const ICMP_HEADER: usize = 8;

/// What an IP packet's header says.
struct Header {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// Its own length.
    length: usize,
}

impl Header {
    fn of(packet: &[u8]) -> Option<Self> {
        let address4 = |at| Some(IpAddr::V4(Ipv4Addr::from_bits(long(packet, at)?)));
        let address6 = |at: usize| {
            let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        };
        let first = packet.first()?;
        match first >> 4 {
            4 => Some(Self {
                from: address4(12)?,
                to: address4(16)?,
                protocol: *packet.get(9)?,
                length: usize::from(first & 0x0f) * 4,
            })
            .filter(|header| header.length >= 20),
            6 => Some(Self {
                from: address6(8)?,
                to: address6(24)?,
                protocol: *packet.get(6)?,
                length: 40,
            }),
            _ => None,
        }
    }
}

/// Reads an IP packet whose end may have been cut off. `None`: not TCP or ICMP, a later fragment, or broken.
pub(crate) fn parse(bytes: &[u8]) -> Option<Packet> {
    let header = Header::of(bytes)?;
    let (length, icmp) = match header.from {
        IpAddr::V4(_) => {
            let fragment_offset = word(bytes, 6)? & 0x1fff;
            if fragment_offset != 0 {
                return None;
            }
            let total_length = u32::from(word(bytes, 2)?);
            (total_length.saturating_sub(header.length as u32), ICMP)
        }
        IpAddr::V6(_) => (u32::from(word(bytes, 4)?), ICMPV6),
    };
    let rest = bytes.get(header.length..)?;
    match header.protocol {
        TCP => parse_tcp(rest, length, header.from, header.to),
        protocol if protocol == icmp => parse_icmp(rest, header.from, header.to),
        _ => None,
    }
}

/// `length` is that of the segment with its header, by the IP header.
fn parse_tcp(bytes: &[u8], length: u32, from: IpAddr, to: IpAddr) -> Option<Packet> {
    let header_length = u32::from(bytes.get(12)? >> 4) * 4;
    if header_length < 20 {
        return None;
    }
    Some(Packet::Tcp(TcpSegment {
        from: SocketAddr::new(from, word(bytes, 0)?),
        to: SocketAddr::new(to, word(bytes, 2)?),
        flags: *bytes.get(13)?,
        seq: long(bytes, 4)?,
        ack: long(bytes, 8)?,
        len: length.checked_sub(header_length)?,
        payload: Vec::new(),
    }))
}

impl Packet {
    /// With what `bytes`, which it was read from, have of a segment's payload.
    pub(crate) fn with_payload(mut self, bytes: &[u8]) -> Self {
        if let Self::Tcp(segment) = &mut self
            && let Some(payload) = payload(bytes)
        {
            segment.payload = payload[..payload.len().min(segment.len as usize)].to_vec();
        }
        self
    }
}

/// What follows a packet's TCP header.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let segment = bytes.get(ip_length(bytes)?..)?;
    segment.get(usize::from(segment.get(12)? >> 4) * 4..)
}

/// The length of a packet's IP header.
fn ip_length(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    Some(match first >> 4 {
        4 => usize::from(first & 0x0f) * 4,
        _ => 40,
    })
}

/// The timestamp that an IP packet's TCP segment bears (TSval, RFC 7323), if it has one and it was not cut off.
pub(crate) fn timestamp(bytes: &[u8]) -> Option<u32> {
    const TIMESTAMPS: u8 = 8;
    let Some(Packet::Tcp(_)) = parse(bytes) else {
        return None;
    };
    let segment = bytes.get(ip_length(bytes)?..)?;
    let header_length = usize::from(segment.get(12)? >> 4) * 4;
    let mut options = segment.get(20..header_length)?;
    loop {
        let length = match options.first()? {
            0 => return None,
            1 => 1,
            &kind => {
                let length = usize::from(*options.get(1)?);
                if kind == TIMESTAMPS && length == 10 {
                    return long(options, 2);
                }
                length.max(2)
            }
        };
        options = options.get(length..)?;
    }
}

fn parse_icmp(bytes: &[u8], from: IpAddr, to: IpAddr) -> Option<Packet> {
    let kind = (*bytes.first()?, *bytes.get(1)?);
    let is_error = match from {
        // RFC 1122, 3.2.2.
        IpAddr::V4(_) => matches!(kind.0, 3 | 4 | 5 | 11 | 12),
        // RFC 4443, 2.1.
        IpAddr::V6(_) => kind.0 < 128,
    };
    let packet = bytes.get(ICMP_HEADER..).filter(|_| is_error);
    Some(Packet::Icmp {
        kind,
        from,
        to,
        about: packet.and_then(segment_of),
    })
}

/// Addresses and ports of the TCP segment in an IP packet of which an ICMP error repeats the beginning: 8 bytes after the IP
/// header at the least (RFC 792), so that TCP's own header may be cut off.
fn segment_of(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let header = Header::of(packet).filter(|header| header.protocol == TCP)?;
    let (source, destination) = (
        word(packet, header.length)?,
        word(packet, header.length + 2)?,
    );
    Some((
        SocketAddr::new(header.from, source),
        SocketAddr::new(header.to, destination),
    ))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(two))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x9c, 0x40, 0x01, 0xbb];
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend(9_u32.to_be_bytes());
        bytes.extend([0x80, flags, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0; 12]);
        bytes.resize(32 + payload, b'x');
        bytes
    }

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap();
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 3]);
        bytes.extend(payload);
        bytes
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("fd00::3".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_segment_s_length_is_the_ip_header_s_though_its_end_is_cut_off() {
        let packets = [
            (v4(6, &tcp(0x18, 1000)), "10.0.0.1:40000", "10.0.0.3:443"),
            (v6(6, &tcp(0x18, 1000)), "[fd00::1]:40000", "[fd00::3]:443"),
        ];
        for (packet, from, to) in packets {
            let Some(Packet::Tcp(segment)) = parse(&packet[..100]) else {
                panic!("not a segment");
            };
            assert_eq!(
                (segment.from, segment.to),
                (from.parse().unwrap(), to.parse().unwrap())
            );
            assert_eq!((segment.seq, segment.ack, segment.len), (7, 9, 1000));
            assert_eq!(segment.letters(), "PA");
        }
    }

    #[test]
    fn syn_and_fin_take_a_sequence_number_each() {
        for (flags, span, letters) in [
            (SYN, 1, "S"),
            (FIN | ACK, 1, "FA"),
            (ACK, 0, "A"),
            (RST, 0, "R"),
        ] {
            let Some(Packet::Tcp(segment)) = parse(&v4(6, &tcp(flags, 0))) else {
                panic!("not a segment");
            };
            assert_eq!(
                (segment.span(), segment.letters()),
                (span, letters.to_owned())
            );
        }
    }

    #[test]
    fn a_timestamp_is_found_wherever_it_stands() {
        let with = |options: [u8; 12]| {
            let mut segment = tcp(SYN, 0);
            segment[20..].copy_from_slice(&options);
            segment
        };
        let syn = with([1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0]);
        assert_eq!(timestamp(&v4(6, &syn)), Some(258));
        assert_eq!(timestamp(&v6(6, &syn)), Some(258));
        let last = with([4, 2, 8, 10, 0, 0, 1, 3, 0, 0, 0, 0]);
        assert_eq!(timestamp(&v4(6, &last)), Some(259));
        let ended = with([0, 1, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0]);
        assert_eq!(timestamp(&v4(6, &ended)), None);
        let none = with([2, 4, 5, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2]);
        assert_eq!(timestamp(&v4(6, &none)), None);
    }

    #[test]
    fn icmp_has_its_type_and_code() {
        let unreachable = |version: u8| match version {
            4 => parse(&v4(1, &[3, 1, 0, 0])),
            _ => parse(&v6(58, &[3, 1, 0, 0])),
        };
        for version in [4, 6] {
            assert!(matches!(
                unreachable(version),
                Some(Packet::Icmp { kind: (3, 1), .. })
            ));
        }
    }

    #[test]
    fn an_icmp_error_tells_the_segment_that_it_is_about() {
        let eight_bytes_of_tcp = |packet: Vec<u8>, header: usize| packet[..header + 8].to_vec();
        let error = [3, 1, 0, 0, 0, 0, 0, 0];
        let about4 = eight_bytes_of_tcp(v4(6, &tcp(ACK, 100)), 20);
        let about6 = eight_bytes_of_tcp(v6(6, &tcp(ACK, 100)), 40);
        let about = |packet: &[u8]| match parse(packet) {
            Some(Packet::Icmp { about, .. }) => about,
            other => panic!("{other:?}"),
        };
        let flow = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
        let (four, six) = (
            v4(1, &[&error, about4.as_slice()].concat()),
            v6(58, &[&error, about6.as_slice()].concat()),
        );
        assert_eq!(about(&four), flow("10.0.0.1:40000", "10.0.0.3:443"));
        assert_eq!(about(&six), flow("[fd00::1]:40000", "[fd00::3]:443"));
        let echo = v4(1, &[&[8, 0, 0, 0, 0, 0, 0, 0], about4.as_slice()].concat());
        assert_eq!(about(&echo), None, "a query repeats nothing");
        let of_udp = v4(1, &[&error[..], &v4(17, &[0; 8])].concat());
        assert_eq!(about(&of_udp), None);
        assert_eq!(
            about(&four[..four.len() - 6]),
            None,
            "its ports are cut off"
        );
    }

    #[test]
    fn later_fragments_and_other_protocols_are_nothing() {
        let mut fragment = v4(6, &tcp(ACK, 10));
        fragment[7] = 5;
        assert_eq!(parse(&fragment), None);
        assert_eq!(parse(&v4(17, &[0; 20])), None);
        assert_eq!(parse(&[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = (parse(&bytes), timestamp(&bytes));
        }

        #[test]
        fn no_change_to_a_real_packet_makes_it_panic(
            at in 0_usize..72,
            value: u8,
            cut in 0_usize..73,
            six: bool,
        ) {
            let mut bytes = if six { v6(6, &tcp(ACK, 0)) } else { v4(6, &tcp(ACK, 20)) };
            bytes[at] = value;
            let cut = &bytes[..cut.min(bytes.len())];
            let _ = (parse(cut), timestamp(cut));
        }
    }
}
