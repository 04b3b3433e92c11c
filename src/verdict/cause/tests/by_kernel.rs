//! The kernel's own ends: timers, resets, and what it was told.

use super::super::super::evidence::Icmp;
use super::super::super::index::Unreachable;
use super::*;
use crate::plan::Keepalive;

/// What the kernel says of a segment that it sent four times more.
fn four_more() -> ConnectionEnd {
    let info = TcpInfo {
        retransmits: 4,
        unacked: 1,
        ..socket(STATE_CLOSE)
    };
    end(EndedBy::Kernel, Some(libc::ETIMEDOUT), Some(info))
}

fn retransmitted(end: &ConnectionEnd) -> Evidence<'_> {
    Evidence {
        wire: Wire {
            sendings: times_of([95.2, 95.4, 95.8, 96.6, 98.2]),
            length: 100,
            ..Wire::default()
        },
        ..evidence(end)
    }
}

#[test]
fn retransmissions_end_a_connection_whose_packets_say_so_too() {
    let end = four_more();
    let fits = retransmitted(&end);
    let Diagnosis { cause, evidence } = of(Some(fits.clone()));
    assert_eq!(cause, Cause::RetransmissionTimeout);
    assert_eq!(
        evidence,
        "ETIMEDOUT after 4 retransmissions and 0 unanswered probes, 5.0 s after the last acknowledgement; on the wire one \
         segment was sent again 4 times in 3.0 s"
    );
    let with = |sendings| Evidence {
        wire: Wire {
            sendings,
            ..Wire::default()
        },
        ..fits.clone()
    };
    doubted(&with(Vec::new()), "nothing was seen to be sent twice");
    doubted(
        &with(times_of([95.2, 95.4, 98.2])),
        "it was sent again 2 times",
    );
    doubted(
        &with(times_of([95.2, 95.4, 95.8, 96.6, 97.0])),
        "its last sending was",
    );
    doubted(
        &with(times_of([97.1, 97.4, 97.8, 98.0, 98.2])),
        "its limit is 3 s",
    );
    // Of a server that sends an old response again, once its path is well, something is heard.
    let mut talked = four_more();
    if let Some(info) = talked.tcp_info.as_mut() {
        info.last_ack_recv_ms = 1_000;
    }
    let mut heard = retransmitted(&talked);
    doubted(&heard, "it would go on for");
    heard.healed = true;
    assert_eq!(of(Some(heard)).cause, Cause::RetransmissionTimeout);
    // A dial that waits for TLS has a round trip already.
    let of_tls = Evidence {
        dial: true,
        tls: true,
        opened: None,
        ..fits.clone()
    };
    assert_eq!(told(&of_tls), Ok(Cause::RetransmissionTimeout));
}

/// The kernel counts its limit from the first retransmission, and a tail loss probe is none.
#[test]
fn a_tail_loss_probe_comes_before_the_time_that_counts() {
    let of = |retransmits| {
        let mut end = four_more();
        let info = end.tcp_info.as_mut().expect("its TCP_INFO");
        (info.retransmits, info.last_data_sent_ms) = (retransmits, 1_400);
        let sendings = times_of([94.9, 95.0, 95.4, 96.2, 97.0, 98.6]);
        let wire = Wire {
            sendings,
            ..Wire::default()
        };
        told(&Evidence {
            wire,
            ..evidence(&end)
        })
    };
    // 3.2 s from the third sending on, 3.6 s from the second: more than a kernel makes of 3 s.
    assert_eq!(of(4), Ok(Cause::RetransmissionTimeout));
    assert!(of(5).is_err_and(|why| why.contains("its limit is 3 s")));
}

#[test]
fn keepalive_that_had_run_out_before_leaves_the_cause_open() {
    let mut end = four_more();
    end.tcp_info.as_mut().expect("its TCP_INFO").probes = 3;
    let last_probe_at = |at| {
        let mut of = retransmitted(&end);
        of.keepalive = Some(Keepalive {
            idle: s(5.0),
            interval: s(5.0),
            count: 3,
        });
        of.wire.probes = times_of([at - 10.0, at - 5.0, at]);
        told(&of)
    };
    // Data went out before the interval after the last probe was over.
    assert_eq!(last_probe_at(93.0), Ok(Cause::RetransmissionTimeout));
    assert!(last_probe_at(90.0).is_err_and(|why| why.contains("keepalive had run out")));
}

/// A neighbour that does not resolve is what the kernel names in the end, if the data had been under way for long enough.
#[test]
fn a_ping_that_the_last_acknowledgement_may_have_been_for_was_not_under_way() {
    let mut end = four_more();
    end.tcp_info
        .as_mut()
        .expect("its TCP_INFO")
        .last_ack_recv_ms = 3_400;
    let pinged_at = |at| {
        told(&Evidence {
            unresolved: true,
            dead_neighbour: true,
            ping_sent: Some(s(at)),
            ..evidence(&end)
        })
    };
    assert_eq!(pinged_at(96.59), Ok(Cause::RetransmissionTimeout));
    assert!(pinged_at(96.595).is_err_and(|why| why.contains("does not resolve")));
}

