//! The connections of a program, from what its packets and the deaths of its sockets say.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::Protocol;
use crate::probe::packets::parse::{ACK, FIN, Packet, RST, SYN, TcpSegment};
use crate::record::{ConnectionEnd, EndedBy, Observation, TcpInfo};

/// An ICMP error ends a dial at the instant it comes; what ends it later was something else.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A socket that is no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// Its own address.
    pub(super) local: SocketAddr,
    /// Its peer's, as the program knew it: before DNAT.
    pub(super) remote: SocketAddr,
    /// Its last TCP_INFO.
    pub(super) info: TcpInfo,
}

/// A program's connections.
#[derive(Debug)]
pub(super) struct Tracker {
    client: String,
    /// Its own addresses.
    addresses: Vec<IpAddr>,
    /// SYNs the kernel sends again before it gives a dial up.
    syn_limit: u8,
    open: Vec<Tracked>,
    last_id: u32,
    over: bool,
}

#[derive(Debug)]
struct Tracked {
    id: u32,
    local: SocketAddr,
    remote: SocketAddr,
    /// Sequence number of its SYN.
    seq: u32,
    /// The SYN was answered.
    established: bool,
    /// The peer's FIN came.
    peer_closed: bool,
    /// The peer's RST came.
    reset: bool,
    /// A RST went out.
    resets: Option<Duration>,
    /// The last ICMP error that came while it was being opened.
    unreachable: Option<Duration>,
    /// Since when its data is sent again.
    busy: Option<Duration>,
}

/// What was observed, and when.
type Observed = Vec<(Duration, Observation)>;

impl Tracker {
    pub(super) fn new(client: &str, addresses: Vec<IpAddr>, syn_limit: u8) -> Self {
        Self {
            client: client.to_owned(),
            addresses,
            syn_limit,
            open: Vec::new(),
            last_id: 0,
            over: false,
        }
    }

