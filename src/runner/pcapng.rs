//! Packets as a pcapng file (draft-ietf-opsawg-pcapng), as Wireshark and tshark open it.
//!
//! A writer of our own: pcap-file's last release, 2.0, is years old and 3.0 still a release candidate, and five kinds of
//! blocks are all there is to write. Little-endian, nanosecond stamps.

use crate::record::{Frame, SNAP_LENGTH};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
/// A section whose length is not said.
const LENGTH_UNKNOWN: u64 = u64::MAX;
/// LINKTYPE_LINUX_SLL: what a packet socket tells of the link layer, and the packet from its network header on.
const LINUX_SLL: u16 = 113;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// Decimal digits of a second in a stamp.
const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 0b01;
const OUTBOUND: u32 = 0b10;

/// A link whose packets are in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// Short name.
    pub(super) name: String,
    /// What it is.
    pub(super) description: String,
    /// What became of its packets.
    pub(super) statistics: Statistics,
}

/// What became of a link's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Statistics {
    /// Heard in all.
    pub(super) heard: u64,
    /// Never heard: the kernel had no room.
    pub(super) lost: u64,
    /// In the file.
    pub(super) kept: u64,
}

impl Statistics {
    /// Heard, and not in the file: the ring had no room.
    pub(super) fn dropped(&self) -> u64 {
        self.heard - self.kept
    }
}

/// A packet in a file.
pub(super) struct Packet<'a> {
    /// Place of its link among the interfaces.
    pub(super) interface: u32,
    /// The packet.
    pub(super) frame: &'a Frame,
    /// What is to be said of it.
    pub(super) comments: Vec<String>,
}

/// A whole file: `comments` are the section's, `packets` come in the order given.
pub(super) fn file(comments: &[String], interfaces: &[Interface], packets: &[Packet]) -> Vec<u8> {
    let mut out = section_header(comments);
    for interface in interfaces {
        out.extend(interface_description(interface));
    }
    for packet in packets {
        out.extend(enhanced_packet(packet));
    }
    let last = packets.iter().map(|p| p.frame.stamp_ns).max().unwrap_or(0);
    for (number, interface) in (0..).zip(interfaces) {
        out.extend(interface_statistics(number, last, &interface.statistics));
    }
    out
}

fn section_header(comments: &[String]) -> Vec<u8> {
    let mut body = BYTE_ORDER.to_le_bytes().to_vec();
    body.extend(VERSION.iter().flat_map(|part| part.to_le_bytes()));
    body.extend(LENGTH_UNKNOWN.to_le_bytes());
    for comment in comments {
        option(&mut body, OPT_COMMENT, comment.as_bytes());
    }
    let program = concat!("halfopen ", env!("CARGO_PKG_VERSION"));
    option(&mut body, SHB_USERAPPL, program.as_bytes());
    option(&mut body, OPT_END, &[]);
    block(SECTION_HEADER, &body)
}

fn interface_description(interface: &Interface) -> Vec<u8> {
    let mut body = LINUX_SLL.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(((SNAP_LENGTH + crate::record::LINK_HEADER) as u32).to_le_bytes());
    option(&mut body, IF_NAME, interface.name.as_bytes());
    option(&mut body, IF_DESCRIPTION, interface.description.as_bytes());
    option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
    option(&mut body, OPT_END, &[]);
    block(INTERFACE_DESCRIPTION, &body)
}

fn enhanced_packet(packet: &Packet) -> Vec<u8> {
    let frame = packet.frame;
    let header = frame.link_header.len() as u32;
    let kept = frame.bytes.len() as u32;
    let mut body = packet.interface.to_le_bytes().to_vec();
    body.extend(stamp(frame.stamp_ns));
    body.extend((header + kept).to_le_bytes());
    body.extend((header + frame.length.max(kept)).to_le_bytes());
    body.extend(frame.link_header);
    body.extend(&frame.bytes);
    pad(&mut body);
    for comment in &packet.comments {
        option(&mut body, OPT_COMMENT, comment.as_bytes());
    }
    let direction = if frame.outgoing { OUTBOUND } else { INBOUND };
    option(&mut body, EPB_FLAGS, &direction.to_le_bytes());
    option(&mut body, OPT_END, &[]);
    block(ENHANCED_PACKET, &body)
}

fn interface_statistics(number: u32, at_ns: u64, statistics: &Statistics) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend(stamp(at_ns));
    if statistics.dropped() > 0 {
        let text = format!(
            "the oldest {} packets are not in this file: its ring was full",
            statistics.dropped()
        );
        option(&mut body, OPT_COMMENT, text.as_bytes());
    }
    let heard = statistics.heard + statistics.lost;
    option(&mut body, ISB_IFRECV, &heard.to_le_bytes());
    option(&mut body, ISB_OSDROP, &statistics.lost.to_le_bytes());
    option(&mut body, ISB_USRDELIV, &statistics.kept.to_le_bytes());
    option(&mut body, OPT_END, &[]);
    block(INTERFACE_STATISTICS, &body)
}

