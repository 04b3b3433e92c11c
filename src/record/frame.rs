//! Packets as a link carried them: on their way from the lab, beside the record. They never decide a verdict.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Bytes kept of each packet, from its IP header on: headers of any length (at most 60 and 60), and the beginning of what
/// they carry, such as a request's line or a TLS record's header.
pub const SNAP_LENGTH: usize = 192;

/// Length of [`Frame::link_header`].
pub const LINK_HEADER: usize = 16;

/// A packet on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kernel's own stamp, in nanoseconds since the case's start.
    pub stamp_ns: u64,
    /// Sent by the link's own namespace, not received.
    pub outgoing: bool,
    /// Its length on the link, without the link's own header.
    pub length: u32,
    /// What the kernel tells of the link layer, as libpcap's LINKTYPE_LINUX_SLL has it.
    pub link_header: [u8; LINK_HEADER],
    /// Its first [`SNAP_LENGTH`] bytes, from the network header on.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Bytes it takes in a ring.
    #[must_use]
    pub fn weight(&self) -> u64 {
        (PREFIX + self.bytes.len()) as u64
    }
}

/// Bytes of a frame on its way before its own: stamp, length, bytes kept, direction, link header.
const PREFIX: usize = 8 + 4 + 2 + 1 + LINK_HEADER;

/// Packets of one link, one after the other as they were heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// The node or pod whose `eth0` it is.
    pub link: String,
    /// Packets since the last message for which the kernel had no room.
    pub lost: u64,
    /// Packets since the last message for which the ring had no room.
    pub dropped: u64,
    /// The packets, in Base64.
    data: String,
}

impl Frames {
    /// Packs `frames` for their way.
    pub fn pack<'a>(
        link: &str,
        lost: u64,
        dropped: u64,
        frames: impl IntoIterator<Item = &'a Frame>,
    ) -> Self {
        let mut bytes = Vec::new();
        for frame in frames {
            let kept = u16::try_from(frame.bytes.len()).unwrap_or(u16::MAX);
            bytes.extend(frame.stamp_ns.to_le_bytes());
            bytes.extend(frame.length.to_le_bytes());
            bytes.extend(kept.to_le_bytes());
            bytes.push(frame.outgoing.into());
            bytes.extend(frame.link_header);
            bytes.extend(&frame.bytes[..kept.into()]);
        }
        Self {
            link: link.to_owned(),
            lost,
            dropped,
            data: STANDARD.encode(bytes),
        }
    }

    /// The packets. Of a message that is not whole, those before the damage.
    #[must_use]
    pub fn unpack(&self) -> Vec<Frame> {
        let bytes = STANDARD.decode(&self.data).unwrap_or_default();
        let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
        while let Some((frame, after)) = split_frame(rest) {
            frames.push(frame);
            rest = after;
        }
        frames
    }
}

fn split_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (stamp, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (kept, rest) = rest.split_first_chunk()?;
    let (outgoing, rest) = rest.split_first()?;
    let (link_header, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u16::from_le_bytes(*kept).into())?;
    let frame = Frame {
        stamp_ns: u64::from_le_bytes(*stamp),
        outgoing: *outgoing != 0,
        length: u32::from_le_bytes(*length),
        link_header: *link_header,
        bytes: bytes.to_vec(),
    };
    Some((frame, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..=SNAP_LENGTH);
        (
            any::<u64>(),
            any::<bool>(),
            any::<u32>(),
            any::<[u8; LINK_HEADER]>(),
            bytes,
        )
            .prop_map(|(stamp_ns, outgoing, length, link_header, bytes)| Frame {
                stamp_ns,
                outgoing,
                length,
                link_header,
                bytes,
            })
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_left(frames in proptest::collection::vec(any_frame(), 0..9)) {
            let message = serde_json::to_string(&Frames::pack("node1", 3, 4, &frames)).unwrap();
            let arrived: Frames = serde_json::from_str(&message).unwrap();
            prop_assert_eq!((arrived.lost, arrived.dropped), (3, 4));
            prop_assert_eq!(arrived.unpack(), frames);
        }

        #[test]
        fn of_a_damaged_message_the_beginning_counts(frames in proptest::collection::vec(any_frame(), 1..5), cut in 0.0..1.0) {
            let mut message = Frames::pack("node1", 0, 0, &frames);
            message.data = STANDARD.encode({
                let bytes = STANDARD.decode(&message.data).unwrap();
                let keep = (bytes.len() as f64 * cut) as usize;
                bytes[..keep].to_vec()
            });
            let arrived = message.unpack();
            prop_assert_eq!(&arrived[..], &frames[..arrived.len()]);
            prop_assert!(arrived.len() < frames.len());
        }
    }
}
