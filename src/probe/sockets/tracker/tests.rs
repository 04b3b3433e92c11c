use super::*;
use crate::probe::sockets::diag::Progress;
use crate::record::{SocketTimer, TimerKind};

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
            payload: Vec::new(),
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
        self.die_as(1, mapped, REMOTE, info)
    }

    fn die_as(&mut self, cookie: u64, local: &str, remote: &str, info: TcpInfo) -> Observed {
        let death = Death {
            cookie,
            local: address(local),
            remote: address(remote),
            info,
        };
        self.tracker.died(&death, Duration::from_secs(self.clock))
    }

    /// Its socket is looked at, and is in this state, with so much of its data unacknowledged.
    fn look(&mut self, state: TcpState, send_queue: u32, timer: Option<u32>) -> Observed {
        self.clock += 1;
        let shown = Shown {
            local: address(LOCAL),
            peer: address(REMOTE),
            cookie: 77,
            state,
            timer: timer.map(|left_ms| SocketTimer {
                kind: TimerKind::Retransmission,
                left_ms,
                count: 0,
            }),
            send_queue,
            receive_queue: 0,
            info: None,
            progress: Progress::default(),
        };
        self.tracker
            .looked(1, &shown, Duration::from_secs(self.clock))
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
    assert_eq!(story.look(TcpState::Established, 0, None), []);
    assert_eq!(story.tracker.next_look(), None);
    let (since, at) = (Duration::from_millis(3_800), Duration::from_secs(4));
    assert_eq!(
        story.tracker.sent_again(address(LOCAL), Some(since), at),
        Some(1)
    );
    assert_eq!(story.tracker.next_look(), Some(at));
    assert_eq!(story.look(TcpState::Established, 9, Some(400)), []);
    let next = story.tracker.next_look().expect("it is followed");
    assert!((4_000..4_420).contains(&next.as_millis()), "{next:?}");
    let closed = story.look(TcpState::FinWait1, 10, Some(800));
    let [(_, Observation::ConnectionClosed { end: how, .. })] = &closed[..] else {
        panic!("{closed:?}")
    };
    // Its end lies between two looks.
    assert_eq!(how.not_before, Some(Duration::from_secs(4)));
    assert_eq!(end(closed), (5, "closed", EndedBy::Client, None));
    assert_eq!(story.tracker.next_look(), None);
}

#[test]
fn a_socket_whose_addresses_were_cleared_is_known_by_its_number() {
    // SO_LINGER with no time: a RST, and a socket that has forgotten whose it was.
    let mut story = Story::established();
    story.look(TcpState::Established, 0, None);
    story.send(RST | ACK, 2);
    let died = story.die_as(77, "0.0.0.0:40000", "0.0.0.0:0", TcpInfo::default());
    assert_eq!(end(died), (4, "closed", EndedBy::Client, None));
    // shutdown() of a socket that dials, seen or not.
    for seen in [true, false] {
        let mut story = Story::new();
        story.send(SYN, 1);
        if seen {
            story.look(TcpState::SynSent, 0, Some(1000));
        }
        let died = story.die_as(77, "0.0.0.0:40000", "192.168.255.220:0", TcpInfo::default());
        assert_eq!(end(died).1, "failed");
    }
    // Another one's.
    let mut story = Story::established();
    story.look(TcpState::Established, 0, None);
    assert_eq!(
        story.die_as(78, "0.0.0.0:40000", "0.0.0.0:0", TcpInfo::default()),
        []
    );
}

#[test]
fn what_the_kernel_gave_up_is_over_though_the_program_keeps_it() {
    let mut story = Story::established();
    story.look(TcpState::Established, 9, Some(400));
    let info = TcpInfo {
        retransmits: 4,
        unacked: 1,
        ..measured()
    };
    let vanished = story
        .tracker
        .vanished(1, Some(info), Duration::from_secs(9));
    assert_eq!(end(vanished), (9, "closed", EndedBy::Kernel, None));
    assert!(!story.tracker.has(1));
}

