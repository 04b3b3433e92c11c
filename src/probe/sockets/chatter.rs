//! What is said on a connection beside requests and their answers, where that can be read in the clear: HTTP/2's frames that keep
//! the connection itself, of settings, windows, pings and priorities (RFC 9113), and the heartbeats of some other protocols. They
//! ask nothing and answer nothing. (NATS' PING is none of them: a flush waits for its PONG.)

use crate::probe::packets::parse::TcpSegment;

/// How a client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What heartbeats may be, whole.
type Beats = &'static [&'static [u8]];

/// Protocols with heartbeats that are always the same: how their clients begin, from the byte of this number on, and what a
/// heartbeat is, of either side.
const HEARTBEATS: [(usize, &[u8], Beats); 3] = [
    // AMQP 0-9-1, 4.2.7.
    (0, b"AMQP\0\0\x09\x01", &[b"\x08\0\0\0\0\0\0\xce"]),
    // MQTT, 3.12 and 3.13: a CONNECT is no longer than 127 bytes, or its protocol's name stands later.
    (4, b"MQTT", &[b"\xc0\0", b"\xd0\0"]),
    (5, b"MQTT", &[b"\xc0\0", b"\xd0\0"]),
];
/// Redis' PING as it is typed.
const INLINE_PING: &[u8] = b"PING\r\n";
/// Redis' (RESP): any command may be a client's first.
const REDIS: [&[u8]; 5] = [
    b"*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nping\r\n",
    b"+PONG\r\n",
    b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    INLINE_PING,
];
/// Length, type, flags, stream.
const FRAME_HEADER: usize = 9;
/// Frame types.
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

/// What is known of what a connection speaks.
#[derive(Debug, Default)]
pub(super) enum Speech {
    /// Nothing: its client has said nothing yet.
    #[default]
    Unknown,
    /// HTTP/2: where the next frame begins, of the client and of the server.
    Http2([Option<u32>; 2]),
    /// Something with heartbeats, which are these.
    Beats(Beats),
    /// Nothing that can be read.
    Other,
}

impl Speech {
    /// By what a client says first.
    fn of(first: &TcpSegment) -> Self {
        let payload = &first.payload;
        if payload.starts_with(PREFACE) {
            let next = first.seq.wrapping_add(PREFACE.len() as u32);
            return Self::Http2([Some(next), None]);
        }
        let begins =
            |at: usize, with: &[u8]| payload.get(at..).is_some_and(|p| p.starts_with(with));
        let mut known = HEARTBEATS.iter();
        if let Some((.., beats)) = known.find(|(at, with, _)| begins(*at, with)) {
            return Self::Beats(beats);
        }
        // An array of so many strings.
        let is_array = payload.first() == Some(&b'*') && payload.windows(3).any(|w| w == b"\r\n$");
        match is_array || payload == INLINE_PING {
            true => Self::Beats(&REDIS),
            false => Self::Other,
        }
    }

    /// Whether a segment with payload, which none before it had, carries nothing but chatter. `of_client` is whose it is.
    pub(super) fn is_chatter(&mut self, segment: &TcpSegment, of_client: bool) -> bool {
        if matches!(self, Self::Unknown) && of_client {
            *self = Self::of(segment);
        }
        let next = match self {
            Self::Unknown | Self::Other => return false,
            Self::Beats(beats) => return is_made_of(beats, segment),
            Self::Http2(next) => next,
        };
        let next = &mut next[usize::from(!of_client)];
        let begin = next.unwrap_or(segment.seq);
        let (says, after) = frames(segment, begin);
        *next = Some(after);
        !says
    }
}

/// Whether a segment is nothing but some of these.
fn is_made_of(beats: &[&[u8]], segment: &TcpSegment) -> bool {
    let mut rest = segment.payload.as_slice();
    while let Some(beat) = beats.iter().find(|beat| rest.starts_with(beat)) {
        rest = &rest[beat.len()..];
    }
    rest.is_empty() && segment.payload.len() == segment.len as usize
}

/// Whether any of the frames that begin in a segment, the first at `begin`, or goes on in it, is a request's or an answer's; and
/// where the next one begins.
fn frames(segment: &TcpSegment, begin: u32) -> (bool, u32) {
    let end = segment.seq.wrapping_add(segment.len);
    let mut offset = begin.wrapping_sub(segment.seq) as usize;
    // One that began before goes on: only those of some length do.
    let mut says = offset != 0 && !segment.payload.starts_with(PREFACE);
    loop {
        let at = segment.seq.wrapping_add(offset as u32);
        if end.wrapping_sub(at).cast_signed() <= 0 {
            return (says, at);
        }
        let header = segment.payload.get(offset..offset + FRAME_HEADER);
        let Some(length) = header.and_then(frame_length) else {
            // What can't be read may be anything. As a rule a writer's next bytes begin with a frame.
            return (true, end);
        };
        says |= header.is_some_and(|header| matches!(header[3], DATA | HEADERS | CONTINUATION));
        offset += FRAME_HEADER + length;
    }
}

