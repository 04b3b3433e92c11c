use super::*;
use crate::timeout_model::cycle::OVERHEAD;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn cycle(pause: u64, delay: u64, rtt: u64) -> Cycle {
    Cycle {
        pause: Window::exactly(ms(pause)),
        retry: Window::exactly(ms(pause)),
        attempts: 1,
        closes_on_failure: false,
        exchange: Some(ms(pause + delay + rtt) + OVERHEAD),
        service: Window::of(ms(delay + rtt), ms(delay + rtt) + OVERHEAD),
        requests: (1, 1),
        rtt: ms(rtt),
        delay: Window::exactly(ms(delay)),
        opening: None,
        tls: false,
    }
}

#[test]
fn the_time_of_the_next_request_is_known_early_on() {
    // Requests go out at 0, 5 and 10 s, a little later each.
    let rhythm = Rhythm::at(ms(12_000), Duration::ZERO, &cycle(5_000, 0, 0));
    let idle = rhythm.idle.expect("a pause");
    assert!(rhythm.busy.is_none());
    assert!(
        idle.next.min >= ms(3_000) && idle.next.max <= ms(3_300),
        "{idle:?}"
    );
    assert!(idle.rested.min >= ms(1_700) && idle.rested.max <= ms(2_000));
}

#[test]
fn the_error_grows_from_cycle_to_cycle_until_nothing_is_known() {
    let width = |at| {
        let idle = Rhythm::at(ms(at), Duration::ZERO, &cycle(1_000, 0, 0)).idle;
        let next = idle.expect("a pause").next;
        next.max - next.min
    };
    assert!(width(2_600) < width(12_600) && width(12_600) < ms(500));
    assert_eq!(width(300_600), ms(1_000));
}

#[test]
fn a_slow_server_may_be_met_at_work() {
    // Requests at 0, 4, 8 s, each answered a second later.
    let at = |at| Rhythm::at(ms(at), Duration::ZERO, &cycle(3_000, 1_000, 40));
    let asked = at(4_600);
    assert!(asked.idle.is_none() && asked.acknowledged && !asked.unacknowledged);
    let pause = at(6_500);
    assert!(pause.busy.is_none() && pause.idle.is_some());
}

/// The handshake took between one round trip and four, and 250 ms; each cycle 40 ms and 50 ms beside pause and delay.
#[test]
fn a_time_of_the_case_lies_in_a_pause_or_in_a_wait() {
    let cycle = cycle(3_000, 1_000, 40);
    let at = |at| Rhythm::at(ms(at), Duration::ZERO, &cycle);
    let within = |min, max| Window::of(ms(min), ms(max));
    // The second request went out between 4.08 s and 4.46 s, and the third goes out between 8.12 s and 8.51 s.
    let pause = at(6_500);
    let idle = pause.idle.expect("a pause");
    assert_eq!((idle.next, pause.busy), (within(1_620, 2_010), None));
    assert_eq!(idle.rested, within(990, 1_380));
    let asked = at(4_600);
    assert_eq!((asked.idle, asked.busy), (None, Some(within(140, 520))));
    // Answered 5.51 s after the beginning at the latest.
    assert_eq!((at(5_510).busy.is_some(), at(5_511).busy), (true, None));
    // The handshake and the server take 1.04 s at the least, and its response half a round trip.
    assert_eq!((at(1_010).idle, at(1_020).idle.is_some()), (None, true));
}

#[test]
fn a_response_that_was_on_its_way_still_comes() {
    let far = cycle(3_000, 1_000, 40);
    let sent = |until| Window::of(Duration::ZERO, ms(until));
    assert_eq!(far.answered(sent(1_019)), None);
    let idle = far.answered(sent(1_020)).expect("it still comes");
    assert_eq!(idle.next, Window::of(ms(3_000), ms(3_040)));
    // Where no way takes any time nothing is on it.
    assert_eq!(cycle(3_000, 1_000, 0).answered(sent(2_000)), None);
}

#[test]
fn a_request_is_unacknowledged_for_half_a_round_trip_and_a_delay() {
    let cycle = cycle(3_000, 1_000, 40);
    let busy = |min, max| {
        let rhythm = Rhythm::busy_within(None, Window::of(ms(min), ms(max)), &cycle);
        (rhythm.unacknowledged, rhythm.acknowledged)
    };
    assert_eq!(busy(0, 19), (true, false));
    assert_eq!(busy(70, 100), (true, true));
    assert_eq!(busy(71, 100), (false, true));
}

/// A SYN takes 20 ms to its server, and the answer as long.
#[test]
fn a_dial_is_answered_whose_syn_the_server_had() {
    let cycle = cycle(3_000, 0, 100);
    let dialled = |ago| Rhythm::seen(Phase::Connecting, Some(ms(ago)), &cycle);
    // By the record it may be 20 ms more or less.
    assert_eq!((dialled(29).connecting, dialled(29).opened), (true, None));
    let opened = dialled(30).opened.expect("an answer on its way");
    assert_eq!((opened.min, opened.max), (ms(0), ms(60)));
    assert!(dialled(69).connecting && !dialled(70).connecting);
    let tls = Cycle { tls: true, ..cycle };
    assert!(Rhythm::seen(Phase::Connecting, Some(ms(70)), &tls).connecting);
    // Who does not say when it dialled may have either.
    let unknown = Rhythm::seen(Phase::Connecting, None, &cycle);
    assert!(unknown.opened.is_some());
}

#[test]
fn what_was_seen_tells_a_lost_request_from_one_that_is_answered_still() {
    let cycle = cycle(3_000, 0, 200);
    let asked = |ago| Rhythm::seen(Phase::RequestUnacknowledged, Some(ms(ago)), &cycle);
    let lost = asked(70);
    assert_eq!(
        (lost.idle, lost.busy),
        (None, Some(Window::of(ms(50), ms(90))))
    );
    let (either, answered) = (asked(100), asked(140));
    assert!(either.idle.is_some() && either.busy.is_some());
    assert!(answered.idle.is_some() && answered.busy.is_none());
}

#[test]
fn an_acknowledgement_may_be_on_its_way() {
    let cycle = cycle(3_000, 1_000, 200);
    let asked = |ago| {
        let seen = Rhythm::seen(Phase::RequestUnacknowledged, Some(ms(ago)), &cycle);
        (seen.unacknowledged, seen.acknowledged)
    };
    assert_eq!((asked(79), asked(80)), ((true, false), (true, true)));
    // Its server's kernel may delay it.
    assert_eq!((asked(170), asked(171)), ((true, true), (false, true)));
}

#[test]
fn who_dials_for_each_request_may_be_dialling_at_any_time() {
    let each = Cycle {
        opening: Some(Window::of(ms(40), ms(170))),
        ..cycle(3_000, 0, 40)
    };
    let anytime = Rhythm::anytime(&each);
    assert!(anytime.connecting && anytime.opened.is_some());
    // The first dial is over after four round trips and 250 ms at the latest, and the second begins after 3.08 s.
    let at = |at| Rhythm::at(ms(at), Duration::ZERO, &each);
    assert!(at(400).connecting && !at(420).connecting && !at(3_070).connecting);
    assert!(at(3_300).connecting);
    let once = Rhythm::at(ms(3_300), Duration::ZERO, &cycle(3_000, 0, 40));
    assert!(!once.connecting);
}