/// The kernel tells of a socket's end by a work item: on a busy machine the tables lack the socket before.
#[test]
fn a_missing_socket_has_its_end_from_the_kernel_where_that_tells_of_it_later() {
    let ms = Duration::from_millis;
    let missing = |resets: bool| {
        let mut story = Story::established();
        story.look(TcpState::Established, 9, Some(400));
        if resets {
            story.send(RST | ACK, 2);
        }
        assert_eq!(story.tracker.vanished(1, None, ms(9_000)), []);
        assert_eq!(story.tracker.next_look(), Some(ms(9_050)));
        story
    };
    // Told late: by whom it ended is known, and when it was missed stays its time.
    let mut story = missing(true);
    assert_eq!(story.tracker.vanished(1, None, ms(9_050)), []);
    story.clock = 9;
    let died = story.die_as(77, "0.0.0.0:40000", "0.0.0.0:0", TcpInfo::default());
    assert_eq!(end(died), (4, "closed", EndedBy::Client, None));
    let mut story = missing(false);
    story.clock = 9;
    let died = story.die_as(77, LOCAL, REMOTE, measured());
    assert_eq!(end(died), (9, "closed", EndedBy::Kernel, None));
    // Never told, and what the wire showed.
    for (resets, by) in [(true, EndedBy::Client), (false, EndedBy::Kernel)] {
        let mut story = missing(resets);
        let vanished = story.tracker.vanished(1, None, ms(10_000));
        assert_eq!(end(vanished), (9, "closed", by, None));
        let mut story = missing(resets);
        assert_eq!(
            end(story.tracker.finish(ms(9_500))),
            (9, "closed", by, None)
        );
    }
}

/// Told 0.9 s late of a dial that an ICMP error had ended, which it does at once.
#[test]
fn a_dial_that_icmp_ended_is_told_from_one_that_was_given_up_however_late_the_kernel_tells() {
    let mut story = Story::new();
    story.send(SYN, 1);
    let icmp = Packet::Icmp {
        kind: (3, 1),
        from: "10.1.0.1".parse().expect("an address"),
        to: address(LOCAL).ip(),
        about: Some((address(LOCAL), address(REMOTE))),
    };
    let at = Duration::from_millis(8_990);
    assert_eq!(story.tracker.see(&icmp, at), []);
    let missed = Duration::from_secs(9);
    assert_eq!(story.tracker.vanished(1, None, missed), []);
    let death = Death {
        cookie: 1,
        local: address(LOCAL),
        remote: address(REMOTE),
        info: TcpInfo::default(),
    };
    let died = story.tracker.died(&death, Duration::from_millis(9_900));
    let unreachable = (9, "failed", EndedBy::Kernel, Some(libc::EHOSTUNREACH));
    assert_eq!(end(died), unreachable);
}

#[test]
fn a_connect_that_fails_clears_what_its_socket_had_counted() {
    let mut story = Story::new();
    for _ in 0..11 {
        story.send(SYN, 1);
    }
    story.look(TcpState::SynSent, 0, Some(1_000));
    story.clock += 1;
    let died = story.die_as(77, "0.0.0.0:0", "0.0.0.0:0", TcpInfo::default());
    assert_eq!(end(died), (13, "failed", EndedBy::Kernel, None));
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

#[test]
fn a_socket_that_waits_is_looked_at_when_its_program_does_something_and_one_that_does_not_is_not() {
    let mut story = Story::established();
    story.look(TcpState::Established, 0, None);
    story.tracker.stirred(Duration::from_secs(50));
    assert_eq!(story.tracker.next_look(), None);

    story.look(TcpState::Established, 100, Some(400_000));
    let later = story.tracker.next_look().expect("it waits");
    let now = Duration::from_secs(story.clock) + Duration::from_millis(1);
    assert!(later > now);
    // What it wrote, or another connection that it opens.
    story.tracker.stirred(now);
    assert_eq!(story.tracker.next_look(), Some(now));

    story.look(TcpState::Established, 100, Some(400_000));
    story.clock += 1;
    let at = Duration::from_secs(story.clock);
    let packet = Packet::Tcp(TcpSegment {
        from: address("10.1.0.2:40001"),
        to: address(REMOTE),
        flags: SYN,
        seq: 9,
        ack: 0,
        len: 0,
        payload: Vec::new(),
    });
    story.tracker.see(&packet, at);
    let due = story.tracker.due(at);
    assert_eq!(due.len(), 2, "{due:?}");
}
