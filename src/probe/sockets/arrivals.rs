//! When payload reached a program, by its own packets: what a server has sent may never arrive.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::turns::Turns;
use crate::probe::packets::parse::{RST, SYN, TcpSegment};

/// What reaches a program.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    own: Vec<IpAddr>,
    connections: HashMap<Ends, Connection>,
    /// Those of which something is to be told.
    untold: Vec<Ends>,
}

/// The program's own address and the other one.
type Ends = (SocketAddr, SocketAddr);

#[derive(Debug, Default)]
struct Connection {
    turns: Turns,
    /// When the last payload came that is not told.
    latest: Option<Duration>,
}

impl Arrivals {
    /// At these addresses.
    pub(super) fn at(own: Vec<IpAddr>) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    /// Takes a segment in. What came last before the program's own next payload is to be told then.
    pub(super) fn see(
        &mut self,
        segment: &TcpSegment,
        stamp: Duration,
    ) -> Option<(Ends, Duration)> {
        let is_own = |address: SocketAddr| self.own.contains(&address.ip());
        let (ends, from_own) = match (is_own(segment.from), is_own(segment.to)) {
            (true, _) => ((segment.from, segment.to), true),
            (false, true) => ((segment.to, segment.from), false),
            (false, false) => return None,
        };
        if segment.has(SYN) && from_own {
            self.connections.insert(ends, Connection::default());
            return None;
        }
        let known = self.connections.get_mut(&ends)?;
        // A half-closed connection may have an answer still.
        if segment.has(RST) {
            let latest = known.latest;
            self.connections.remove(&ends);
            return latest.map(|latest| (ends, latest));
        }
        known.turns.see(segment, from_own)?;
        if from_own {
            return known.latest.take().map(|latest| (ends, latest));
        }
        if known.latest.replace(stamp).is_none() {
            self.untold.push(ends);
        }
        None
    }

    /// What came last on each connection, and is not told yet.
    pub(super) fn rest(&mut self) -> Vec<(Ends, Duration)> {
        let untold = std::mem::take(&mut self.untold).into_iter();
        let mut latest = |ends: &Ends| self.connections.get_mut(ends)?.latest.take();
        untold
            .filter_map(|ends| latest(&ends).map(|latest| (ends, latest)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::packets::parse::{ACK, FIN};
    use crate::probe::sockets::turns::segment;

    /// When something is told of these segments, read at once or each by itself: millisecond, from the program?, flags, sequence
    /// number, payload.
    fn told(at_once: bool, segments: &[(u64, bool, u8, u32, u32)]) -> Vec<u128> {
        let (own, other) = ("10.1.0.2:40000", "10.1.1.2:5432");
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut arrivals = Arrivals::at(vec![at(own).ip()]);
        let mut all = Vec::new();
        for (ms, from_own, flags, seq, len) in segments {
            let ends = match from_own {
                true => (at(own), at(other)),
                false => (at(other), at(own)),
            };
            let segment = segment(ends, *flags, *seq, *len);
            all.extend(arrivals.see(&segment, Duration::from_millis(*ms)));
            if !at_once {
                all.extend(arrivals.rest());
            }
        }
        all.extend(arrivals.rest());
        all.into_iter()
            .map(|(ends, stamp)| {
                assert_eq!(ends, (at(own), at(other)));
                stamp.as_millis()
            })
            .collect()
    }

    #[test]
    fn each_answer_is_told_and_the_last_of_what_is_read_at_once() {
        let segments = [
            (0, true, SYN, 99, 0),
            (1, false, SYN | ACK, 499, 0),
            (2, true, ACK, 100, 8),
            (3, false, ACK, 500, 1000),
            (4, false, ACK, 1500, 1000),
            // Sent again.
            (5, false, ACK, 500, 1000),
            (6, true, ACK, 108, 8),
            (7, false, ACK, 2500, 10),
            (8, false, ACK, 2510, 10),
        ];
        assert_eq!(told(true, &segments), [4, 8]);
        assert_eq!(told(false, &segments), [3, 4, 7, 8]);
    }

    #[test]
    fn an_answer_after_the_program_s_fin_arrives_and_none_comes_after_rst() {
        let half = [
            (0, true, SYN, 99, 0),
            (2, true, FIN | ACK, 100, 8),
            (3, false, ACK, 500, 10),
        ];
        let over = [
            (0, true, SYN, 99, 0),
            (2, true, ACK, 100, 8),
            (3, false, ACK, 500, 10),
            (4, true, RST, 108, 0),
            (5, false, ACK, 510, 10),
        ];
        for at_once in [true, false] {
            assert_eq!(told(at_once, &half), [3]);
            assert_eq!(told(at_once, &over), [3]);
            assert!(told(at_once, &[(4, false, ACK, 500, 10)]).is_empty());
        }
    }
}