/// The length of what follows a frame's header, if it is one.
fn frame_length(header: &[u8]) -> Option<usize> {
    let length =
        usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    let fits = match header[3] {
        DATA | HEADERS | CONTINUATION | GOAWAY => true,
        PRIORITY => length == 5,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS => length % 6 == 0,
        PING => length == 8,
        // PUSH_PROMISE, and what extensions add: of no use to tell a frame from something else.
        _ => length <= 1 << 14,
    };
    fits.then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::packets::parse::ACK;
    use crate::probe::sockets::turns::segment;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1];
        bytes.resize(FRAME_HEADER + length, b'x');
        bytes
    }

    /// Of each piece, by the client or not, whether it is chatter; of what is cut off the length alone is known.
    fn chatter(pieces: &[(bool, Vec<u8>, usize)]) -> Vec<bool> {
        let (client, server) = ("10.1.0.2:40000", "10.1.1.2:50051");
        let address = |text: &str| text.parse().expect("an address");
        let mut speech = Speech::default();
        // Sequence numbers wrap.
        let mut seq = [u32::MAX - 20, 77];
        let told = pieces.iter().map(|(of_client, bytes, seen)| {
            let ends = match of_client {
                true => (address(client), address(server)),
                false => (address(server), address(client)),
            };
            let seq = &mut seq[usize::from(!of_client)];
            let mut segment = segment(ends, ACK, *seq, bytes.len() as u32);
            segment.payload = bytes[..(*seen).min(bytes.len())].to_vec();
            *seq = seq.wrapping_add(bytes.len() as u32);
            speech.is_chatter(&segment, *of_client)
        });
        told.collect()
    }

    #[test]
    fn settings_windows_and_pings_are_chatter_and_requests_are_not() {
        let all = usize::MAX;
        let hello = [PREFACE.to_vec(), frame(SETTINGS, 18)].concat();
        let told = chatter(&[
            (true, PREFACE.to_vec(), all),
            (false, frame(SETTINGS, 0), all),
            (
                true,
                [frame(SETTINGS, 0), frame(WINDOW_UPDATE, 4)].concat(),
                all,
            ),
            (
                true,
                [frame(WINDOW_UPDATE, 4), frame(HEADERS, 40)].concat(),
                all,
            ),
            (false, frame(PING, 8), all),
            (false, [frame(HEADERS, 30), frame(DATA, 5)].concat(), all),
            (true, frame(RST_STREAM, 4), all),
            (false, frame(GOAWAY, 8), all),
        ]);
        assert_eq!(told, [true, true, true, false, true, false, true, true]);
        let request = [hello.clone(), frame(HEADERS, 40)].concat();
        assert_eq!(chatter(&[(true, hello, all)]), [true]);
        assert_eq!(chatter(&[(true, request, all)]), [false]);
        // No HTTP/2.
        assert_eq!(chatter(&[(true, frame(PING, 8), all)]), [false]);
    }

    #[test]
    fn heartbeats_are_chatter_where_the_protocol_is_known() {
        let all = usize::MAX;
        let (beat, get) = (
            b"\x08\0\0\0\0\0\0\xce".to_vec(),
            b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n".to_vec(),
        );
        let amqp = [
            (true, b"AMQP\0\0\x09\x01".to_vec(), all),
            (false, vec![1; 40], all),
            (true, beat.repeat(2), all),
            (false, beat.clone(), all),
            (true, [vec![1; 40], beat.clone()].concat(), all),
        ];
        assert_eq!(chatter(&amqp), [false, false, true, true, false]);
        assert_eq!(chatter(&[(true, beat, all)]), [false], "it may be anything");
        let redis = [
            (true, get.clone(), all),
            (false, b"$-1\r\n".to_vec(), all),
            (true, REDIS[0].to_vec(), all),
            (false, b"+PONG\r\n".to_vec(), all),
            (true, [REDIS[0].to_vec(), get].concat(), all),
        ];
        assert_eq!(chatter(&redis), [false, false, true, true, false]);
        let mqtt = [
            (
                true,
                b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x01a".to_vec(),
                all,
            ),
            (true, vec![0xc0, 0], all),
            (false, vec![0xd0, 0], all),
            (true, vec![0x30, 3, 0, 1, b't'], all),
        ];
        assert_eq!(chatter(&mqtt), [false, true, true, false]);
    }

    #[test]
    fn frames_are_followed_across_segments_of_which_the_beginning_alone_is_seen() {
        let body = frame(DATA, 3000);
        let told = chatter(&[
            (true, PREFACE.to_vec(), 140),
            (
                true,
                [frame(HEADERS, 90), body[..1300].to_vec()].concat(),
                140,
            ),
            (true, body[1300..].to_vec(), 140),
            (true, frame(PING, 8), 140),
            // What begins behind what is seen may be anything, and so may what follows be, which is read as frames again.
            (true, [frame(DATA, 200), frame(PING, 8)].concat(), 140),
            (true, frame(PING, 8), 140),
        ]);
        assert_eq!(told, [true, false, false, true, false, true]);
    }
}
