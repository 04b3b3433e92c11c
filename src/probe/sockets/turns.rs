//! Who speaks on a connection, by its payload: one asks, the other answers.

use super::chatter::Speech;
use crate::probe::packets::parse::TcpSegment;

/// A segment with payload, for tests.
#[cfg(test)]
pub(super) fn segment(
    (from, to): (std::net::SocketAddr, std::net::SocketAddr),
    flags: u8,
    seq: u32,
    len: u32,
) -> TcpSegment {
    TcpSegment {
        from,
        to,
        flags,
        seq,
        ack: 0,
        len,
        payload: Vec::new(),
    }
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The sequence numbers that come next: of who asks, and of who answers.
    next: [Option<u32>; 2],
    asked: bool,
    speech: Speech,
}

impl Turns {
    /// What a segment is of whoever asks, or of the other one; nothing if it has no payload that none before it had, or nothing
    /// but chatter. Else whether it is the first of its side: of who asks since the last answer, of who answers since it was
    /// asked.
    pub(super) fn see(&mut self, segment: &TcpSegment, asks: bool) -> Option<bool> {
        if segment.len == 0 || !self.is_new(segment, asks) || self.speech.is_chatter(segment, asks)
        {
            return None;
        }
        let first = self.asked != asks;
        self.asked = asks;
        Some(first)
    }

    fn is_new(&mut self, segment: &TcpSegment, asks: bool) -> bool {
        let end = segment.seq.wrapping_add(segment.len);
        let next = &mut self.next[usize::from(!asks)];
        let new = next.is_none_or(|next| end.wrapping_sub(next).cast_signed() > 0);
        if new {
            *next = Some(end);
        }
        new
    }
}
