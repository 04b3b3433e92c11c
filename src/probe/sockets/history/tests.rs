use proptest::prelude::*;

use super::*;
use crate::probe::sockets::diag::Progress;
use crate::record::{SocketTimer, TcpInfo};

fn ends() -> Ends {
    (
        "10.0.0.1:40000".parse().unwrap(),
        "10.96.0.1:443".parse().unwrap(),
    )
}

/// An established connection at rest.
fn idle() -> Shown {
    let (local, peer) = ends();
    Shown {
        local,
        peer,
        cookie: 1,
        state: TcpState::Established,
        timer: None,
        send_queue: 0,
        receive_queue: 0,
        info: Some(TcpInfo {
            state: 1,
            rto_us: 204_000,
            ..TcpInfo::default()
        }),
        progress: Progress::default(),
    }
}

fn timer(kind: TimerKind, left_ms: u32, count: u8) -> Option<SocketTimer> {
    Some(SocketTimer {
        kind,
        left_ms,
        count,
    })
}

/// The same, with data out and its timer running.
fn waiting() -> Shown {
    Shown {
        timer: timer(TimerKind::Retransmission, 204, 0),
        send_queue: 100,
        ..idle()
    }
}

/// The same, after so many retransmissions.
fn sent_again(count: u8) -> Shown {
    Shown {
        timer: timer(TimerKind::Retransmission, 204 << count, count),
        ..waiting()
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// When, why, state, send queue, count.
fn told(observed: Observed) -> Vec<(Duration, SocketChange, TcpState, u32, u8)> {
    let socket = |(at, what)| match what {
        Observation::Socket(s) => {
            let count = s.timer.map_or(0, |timer| timer.count);
            (at, s.change, s.state, s.send_queue, count)
        }
        other => panic!("{other:?}"),
    };
    observed.into_iter().map(socket).collect()
}

use SocketChange::{Born, Changed, Ended};
use TcpState::{Close, Established, SynReceived, SynSent, TimeWait};

#[test]
fn a_healthy_exchange_is_no_news() {
    let mut history = History::new("client");
    let born = told(history.saw(idle(), ms(1)));
    assert_eq!(born, [(ms(1), Born, Established, 0, 0)]);
    for exchange in 1..5 {
        assert_eq!(history.saw(waiting(), ms(exchange * 1000)), []);
        assert!(!history.is_settled(&ends()));
        assert_eq!(history.saw(waiting(), ms(exchange * 1000 + 1)), []);
        assert_eq!(history.saw(idle(), ms(exchange * 1000 + 40)), []);
        assert!(history.is_settled(&ends()));
    }
}

#[test]
fn what_was_held_back_is_written_with_its_own_time_when_something_is_sent_again() {
    let mut history = History::new("client");
    history.saw(idle(), ms(1));
    assert_eq!(history.saw(waiting(), ms(1000)), []);
    assert_eq!(
        told(history.saw(sent_again(1), ms(1204))),
        [
            (ms(1000), Changed, Established, 100, 0),
            (ms(1204), Changed, Established, 100, 1)
        ]
    );
    assert_eq!(
        told(history.saw(sent_again(2), ms(1612))),
        [(ms(1612), Changed, Established, 100, 2)]
    );
    assert_eq!(history.saw(sent_again(2), ms(1700)), []);
    assert_eq!(
        told(history.saw(idle(), ms(1800))),
        [(ms(1800), Changed, Established, 0, 0)]
    );
}

#[test]
fn data_that_lasts_for_a_retransmission_timeout_is_news_and_so_is_all_when_everything_counts() {
    let mut history = History::new("server");
    history.saw(idle(), ms(1));
    let unread = Shown {
        receive_queue: 10,
        progress: Progress {
            received: 10,
            ..Progress::default()
        },
        ..idle()
    };
    assert_eq!(history.saw(unread.clone(), ms(1000)), []);
    assert_eq!(history.saw(unread.clone(), ms(1203)), []);
    assert_eq!(
        told(history.saw(unread, ms(1204))),
        [(ms(1000), Changed, Established, 0, 0)]
    );
    let mut history = History::new("server");
    history.saw(idle(), ms(1));
    history.saw(waiting(), ms(1000));
    assert_eq!(
        told(history.flush()),
        [(ms(1000), Changed, Established, 100, 0)]
    );
    assert_eq!(history.flush(), []);
    assert_eq!(history.saw(waiting(), ms(1100)), []);
}

#[test]
fn one_exchange_after_the_other_is_none_that_lasts() {
    let mut history = History::new("client");
    history.saw(idle(), ms(1));
    for exchange in 1..5 {
        let progress = Progress {
            acknowledged: exchange,
            ..Progress::default()
        };
        let next = Shown {
            progress,
            ..waiting()
        };
        assert_eq!(history.saw(next.clone(), ms(exchange * 1000)), []);
        // Its response, before it is read.
        let unread = Shown {
            timer: None,
            send_queue: 0,
            receive_queue: 10,
            ..next
        };
        assert_eq!(history.saw(unread, ms(exchange * 1000 + 500)), []);
    }
}

/// At rest, after so many keepalive probes.
fn probed(count: u8) -> Shown {
    let mut info = idle().info.unwrap();
    info.probes = count;
    Shown {
        timer: timer(TimerKind::Keepalive, 2000, count),
        info: Some(info),
        ..idle()
    }
}

#[test]
fn a_keepalive_probe_that_is_answered_is_no_news_and_others_have_their_own_times() {
    let mut history = History::new("client");
    history.saw(probed(0), ms(1));
    for second in 1..4 {
        assert_eq!(history.saw(probed(1), ms(second * 1000)), []);
        assert!(!history.is_settled(&ends()));
        assert_eq!(history.saw(probed(0), ms(second * 1000 + 1)), []);
        assert!(history.is_settled(&ends()));
    }
    assert_eq!(history.saw(probed(1), ms(5000)), []);
    assert_eq!(
        told(history.saw(probed(2), ms(7000))),
        [
            (ms(5000), Changed, Established, 0, 1),
            (ms(7000), Changed, Established, 0, 2)
        ]
    );
    let told = told(history.saw(probed(0), ms(8000)));
    assert_eq!(told, [(ms(8000), Changed, Established, 0, 0)]);
}

#[test]
fn a_zero_window_probe_is_news_at_once() {
    let mut history = History::new("client");
    history.saw(idle(), ms(1));
    let probing = Shown {
        timer: timer(TimerKind::ZeroWindowProbe, 200, 0),
        ..waiting()
    };
    let told = told(history.saw(probing, ms(1000)));
    assert_eq!(told, [(ms(1000), Changed, Established, 100, 0)]);
}

#[test]
fn a_socket_that_was_gone_before_anybody_looked_has_its_birth_from_its_syn() {
    let mut history = History::new("client");
    history.expect(ends(), SynSent, ms(5));
    assert_eq!(history.missed(&ends(), ms(6)), []);
    let closed = Shown {
        state: Close,
        ..idle()
    };
    assert_eq!(
        told(history.died(closed, None, ms(7))),
        [(ms(5), Born, SynSent, 0, 0), (ms(7), Ended, Close, 0, 0)]
    );
    assert!(history.all().is_empty());
}

#[test]
fn a_connection_that_was_never_established_ends_for_its_server_when_it_is_missed() {
    let mut history = History::new("server");
    history.expect(ends(), SynReceived, ms(1));
    let request = Shown {
        state: SynReceived,
        info: None,
        cookie: 9,
        ..idle()
    };
    assert_eq!(
        told(history.saw(request.clone(), ms(2))),
        [(ms(2), Born, SynReceived, 0, 0)]
    );
    assert_eq!(
        told(history.missed(&ends(), ms(3))),
        [(ms(3), Ended, SynReceived, 0, 0)]
    );
    history.saw(request, ms(4));
    assert_eq!(
        told(history.saw(idle(), ms(5))),
        [(ms(5), Changed, Established, 0, 0)]
    );
}

#[test]
fn a_syn_that_never_arrived_is_forgotten() {
    let mut history = History::new("server");
    history.expect(ends(), SynReceived, ms(0));
    history.missed(&ends(), ms(1000));
    assert_eq!(history.all(), [ends()]);
    history.missed(&ends(), ms(1001));
    assert!(history.all().is_empty());
}

#[test]
fn a_socket_the_kernel_has_given_up_is_closed_until_its_program_closes_it() {
    let mut history = History::new("client");
    history.saw(sent_again(15), ms(1));
    assert_eq!(
        told(history.missed(&ends(), ms(2))),
        [(ms(2), Changed, Close, 100, 0)]
    );
    assert_eq!(history.missed(&ends(), ms(3)), []);
}

#[test]
fn what_the_kernel_remembers_of_a_connection_is_its_end_and_no_socket() {
    let mut history = History::new("client");
    history.saw(idle(), ms(1));
    let memory = Shown {
        state: TimeWait,
        timer: timer(TimerKind::TimeWait, 59_998, 0),
        cookie: 2,
        info: None,
        ..idle()
    };
    assert_eq!(history.saw(memory.clone(), ms(2)), []);
    let closed = Shown {
        state: Close,
        ..idle()
    };
    let observed = history.died(closed, Some(memory), ms(3));
    let Observation::Socket(last) = &observed[0].1 else {
        panic!("{observed:?}");
    };
    assert_eq!((last.change, last.state), (Ended, TimeWait));
    assert_eq!(last.timer.map(|timer| timer.left_ms), Some(59_998));
    assert!(last.info.is_some());
}

#[test]
fn ports_used_again_are_another_socket() {
    let mut history = History::new("client");
    history.saw(idle(), ms(1));
    let other = Shown {
        cookie: 2,
        ..idle()
    };
    assert_eq!(
        told(history.saw(other, ms(2))),
        [(ms(2), Born, Established, 0, 0)]
    );
    // That of the one before comes late, and ends that one only.
    let told = told(history.died(idle(), None, ms(3)));
    assert_eq!(told, [(ms(3), Ended, Established, 0, 0)]);
    assert_eq!(history.all(), [ends()]);
}

proptest! {
    /// However looks fall, no two events in a row say the same, and the last one says how it is.
    #[test]
    fn every_event_is_a_change(looks in proptest::collection::vec((0_u8..6, 1_u64..400), 1..60)) {
        let mut history = History::new("client");
        let (mut now, mut events, mut last) = (0, Vec::new(), idle());
        for (which, pause) in looks {
            now += pause;
            last = match which {
                0 | 1 => idle(),
                2 | 3 => waiting(),
                count => sent_again(count),
            };
            events.extend(told(history.saw(last.clone(), ms(now))));
        }
        events.extend(told(history.flush()));
        for pair in events.windows(2) {
            prop_assert_ne!((pair[0].3, pair[0].4), (pair[1].3, pair[1].4));
        }
        let (queue, count) = (last.send_queue, last.timer.map_or(0, |timer| timer.count));
        prop_assert_eq!(events.last().map(|e| (e.3, e.4)), Some((queue, count)));
    }
}