/// A stamp: the high half first, each half in the file's order.
fn stamp(ns: u64) -> [u8; 8] {
    ns.rotate_left(32).to_le_bytes()
}

/// Appends an option. A text longer than an option can be is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(&value[..length.into()]);
    pad(body);
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    // Kind, length, body, and the length again.
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes(), &length, body, &length].concat()
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::LINK_HEADER;

    type Options = Vec<(u16, Vec<u8>)>;

    fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// The kinds and bodies of a file's blocks, by the lengths at both of their ends.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = u32_at(file, 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(u32_at(file, length - 4) as usize, length);
            blocks.push((u32_at(file, 0), &file[8..length - 4]));
            file = &file[length..];
        }
        blocks
    }

    fn options(mut bytes: &[u8]) -> Options {
        let mut options = Vec::new();
        loop {
            let (code, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
            if code == OPT_END {
                assert_eq!(bytes.len(), 4, "nothing after the last option");
                return options;
            }
            options.push((code, bytes[4..4 + length].to_vec()));
            bytes = &bytes[4 + length.next_multiple_of(4)..];
        }
    }

    fn interface(name: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            description: format!("the link of {name}"),
            statistics: Statistics {
                heard: 5,
                lost: 2,
                kept: 4,
            },
        }
    }

    #[test]
    fn the_head_says_what_it_is() {
        let comments = ["one".to_owned(), "two".to_owned()];
        let file = file(&comments, &[interface("node1")], &[]);
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS]
        );
        assert_eq!(u32_at(blocks[0].1, 0), BYTE_ORDER);
        let said = options(&blocks[0].1[16..]);
        assert_eq!(said[0], (OPT_COMMENT, b"one".to_vec()));
        assert_eq!(said[1], (OPT_COMMENT, b"two".to_vec()));
        assert_eq!(u16_at(blocks[1].1, 0), LINUX_SLL);
        let described = options(&blocks[1].1[8..]);
        assert!(described.contains(&(IF_NAME, b"node1".to_vec())));
        assert!(described.contains(&(IF_TSRESOL, vec![9])));
        let counted = options(&blocks[2].1[12..]);
        assert!(counted.contains(&(ISB_IFRECV, 7_u64.to_le_bytes().to_vec())));
        assert!(counted.contains(&(ISB_OSDROP, 2_u64.to_le_bytes().to_vec())));
        assert!(counted.contains(&(ISB_USRDELIV, 4_u64.to_le_bytes().to_vec())));
        let text = counted.iter().find(|(code, _)| *code == OPT_COMMENT);
        assert!(String::from_utf8_lossy(&text.unwrap().1).contains("oldest 1 packets"));
    }

    proptest! {
        #[test]
        fn packets_are_read_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..=SNAP_LENGTH),
            more in 0_u32..100_000,
            stamp_ns: u64,
            outgoing: bool,
            comments in proptest::collection::vec(".{0,40}", 0..3),
        ) {
            let frame = Frame {
                stamp_ns,
                outgoing,
                length: bytes.len() as u32 + more,
                link_header: [7; LINK_HEADER],
                bytes: bytes.clone(),
            };
            let packet = Packet { interface: 1, frame: &frame, comments: comments.clone() };
            let file = file(&[], &[interface("a"), interface("b")], &[packet]);
            let blocks = blocks(&file);
            prop_assert_eq!(blocks[3].0, ENHANCED_PACKET);
            let body = blocks[3].1;
            prop_assert_eq!(u32_at(body, 0), 1);
            let stamp = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
            prop_assert_eq!(stamp, stamp_ns);
            let kept = u32_at(body, 12) as usize;
            prop_assert_eq!(kept, LINK_HEADER + bytes.len());
            prop_assert_eq!(u32_at(body, 16), frame.length + LINK_HEADER as u32);
            prop_assert_eq!(&body[20..20 + LINK_HEADER], &[7; LINK_HEADER][..]);
            prop_assert_eq!(&body[20 + LINK_HEADER..20 + kept], &bytes[..]);
            let mut said = options(&body[20 + kept.next_multiple_of(4)..]);
            let flags = said.pop().unwrap();
            let direction: u32 = if outgoing { 2 } else { 1 };
            prop_assert_eq!(flags, (EPB_FLAGS, direction.to_le_bytes().to_vec()));
            let said: Vec<_> = said.into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect();
            prop_assert_eq!(said, comments);
        }
    }
}
