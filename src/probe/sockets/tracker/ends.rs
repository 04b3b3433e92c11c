//! How a program's connection ended, from what was seen of it.

use std::time::Duration;

use super::{AT_ONCE, Observed, Tracked, Tracker};
use crate::record::{ConnectionEnd, EndedBy, Observation, TcpInfo};

/// So long after a socket was missed the kernel is waited for to tell of its end: on a busy machine that takes a while.
const UNTOLD: Duration = Duration::from_secs(1);

impl Tracker {
    /// A connection's socket is in none of the kernel's tables any more. `info` is what it shows still, if the program keeps
    /// it. Where it does not, the kernel tells of the end in its own time (a work item of its), which is waited for.
    pub(in crate::probe::sockets) fn vanished(
        &mut self,
        id: u32,
        info: Option<TcpInfo>,
        now: Duration,
    ) -> Observed {
        if let Some(info) = info {
            return self.gone(id, info, now);
        }
        let Some(tracked) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        let missed = *tracked.missed.get_or_insert(now);
        if now.saturating_sub(missed) < UNTOLD {
            self.agenda.plan(tracked, Some(now + AT_ONCE));
            return Vec::new();
        }
        let tracked = self.take(id);
        let ended = tracked.map(|tracked| (missed, self.untold(&tracked)));
        ended.into_iter().collect()
    }

    pub(super) fn gone(&mut self, id: u32, info: TcpInfo, now: Duration) -> Observed {
        let Some(mut tracked) = self.take(id) else {
            return Vec::new();
        };
        // However late the kernel told of it.
        let now = tracked.missed.unwrap_or(now);
        tracked.established |= info.rtt_us > 0;
        let observation = match tracked.established {
            true => self.closed(&tracked, info),
            false => self.dial_failed(&tracked, info, now),
        };
        let at = match (&observation, tracked.resets) {
            (Observation::ConnectionClosed { end, .. }, Some(at)) if end.by == EndedBy::Client => {
                at
            }
            _ => now,
        };
        vec![(at, observation)]
    }

    fn closed(&self, tracked: &Tracked, info: TcpInfo) -> Observation {
        // Keepalive ends with a RST of the kernel's own; a program's comes of data it had not read.
        let by_keepalive = info.probes > 0 && info.unacked == 0;
        let (by, errno, text) = if tracked.reset {
            (
                EndedBy::Kernel,
                Some(libc::ECONNRESET),
                "reset by the server (RST)",
            )
        } else if tracked.peer_closed {
            (EndedBy::Peer, None, "closed by the server")
        } else if tracked.resets.is_some() && !by_keepalive {
            (EndedBy::Client, None, "closed by the program (RST)")
        } else {
            (EndedBy::Kernel, None, "given up by the kernel")
        };
        self.end(tracked, by, errno, Some(info), text)
    }

    /// The end of a socket that is no more, and of which the kernel did not tell.
    pub(super) fn untold(&self, tracked: &Tracked) -> Observation {
        let (by, text) = match tracked.resets {
            Some(_) => (EndedBy::Client, "closed by the program (RST)"),
            None => (
                EndedBy::Kernel,
                "it is no more, and the kernel did not say how it ended",
            ),
        };
        self.end(tracked, by, None, None, text)
    }

    fn dial_failed(&self, tracked: &Tracked, info: TcpInfo, now: Duration) -> Observation {
        let by_icmp = tracked
            .unreachable
            .filter(|(at, _)| now.saturating_sub(*at) <= AT_ONCE);
        // A connect() that fails clears what its socket had counted.
        let all_sent = info.retransmits.max(tracked.syns_again) >= self.syn_limit;
        let fired = tracked.watch.is_none_or(|watch| watch.has_fired(now));
        let (by, errno, text) = if tracked.reset {
            (
                EndedBy::Kernel,
                Some(libc::ECONNREFUSED),
                "refused (RST in answer to the SYN)",
            )
        } else if let Some((_, errno)) = by_icmp {
            let text = match errno {
                libc::ECONNREFUSED => "refused (ICMP in answer to the SYN)",
                _ => "unreachable (ICMP)",
            };
            (EndedBy::Kernel, Some(errno), text)
        } else if info.retransmits >= self.syn_limit || (all_sent && fired) {
            (
                EndedBy::Kernel,
                None,
                "given up by the kernel: no answer to any SYN",
            )
        } else {
            (EndedBy::Client, None, "the program gave the dial up")
        };
        self.end(tracked, by, errno, Some(info), text)
    }

    pub(super) fn end(
        &self,
        tracked: &Tracked,
        by: EndedBy,
        errno: Option<i32>,
        tcp_info: Option<TcpInfo>,
        text: &str,
    ) -> Observation {
        let (client, connection) = (self.client.clone(), tracked.id);
        let end = ConnectionEnd {
            by,
            errno,
            tcp_info,
            text: text.to_owned(),
            not_before: None,
        };
        match tracked.established {
            true => Observation::ConnectionClosed {
                client,
                connection,
                end,
            },
            false => Observation::DialFailed {
                client,
                connection,
                error: end,
            },
        }
    }
}

/// The error that a connect() returns for an ICMP error: port unreachable refuses it as a RST does.
pub(super) fn errno_of(kind: (u8, u8), v4: bool) -> i32 {
    match kind {
        (3, 3) if v4 => libc::ECONNREFUSED,
        (1, 4) if !v4 => libc::ECONNREFUSED,
        _ => libc::EHOSTUNREACH,
    }
}