    /// A packet was seen at `stamp`.
    pub(super) fn see(&mut self, packet: &Packet, stamp: Duration) -> Observed {
        match packet {
            _ if self.over => Vec::new(),
            Packet::Tcp(segment) if self.is_own(segment.from.ip()) => self.sent(segment, stamp),
            Packet::Tcp(segment) => {
                self.received(segment);
                Vec::new()
            }
            Packet::Icmp { kind, to, .. } => {
                // Destination unreachable: type 3 of ICMP, type 1 of ICMPv6.
                if self.is_own(*to) && kind.0 == if to.is_ipv4() { 3 } else { 1 } {
                    for dial in self.open.iter_mut().filter(|c| !c.established) {
                        dial.unreachable = Some(stamp);
                    }
                }
                Vec::new()
            }
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    fn position(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        self.open
            .iter()
            .position(|c| c.local == local && c.remote == remote)
    }

    fn sent(&mut self, segment: &TcpSegment, stamp: Duration) -> Observed {
        let known = self.position(segment.from, segment.to);
        if segment.has(SYN) && !segment.has(ACK) {
            return self.dialled(segment, known, stamp);
        }
        let Some(index) = known else {
            return Vec::new();
        };
        if segment.has(RST) {
            // The kernel sends one when keepalive ends, too: how the socket dies tells.
            self.open[index].resets.get_or_insert(stamp);
            return Vec::new();
        }
        if segment.has(FIN) {
            let tracked = self.open.remove(index);
            let (by, text) = match tracked.peer_closed {
                true => (EndedBy::Peer, "closed by the server"),
                false => (EndedBy::Client, "closed by the program (FIN)"),
            };
            return vec![(stamp, self.end(&tracked, by, None, None, text))];
        }
        Vec::new()
    }

    fn dialled(&mut self, syn: &TcpSegment, known: Option<usize>, stamp: Duration) -> Observed {
        let mut observed = Vec::new();
        if let Some(index) = known {
            if self.open[index].seq == syn.seq {
                return observed;
            }
            let old = self.open.remove(index);
            let text = "its ports were used again";
            observed.push((stamp, self.end(&old, EndedBy::Kernel, None, None, text)));
        }
        self.last_id += 1;
        self.open.push(Tracked {
            id: self.last_id,
            local: syn.from,
            remote: syn.to,
            seq: syn.seq,
            established: false,
            peer_closed: false,
            reset: false,
            resets: None,
            unreachable: None,
            busy: None,
        });
        observed.push((
            stamp,
            Observation::DialStarted {
                client: self.client.clone(),
                connection: self.last_id,
                target: syn.to,
                local: Some(syn.from),
            },
        ));
        observed
    }

    fn received(&mut self, segment: &TcpSegment) {
        let Some(index) = self.position(segment.to, segment.from) else {
            return;
        };
        let tracked = &mut self.open[index];
        tracked.established |= segment.has(SYN) && segment.has(ACK);
        tracked.peer_closed |= segment.has(FIN);
        tracked.reset |= segment.has(RST);
    }

    /// A server has accepted a connection and, with TLS, shaken hands.
    pub(super) fn accepted(
        &mut self,
        peer: SocketAddr,
        protocol: Protocol,
        now: Duration,
    ) -> Observed {
        let found = self
            .open
            .iter()
            .find(|c| c.local == canonical(peer))
            .filter(|_| !self.over);
        let opened = found.map(|tracked| Observation::ConnectionOpened {
            client: self.client.clone(),
            connection: tracked.id,
            local: tracked.local,
            target: tracked.remote,
            protocol,
        });
        opened.into_iter().map(|opened| (now, opened)).collect()
    }

    /// Data from `local` was sent again at `at`. Whether that is news.
    pub(super) fn sent_again(&mut self, local: SocketAddr, at: Duration) -> bool {
        let found = self
            .open
            .iter_mut()
            .find(|c| c.local == local && c.busy.is_none());
        found.map(|tracked| tracked.busy = Some(at)).is_some()
    }

    /// Since when data of some connection is sent again: of several the last to begin.
    pub(super) fn busy_since(&self) -> Option<Duration> {
        self.open.iter().filter_map(|c| c.busy).max()
    }

    /// The sockets with these addresses of their own are closed by the program, whatever the wire shows.
    pub(super) fn closing(&mut self, locals: &[SocketAddr], now: Duration) -> Observed {
        let (closing, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|c| locals.contains(&c.local));
        self.open = open;
        let ends = Vec::into_iter(closing).map(|tracked: Tracked| match tracked.peer_closed {
            true => (
                now,
                self.end(&tracked, EndedBy::Peer, None, None, "closed by the server"),
            ),
            false => {
                let text =
                    "closed by the program (its FIN waits behind data that nobody acknowledges)";
                (now, self.end(&tracked, EndedBy::Client, None, None, text))
            }
        });
        ends.collect()
    }

    /// A socket is no more.
    pub(super) fn died(&mut self, death: &Death, now: Duration) -> Observed {
        let (local, remote) = (canonical(death.local), canonical(death.remote));
        let known = self.position(local, remote);
        // On a node itself packets are seen after DNAT, while the socket speaks of the address before it.
        let known = known.or_else(|| self.open.iter().position(|c| c.local == local));
        let Some(index) = known.filter(|_| !self.over) else {
            return Vec::new();
        };
        let mut tracked = self.open.remove(index);
        tracked.established |= death.info.rtt_us > 0;
        let observation = match tracked.established {
            true => self.closed(&tracked, death.info),
            false => self.dial_failed(&tracked, death.info, now),
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

    fn dial_failed(&self, tracked: &Tracked, info: TcpInfo, now: Duration) -> Observation {
        let refused = tracked
            .unreachable
            .is_some_and(|at| now.saturating_sub(at) <= AT_ONCE);
        let (by, errno, text) = if tracked.reset {
            (
                EndedBy::Kernel,
                Some(libc::ECONNREFUSED),
                "refused (RST in answer to the SYN)",
            )
        } else if refused {
            (
                EndedBy::Kernel,
                Some(libc::EHOSTUNREACH),
                "unreachable (ICMP)",
            )
        } else if info.retransmits >= self.syn_limit {
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

    fn end(
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

    /// The case is over: what is open then ends with it, and nothing counts any more.
    pub(super) fn finish(&mut self, now: Duration) -> Observed {
        self.over = true;
        let open = std::mem::take(&mut self.open);
        let ends = open.iter().map(|c| {
            (
                now,
                self.end(c, EndedBy::CaseEnd, None, None, "the case is over"),
            )
        });
        ends.collect()
    }

    /// The program's node has lost its power: nothing counts any more.
    pub(super) fn stop(&mut self) {
        self.over = true;
    }

    /// The connections it has, established or being opened: number and own address.
    pub(super) fn open(&self) -> Vec<(u32, SocketAddr)> {
        self.open.iter().map(|c| (c.id, c.local)).collect()
    }
}

/// An IPv6 socket shows an IPv4 peer in an IPv6 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "10.1.0.2:40000";
    const REMOTE: &str = "192.168.255.220:443";

    struct Story {
        tracker: Tracker,
        clock: u64,
    }

    impl Story {
        fn new() -> Self {
            let addresses = vec!["10.1.0.2".parse().expect("an address")];
            Self {
                tracker: Tracker::new("client", addresses, 10),
                clock: 0,
            }
        }

        fn established() -> Self {
            let mut story = Self::new();
            story.send(SYN, 1);
            story.receive(SYN | ACK);
            story
        }

        fn segment(&mut self, outward: bool, flags: u8, seq: u32) -> Observed {
            let (local, remote) = (address(LOCAL), address(REMOTE));
            let (from, to) = if outward {
                (local, remote)
            } else {
                (remote, local)
            };
            self.clock += 1;
            let packet = Packet::Tcp(TcpSegment {
                from,
                to,
                flags,
                seq,
                ack: 0,
                len: 0,
            });
            self.tracker.see(&packet, Duration::from_secs(self.clock))
        }

        fn send(&mut self, flags: u8, seq: u32) -> Observed {
            self.segment(true, flags, seq)
        }

        fn receive(&mut self, flags: u8) -> Observed {
            self.segment(false, flags, 7)
        }

        fn die(&mut self, info: TcpInfo) -> Observed {
            self.clock += 1;
            // As an IPv6 socket would show it.
            let mapped = "[::ffff:10.1.0.2]:40000";
            let death = Death {
                local: address(mapped),
                remote: address(REMOTE),
                info,
            };
            self.tracker.died(&death, Duration::from_secs(self.clock))
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// Second, kind, who ended it, errno.
    fn end(observed: Observed) -> (u64, &'static str, EndedBy, Option<i32>) {
        let [(at, what)] = &observed[..] else {
            panic!("{observed:?}")
        };
        match what {
            Observation::ConnectionClosed { end, .. } => {
                (at.as_secs(), "closed", end.by, end.errno)
            }
            Observation::DialFailed { error, .. } => {
                (at.as_secs(), "failed", error.by, error.errno)
            }
            other => panic!("{other:?}"),
        }
    }

    fn measured() -> TcpInfo {
        TcpInfo {
            state: 7,
            rtt_us: 40,
            ..TcpInfo::default()
        }
    }

    #[test]
    fn a_syn_is_a_dial_and_the_same_syn_again_is_not() {
        let mut story = Story::new();
        assert!(matches!(
            story.send(SYN, 1)[..],
            [(_, Observation::DialStarted { connection: 1, .. })]
        ));
        assert_eq!(story.send(SYN, 1), []);
        assert_eq!(story.send(SYN, 2).len(), 2);
    }

    #[test]
    fn a_fin_of_the_programs_closes_and_what_the_orphan_does_then_is_nothing() {
        let mut story = Story::established();
        assert_eq!(
            end(story.send(FIN | ACK, 2)),
            (3, "closed", EndedBy::Client, None)
        );
        assert_eq!(
            story.die(TcpInfo {
                retransmits: 8,
                ..measured()
            }),
            []
        );
    }

    #[test]
    fn a_fin_after_the_servers_is_the_servers_doing() {
        let mut story = Story::established();
        assert_eq!(story.receive(FIN | ACK), []);
        assert_eq!(
            end(story.send(FIN | ACK, 2)),
            (4, "closed", EndedBy::Peer, None)
        );
    }

    #[test]
    fn a_death_without_a_word_on_the_wire_is_the_kernels() {
        let mut story = Story::established();
        let info = TcpInfo {
            retransmits: 15,
            unacked: 1,
            ..measured()
        };
        assert_eq!(end(story.die(info)), (3, "closed", EndedBy::Kernel, None));
    }

    #[test]
    fn a_rst_is_the_kernels_where_probes_went_unanswered_and_else_the_programs() {
        let mut story = Story::established();
        story.send(RST | ACK, 2);
        assert_eq!(
            end(story.die(TcpInfo {
                probes: 9,
                ..measured()
            })),
            (4, "closed", EndedBy::Kernel, None)
        );
        let mut story = Story::established();
        story.send(RST | ACK, 2);
        assert_eq!(
            end(story.die(measured())),
            (3, "closed", EndedBy::Client, None)
        );
    }

    #[test]
    fn a_rst_from_the_server_is_a_reset_or_a_refusal() {
        let mut story = Story::established();
        story.receive(RST);
        assert_eq!(
            end(story.die(measured())),
            (4, "closed", EndedBy::Kernel, Some(libc::ECONNRESET))
        );
        let mut story = Story::new();
        story.send(SYN, 1);
        story.receive(RST | ACK);
        assert_eq!(
            end(story.die(TcpInfo::default())),
            (3, "failed", EndedBy::Kernel, Some(libc::ECONNREFUSED))
        );
    }

    #[test]
    fn a_dial_is_given_up_by_the_kernel_after_all_its_syns_and_else_by_the_program() {
        for (retransmits, by) in [(3, EndedBy::Client), (10, EndedBy::Kernel)] {
            let mut story = Story::new();
            story.send(SYN, 1);
            assert_eq!(
                end(story.die(TcpInfo {
                    retransmits,
                    ..TcpInfo::default()
                })),
                (2, "failed", by, None)
            );
        }
    }

    #[test]
    fn a_program_that_closes_while_its_data_is_sent_again_is_found_by_its_sockets_state() {
        let mut story = Story::established();
        assert_eq!(story.tracker.busy_since(), None);
        assert!(
            story
                .tracker
                .sent_again(address(LOCAL), Duration::from_secs(5))
        );
        assert!(
            !story
                .tracker
                .sent_again(address(LOCAL), Duration::from_secs(6))
        );
        assert_eq!(story.tracker.busy_since(), Some(Duration::from_secs(5)));
        assert_eq!(story.tracker.closing(&[], Duration::from_secs(7)), []);
        let closed = story
            .tracker
            .closing(&[address(LOCAL)], Duration::from_secs(8));
        assert_eq!(end(closed), (8, "closed", EndedBy::Client, None));
        assert_eq!(story.tracker.busy_since(), None);
    }

    #[test]
    fn what_is_open_ends_with_the_case_and_nothing_after_it_counts() {
        let mut story = Story::established();
        assert_eq!(
            end(story.tracker.finish(Duration::from_secs(9))),
            (9, "closed", EndedBy::CaseEnd, None)
        );
        assert_eq!(story.send(SYN, 5), []);
        assert_eq!(story.die(measured()), []);
    }
}
