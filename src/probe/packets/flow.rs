//! Which segments say something: those that open, close or reset a connection, and those sent again.
//!
//! For each direction of a flow: the next sequence number to come, and the segments sent and not yet acknowledged.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::parse::{ACK, FIN, RST, SYN, TcpSegment};
use crate::record::Segment;

/// Unacknowledged segments remembered for a direction. A busy sender has more; what is sent again is its oldest, so the
/// newest are forgotten.
const REMEMBERED: usize = 256;
/// Directions remembered before quiet ones are forgotten.
const MANY_FLOWS: usize = 32_768;

/// A segment put on the wire, and which sending of it this was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    segment: TcpSegment,
    again: u32,
    stamp: Duration,
}

impl Sending {
    /// As it stands in the record.
    pub(crate) fn on(self, node: &str) -> Segment {
        Segment {
            node: node.to_owned(),
            from: self.segment.from,
            to: self.segment.to,
            flags: self.segment.letters(),
            seq: self.segment.seq,
            len: self.segment.len,
            retransmission: self.again,
            stamp_ns: u64::try_from(self.stamp.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// The flows on a link.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    directions: HashMap<(SocketAddr, SocketAddr), Direction>,
    /// Directions there were after quiet ones were forgotten last.
    busy: usize,
}

#[derive(Debug, Default)]
struct Direction {
    /// Sequence number after the last one sent.
    next: Option<u32>,
    unacknowledged: VecDeque<Remembered>,
    /// Probes (keepalive, zero window) since the peer was last heard.
    probes: u32,
}

#[derive(Debug)]
struct Remembered {
    first: Sending,
    /// Sent again so often.
    again: u32,
    /// The first sending is already in the record.
    reported: bool,
}

impl Flows {
    /// Takes note of a segment. Returns what belongs in the record: often nothing; at a segment's first retransmission
    /// its first sending as well.
    pub(crate) fn see(&mut self, segment: &TcpSegment, stamp: Duration) -> Vec<Sending> {
        let forth = (segment.from, segment.to);
        let back = (segment.to, segment.from);
        let sending = |again| Sending {
            segment: segment.clone(),
            again,
            stamp,
        };
        if segment.has(RST) {
            self.directions.remove(&forth);
            self.directions.remove(&back);
            return vec![sending(0)];
        }
        if let Some(peer) = self.directions.get_mut(&back) {
            peer.heard_from_peer(segment);
        }
        self.forget_quiet_flows();
        let direction = self.directions.entry(forth).or_default();
        if segment.has(SYN) && !direction.knows(segment.seq) {
            // The ports are used anew.
            *direction = Direction::default();
        }
        direction.see(segment, sending)
    }

    fn forget_quiet_flows(&mut self) {
        if self.directions.len() > MANY_FLOWS.max(self.busy * 2) {
            self.directions
                .retain(|_, direction| !direction.unacknowledged.is_empty());
            self.busy = self.directions.len();
        }
    }
}

impl Direction {
    fn knows(&self, seq: u32) -> bool {
        self.unacknowledged
            .iter()
            .any(|sent| sent.first.segment.seq == seq)
    }

    /// `answer` came the other way.
    fn heard_from_peer(&mut self, answer: &TcpSegment) {
        self.probes = 0;
        if !answer.has(ACK) {
            return;
        }
        self.unacknowledged.retain(|sent| {
            let segment = &sent.first.segment;
            let end = segment.seq.wrapping_add(segment.span());
            before(answer.ack, end)
        });
    }

    fn see(&mut self, segment: &TcpSegment, sending: impl Fn(u32) -> Sending) -> Vec<Sending> {
        let Some(next) = self.next else {
            self.next = Some(segment.seq.wrapping_add(segment.span()));
            return self.remember(segment, sending);
        };
        let old = before(segment.seq, next);
        if segment.span() == 0 {
            if !old {
                return Vec::new();
            }
            // Nothing in it, at a number long taken: a probe that asks for an acknowledgement.
            self.probes += 1;
            return vec![sending(self.probes)];
        }
        let end = segment.seq.wrapping_add(segment.span());
        if before(next, end) {
            self.next = Some(end);
        }
        if old {
            self.sent_again(segment, sending)
        } else {
            self.remember(segment, sending)
        }
    }

    /// A first sending.
    fn remember(&mut self, segment: &TcpSegment, sending: impl Fn(u32) -> Sending) -> Vec<Sending> {
        let telling = segment.has(SYN | FIN);
        if segment.span() > 0 && self.unacknowledged.len() < REMEMBERED {
            self.unacknowledged.push_back(Remembered {
                first: sending(0),
                again: 0,
                reported: telling,
            });
        }
        if telling {
            vec![sending(0)]
        } else {
            Vec::new()
        }
    }

    fn sent_again(
        &mut self,
        segment: &TcpSegment,
        sending: impl Fn(u32) -> Sending,
    ) -> Vec<Sending> {
        let known = self
            .unacknowledged
            .iter_mut()
            .find(|sent| sent.first.segment.seq == segment.seq);
        let Some(sent) = known else {
            // A part of a larger segment, or one that was forgotten.
            if self.unacknowledged.len() < REMEMBERED {
                self.unacknowledged.push_back(Remembered {
                    first: sending(0),
                    again: 1,
                    reported: true,
                });
            }
            return vec![sending(1)];
        };
        sent.again += 1;
        let again = sending(sent.again);
        if sent.reported {
            return vec![again];
        }
        sent.reported = true;
        vec![sent.first.clone(), again]
    }
}

/// Whether sequence number `a` comes before `b`, as RFC 9293 counts: modulo 2³².
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PSH: u8 = 0x08;

    struct Wire {
        flows: Flows,
        clock: u64,
    }

    impl Wire {
        fn new() -> Self {
            Self {
                flows: Flows::default(),
                clock: 0,
            }
        }

        /// What a segment puts in the record: letters, sequence number, retransmission, second of its stamp.
        fn see(
            &mut self,
            client: bool,
            flags: u8,
            seq: u32,
            ack: u32,
            len: u32,
        ) -> Vec<(String, u32, u32, u64)> {
            let (a, b) = (
                "10.0.0.1:40000".parse().unwrap(),
                "10.0.0.3:443".parse().unwrap(),
            );
            let (from, to) = if client { (a, b) } else { (b, a) };
            let segment = TcpSegment {
                from,
                to,
                flags,
                seq,
                ack,
                len,
                payload: Vec::new(),
            };
            self.clock += 1;
            let sendings = self.flows.see(&segment, Duration::from_secs(self.clock));
            sendings
                .into_iter()
                .map(|s| s.on("node1"))
                .map(|s| (s.flags, s.seq, s.retransmission, s.stamp_ns / 1_000_000_000))
                .collect()
        }

        /// A handshake and one request with its response; client at 200, server at 1100.
        fn established() -> Self {
            let mut wire = Self::new();
            wire.see(true, SYN, 99, 0, 0);
            wire.see(false, SYN | ACK, 999, 100, 0);
            wire.see(true, ACK, 100, 1000, 0);
            assert_eq!(wire.see(true, PSH | ACK, 100, 1000, 100), []);
            assert_eq!(wire.see(false, PSH | ACK, 1000, 200, 100), []);
            assert_eq!(wire.see(true, ACK, 200, 1100, 0), []);
            wire
        }
    }

    #[test]
    fn a_healthy_connection_shows_its_opening_and_its_closing() {
        let mut wire = Wire::new();
        assert_eq!(wire.see(true, SYN, 99, 0, 0), [("S".into(), 99, 0, 1)]);
        assert_eq!(
            wire.see(false, SYN | ACK, 999, 100, 0),
            [("SA".into(), 999, 0, 2)]
        );
        assert_eq!(wire.see(true, ACK, 100, 1000, 0), []);
        assert_eq!(
            wire.see(true, FIN | ACK, 100, 1000, 0),
            [("FA".into(), 100, 0, 4)]
        );
        assert_eq!(wire.see(false, RST, 1000, 0, 0), [("R".into(), 1000, 0, 5)]);
    }

    #[test]
    fn the_first_retransmission_brings_the_first_sending_along() {
        let mut wire = Wire::established();
        assert_eq!(wire.see(true, PSH | ACK, 200, 1100, 50), []);
        assert_eq!(
            wire.see(true, PSH | ACK, 200, 1100, 50),
            [("PA".into(), 200, 0, 7), ("PA".into(), 200, 1, 8)]
        );
        assert_eq!(
            wire.see(true, PSH | ACK, 200, 1100, 50),
            [("PA".into(), 200, 2, 9)]
        );
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_what_follows_is_new() {
        let mut wire = Wire::established();
        wire.see(true, PSH | ACK, 200, 1100, 50);
        wire.see(false, ACK, 1100, 250, 0);
        assert_eq!(wire.see(true, PSH | ACK, 250, 1100, 50), []);
        assert_eq!(wire.see(true, PSH | ACK, 250, 1100, 50).len(), 2);
    }

    #[test]
    fn a_part_of_a_larger_segment_counts_as_sent_again() {
        let mut wire = Wire::established();
        wire.see(true, PSH | ACK, 200, 1100, 3000);
        assert_eq!(
            wire.see(true, ACK, 1648, 1100, 1448),
            [("A".into(), 1648, 1, 8)]
        );
        assert_eq!(
            wire.see(true, ACK, 1648, 1100, 1448),
            [("A".into(), 1648, 2, 9)]
        );
    }

    #[test]
    fn keepalive_probes_are_counted_until_the_peer_answers() {
        let mut wire = Wire::established();
        assert_eq!(wire.see(true, ACK, 199, 1100, 0), [("A".into(), 199, 1, 7)]);
        assert_eq!(wire.see(true, ACK, 199, 1100, 0), [("A".into(), 199, 2, 8)]);
        assert_eq!(wire.see(false, ACK, 1100, 200, 0), []);
        assert_eq!(
            wire.see(true, ACK, 199, 1100, 0),
            [("A".into(), 199, 1, 10)]
        );
    }

    #[test]
    fn a_syn_sent_again_is_counted_and_a_new_connection_by_the_same_ports_is_not() {
        let mut wire = Wire::new();
        assert_eq!(wire.see(true, SYN, 99, 0, 0)[0].2, 0);
        assert_eq!(wire.see(true, SYN, 99, 0, 0), [("S".into(), 99, 1, 2)]);
        assert_eq!(wire.see(true, SYN, 50, 0, 0), [("S".into(), 50, 0, 3)]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut wire = Wire::new();
        wire.see(true, SYN, u32::MAX, 0, 0);
        wire.see(true, PSH | ACK, 0, 1, 10);
        assert_eq!(wire.see(true, PSH | ACK, 10, 1, 10), []);
        assert_eq!(wire.see(true, PSH | ACK, 0, 1, 10).len(), 2);
    }

    proptest! {
        #[test]
        fn no_segments_make_it_panic_or_grow_without_bound(
            segments in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>(), 0_u32..70_000), 0..600)
        ) {
            let mut wire = Wire::new();
            for (client, flags, seq, ack, len) in segments {
                prop_assert!(wire.see(client, flags, seq, ack, len).len() <= 2);
            }
            for direction in wire.flows.directions.values() {
                prop_assert!(direction.unacknowledged.len() <= REMEMBERED);
            }
        }
    }
}
