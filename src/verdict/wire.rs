//! A connection's packets, as far as they say why it ended.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::record::{Segment, TcpInfo};

use super::connections::Connection;
use super::index::{AT_ONCE, Index, TICK};

/// A connection's packets.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    /// Its SYNs.
    pub syns: Vec<Duration>,
    /// Its SYN was answered.
    pub syn_acked: Option<Duration>,
    /// RST from the peer.
    pub reset: bool,
    /// FIN from the peer.
    pub peer_fin: bool,
    /// All sendings of the segment that was the last to be sent again, if any was.
    pub sendings: Vec<Duration>,
    /// Every sending again of a segment with payload, in order of time.
    pub again: Vec<Duration>,
    /// Payload bytes of that segment.
    pub length: u32,
    /// Probes of an idle connection, or of a closed window, that nothing answered.
    pub probes: Vec<Duration>,
    /// All probes, answered or not.
    pub all_probes: Vec<Duration>,
}

impl Wire {
    /// The packets of a connection that ended then.
    pub(super) fn of(index: &Index, connection: &Connection, ended: Duration) -> Self {
        let (Some(local), Some(began)) = (connection.local, connection.began()) else {
            return Self::default();
        };
        let own = |_: &Segment| true;
        let info = connection.end.and_then(|(_, end)| end.tcp_info);
        Self::between(index, local, (began.at, ended), own, info)
    }

    /// The packets of a server's connection, as the server's link carried them: link, own and peer's address.
    pub(super) fn of_server(
        index: &Index,
        (link, local, peer): (&str, SocketAddr, SocketAddr),
        began: Duration,
        ended: Duration,
        info: TcpInfo,
    ) -> Self {
        let own =
            |segment: &Segment| segment.node == link && [segment.from, segment.to].contains(&peer);
        Self::between(index, local, (began, ended), own, Some(info))
    }

    fn between(
        index: &Index,
        local: SocketAddr,
        (began, ended): (Duration, Duration),
        own: impl Fn(&Segment) -> bool,
        info: Option<TcpInfo>,
    ) -> Self {
        let stamp = |segment: &Segment| Duration::from_nanos(segment.stamp_ns);
        let mut wire = Self::default();
        let mut data: HashMap<u32, (u32, Vec<Duration>)> = HashMap::new();
        let sent = index.sent_from(local, began, ended).iter();
        for (_, segment) in sent.filter(|(_, segment)| own(segment)) {
            if segment.flags.contains('S') {
                wire.syns.push(stamp(segment));
            } else if segment.len > 0 {
                if segment.retransmission > 0 {
                    wire.again.push(stamp(segment));
                }
                let (length, sendings) = data.entry(segment.seq).or_default();
                *length = segment.len;
                sendings.push(stamp(segment));
            } else if segment.retransmission > 0 && segment.flags == "A" {
                // Answered probes are none that end a connection: they are counted anew once the peer is heard of.
                if segment.retransmission == 1 {
                    wire.probes.clear();
                }
                wire.probes.push(stamp(segment));
                wire.all_probes.push(stamp(segment));
            }
        }
        // What was sent again before, on a path that loses some packets, was acknowledged in the end.
        let again = data.into_values().filter(|(_, all)| all.len() > 1);
        let last = again.max_by_key(|(_, all)| all.iter().max().copied());
        (wire.length, wire.sendings) = last.unwrap_or_default();
        // What comes at the end may be stamped a moment after the client knew of it.
        let received = index.sent_to(local, began, ended + AT_ONCE).iter();
        for (_, segment) in received.filter(|(_, segment)| own(segment)) {
            if segment.flags.contains('S') {
                wire.syn_acked = wire.syn_acked.or(Some(stamp(segment)));
            }
            wire.reset |= segment.flags.contains('R');
            wire.peer_fin |= segment.flags.contains('F');
        }
        if let [.., last] = wire.probes[..] {
            let mut heard = index.sent_to(local, began, last).iter();
            let heard = heard.rfind(|(_, segment)| own(segment));
            let heard = heard.map(|(_, segment)| stamp(segment));
            // An acknowledgement that says nothing else is not recorded, but the socket knows when it had its last one.
            let acknowledged = info.map(|info| info.last_acknowledged(ended) + TICK);
            let heard = heard.max(acknowledged);
            wire.probes
                .retain(|at| heard.is_none_or(|heard| *at > heard));
        }
        wire
    }

    /// For how long before `ended` segments were sent again with no pause of `pause` or more; from the first of them on.
    pub(super) fn struggled(&self, ended: Duration, pause: Duration) -> Duration {
        let mut since = ended;
        for at in self.again.iter().rev() {
            if since.saturating_sub(*at) >= pause {
                break;
            }
            since = *at;
        }
        ended.saturating_sub(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struggle_goes_back_to_the_last_pause() {
        let wire = Wire {
            again: [1, 20, 24, 29].map(Duration::from_secs).to_vec(),
            ..Wire::default()
        };
        let struggled = |ended: u64| {
            let ended = Duration::from_secs(ended);
            wire.struggled(ended, Duration::from_secs(6)).as_secs()
        };
        assert_eq!(struggled(30), 10);
        assert_eq!(struggled(36), 0, "nothing was sent again for too long");
    }
}
