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
        Observation::ConnectionClosed { end, .. } => (at.as_secs(), "closed", end.by, end.errno),
        Observation::DialFailed { error, .. } => (at.as_secs(), "failed", error.by, error.errno),
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