#[test]
fn only_a_programs_error_is_told_without_its_number() {
    let end = ConnectionEnd {
        errno: None,
        ..four_more()
    };
    let ours = retransmitted(&end);
    assert_eq!(told(&ours), Err(String::from("it ended")));
    let programs = Evidence {
        program: true,
        ..ours
    };
    assert_eq!(told(&programs), Ok(Cause::RetransmissionTimeout));
    // It remembers an ICMP error that came since the last acknowledgement.
    let icmp = |at| Evidence {
        icmp: Some(Icmp {
            count: 2,
            last: Unreachable {
                at: Moment::new(s(at), 0),
                kind: (3, 1),
                from: "10.0.0.1".parse().expect("an address"),
            },
        }),
        ..programs.clone()
    };
    assert_eq!(told(&icmp(96.0)), Ok(Cause::Unreachable));
    let text = of(Some(icmp(96.0))).evidence;
    assert!(
        text.contains("10.0.0.1 sent 2 ICMP errors about it (type 3, code 1)"),
        "{text}"
    );
    assert_eq!(told(&icmp(95.0)), Ok(Cause::RetransmissionTimeout));
}

/// Three probes, 5 s apart, the last one 5 s before the end.
fn probed(end: &ConnectionEnd) -> Evidence<'_> {
    Evidence {
        keepalive: Some(Keepalive {
            idle: s(5.0),
            interval: s(5.0),
            count: 3,
        }),
        wire: Wire {
            probes: times_of([85.0, 90.0, 95.0]),
            ..Wire::default()
        },
        ..evidence(end)
    }
}

fn three_probes() -> ConnectionEnd {
    let info = TcpInfo {
        probes: 3,
        last_data_recv_ms: 20_000,
        last_ack_recv_ms: 20_000,
        ..socket(STATE_CLOSE)
    };
    end(EndedBy::Kernel, Some(libc::ETIMEDOUT), Some(info))
}

#[test]
fn keepalive_ends_a_connection_on_which_nothing_was_under_way() {
    let end = three_probes();
    let fits = probed(&end);
    assert_eq!(told(&fits), Ok(Cause::Keepalive));
    let with = |change: fn(&mut TcpInfo)| {
        let mut end = three_probes();
        change(end.tcp_info.as_mut().expect("its TCP_INFO"));
        told(&probed(&end)).expect_err("it can't be told")
    };
    let neither = "neither retransmissions nor probes had run out";
    assert!(with(|info| info.unacked = 1).contains(neither));
    assert!(with(|info| info.probes = 0).contains(neither));
    assert!(with(|info| info.probes = 2).contains("it would probe 3 times"));
    assert!(with(|info| info.last_ack_recv_ms = 19_000).contains("it would wait for 20 s"));
    assert!(with(|info| info.state = 1).contains("its socket lives on"));
}

/// An interval of 5 s: the timer wheel makes up to a seventh more of it.
#[test]
fn the_last_probe_was_an_interval_before_the_end() {
    let last = |seconds, user_timeout: Option<f64>| {
        let end = three_probes();
        let mut of = probed(&end);
        of.wire.probes = times_of([seconds - 10.0, seconds - 5.0, seconds]);
        of.user_timeout = user_timeout.map(s);
        told(&of)
    };
    for before in [5.1, 5.0, 4.9, 5.7] {
        assert_eq!(last(100.0 - before, None), Ok(Cause::Keepalive), "{before}");
    }
    for before in [3.0, 7.0] {
        let told = last(100.0 - before, None);
        let why = format!("its last probe was {before:.1} s before, and its interval is 5 s");
        assert!(told.is_err_and(|doubt| doubt.contains(&why)), "{before}");
    }
    // TCP_USER_TIMEOUT cuts it short, and makes it no longer.
    assert_eq!(last(97.0, Some(20.0)), Ok(Cause::UserTimeout));
    assert!(last(93.0, Some(20.0)).is_err());
}

/// A peer whose window is closed, and a limit of 10 s: some kernels cut the last wait short, others wait for twice as long.
#[test]
fn a_closed_window_is_probed_until_the_user_timeout() {
    let first_probe = |at: f64| {
        let info = TcpInfo {
            last_data_sent_ms: 60_000,
            ..socket(STATE_CLOSE)
        };
        let end = end(EndedBy::Kernel, Some(libc::ETIMEDOUT), Some(info));
        let mut of = evidence(&end);
        of.user_timeout = Some(s(10.0));
        of.socket.window_closed = Some(s(50.0));
        of.wire.all_probes = times_of([at, at + 1.0, at + 3.0]);
        told(&of)
    };
    for waited in [10.0, 13.0, 20.1] {
        assert_eq!(
            first_probe(100.0 - waited),
            Ok(Cause::UserTimeout),
            "{waited}"
        );
    }
    for waited in [9.9, 20.2] {
        let why = "and it would probe 3 times and its TCP_USER_TIMEOUT is 10 s";
        let told = first_probe(100.0 - waited);
        assert!(told.is_err_and(|doubt| doubt.contains(why)), "{waited}");
    }
}

#[test]
fn a_reset_a_refusal_and_a_destroyed_socket_have_their_witnesses() {
    let kernel = |errno, state| end(EndedBy::Kernel, Some(errno), Some(socket(state)));
    let reset = kernel(libc::ECONNRESET, STATE_CLOSE);
    let mut of_reset = evidence(&reset);
    doubted(&of_reset, "no RST to it was seen on the wire");
    of_reset.wire.reset = true;
    assert_eq!(told(&of_reset), Ok(Cause::Reset));
    let dial = Evidence {
        dial: true,
        ..of_reset
    };
    doubted(&dial, "it was never open");
    for (state, cause) in [(STATE_CLOSE, Some(Cause::SocketDestroyed)), (1, None)] {
        let end = kernel(libc::ECONNABORTED, state);
        let of = evidence(&end);
        doubted(&of, "nobody destroyed its socket");
        let told = told(&Evidence {
            destroyed: true,
            ..of
        });
        assert_eq!(told.ok(), cause, "in state {state}");
    }
}
