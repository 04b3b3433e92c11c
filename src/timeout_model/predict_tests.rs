use super::*;
use crate::scenario::{PlanOptions, parse, render};

/// Prediction for the one client of a scenario of two nodes and a service; `client` are the client's own lines.
fn predicted(server: &str, client: &str, fault: &str) -> Prediction {
    let text = format!(
        "name: t\nduration: 20h\nnodes: [n1, n2, n3]\n\
         servers:\n  s1: {{ node: n1 {server} }}\n  s2: {{ node: n2 {server} }}\n\
         service:\n  web: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1 }}\n\
         clients:\n  c: {{ node: n3, {client} }}\n\
         faults:\n  - {{ {fault}, fault: {{ power_loss: {{ node: n1 }} }} }}\n"
    );
    let mut cases = parse("t.yaml", &text, &PlanOptions::default())
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases.remove(0).predictions.remove(0)
}

fn client(profile: &str, more: &str) -> String {
    format!("url: 'http://web/', profile: {profile}, workload: {{ poll: {{ every: 3s }} }} {more}")
}

fn seconds(window: Option<Window>) -> Option<(f64, f64)> {
    window.map(|w| (w.min.as_secs_f64(), w.max.as_secs_f64()))
}

#[test]
fn without_any_limit_the_kernel_rules() {
    let p = predicted("", &client("java", ""), "at: 10s");
    assert_eq!(p.cause, Cause::RetransmissionTimeout);
    let (min, max) = seconds(p.detection).expect("a window");
    assert!(
        (933.0..937.0).contains(&min) && max < 924.8 + 122.88 + 3.0 + 0.7,
        "{min} to {max}"
    );
    // After 40 s the rules no longer name the dead endpoint: one pause, then service.
    let (recovered, _) = seconds(p.recovery).expect("a window");
    assert!((recovered - min - 3.0).abs() < 0.01);
}

#[test]
fn a_request_timeout_closes_an_http1_connection_only() {
    let timeout = "transport: { request_timeout: 10s }";
    let h1 = predicted("", &client("go-http1", &format!(", {timeout}")), "at: 10s");
    assert_eq!(
        (h1.cause, seconds(h1.detection)),
        (Cause::RequestTimeout, Some((12.0, 12.54)))
    );
    let h2 = predicted("", &client("go-http2", &format!(", {timeout}")), "at: 10s");
    assert_eq!(h2.cause, Cause::RetransmissionTimeout);
}

#[test]
fn a_dial_may_meet_the_dead_endpoint_until_it_is_removed() {
    let p = predicted(
        "",
        &client("go-http1", ", transport: { request_timeout: 10s }"),
        "at: 10s",
    );
    let (min, max) = seconds(p.recovery).expect("a window");
    // The timeout and the pause; then dials of 10 s and pauses, the last of which begins after 40 s.
    assert!(
        (15.0..15.1).contains(&min) && (41.0..42.0).contains(&max),
        "{min} to {max}"
    );
    let told: Vec<_> = p.odds.iter().map(|odds| odds.probability).collect();
    assert_eq!(told, [0.5, 0.25, 0.25]);
}

#[test]
fn a_ping_is_counted_from_the_last_frame() {
    let p = predicted("", &client("client-go", ""), "at: 60s");
    // The pause's own timer may be late: 41.998 s was measured on the real clock.
    assert_eq!(
        (p.cause, seconds(p.detection)),
        (Cause::PingTimeout, Some((41.99, 45.25)))
    );
}

#[test]
fn while_it_waits_for_a_response_keepalive_rules_or_nothing_does() {
    let when = "when: { client: c, phase: waiting_for_response }";
    let slow = ", response_delay: 2s";
    let go = predicted(slow, &client("go-http1", ""), when);
    assert_eq!(go.cause, Cause::Keepalive);
    let (min, max) = seconds(go.detection).expect("a window");
    assert!(
        (162.8..=165.0).contains(&min) && max > 165.0 && max < 175.0,
        "{min} to {max}"
    );
    let java = predicted(slow, &client("java", ""), when);
    assert_eq!(
        (java.cause, java.detection, java.recovery),
        (Cause::Never, None, None)
    );
}

#[test]
fn a_stream_that_times_out_while_waiting_starts_the_retransmissions() {
    let when = "when: { client: c, phase: waiting_for_response }";
    let p = predicted(
        ", response_delay: 2s",
        &client("java", ", transport: { request_timeout: 10s }"),
        when,
    );
    assert_eq!(p.cause, Cause::RetransmissionTimeout);
    let (min, _) = seconds(p.detection).expect("a window");
    assert!((940.0..945.0).contains(&min), "{min}");
}

#[test]
fn unacknowledged_data_puts_keepalive_aside() {
    let when = "when: { client: c, phase: request_unacknowledged }";
    let p = predicted("", &client("node-http", ""), when);
    assert_eq!(p.cause, Cause::RetransmissionTimeout);
}

#[test]
fn a_user_timeout_takes_the_place_of_retries() {
    let p = predicted("", &client("reqwest", ""), "at: 10s");
    assert_eq!(p.cause, Cause::UserTimeout);
    let (min, max) = seconds(p.detection).expect("a window");
    assert!(min >= 30.0 && max < 38.0, "{min} to {max}");
}

/// A client of `s1` alone, with a pause of `every`.
fn alone(profile: &str, every: &str, more: &str) -> String {
    format!(
        "url: 'http://s1/', profile: {profile}, workload: {{ poll: {{ every: {every} }} }} {more}"
    )
}

#[test]
fn a_pool_that_closes_idle_connections_may_have_none_to_lose() {
    let pool = alone("bare", "3s", ", transport: { idle_timeout: 1s }");
    let of = |fault: &str| {
        let p = predicted("", &pool, fault);
        (p.cause, seconds(p.detection))
    };
    // Requests go out at 9 s and 12 s, give or take.
    let dials = |(cause, window): (Cause, Option<(f64, f64)>)| {
        assert_eq!(cause, Cause::DialTimeout);
        let (min, max) = window.expect("a window");
        assert!(min >= 127.0 && max < 150.0, "{min} to {max}");
    };
    // It holds none: its next dial is in vain.
    dials(of("at: 11s"));
    assert_eq!(of("at: 10s"), (Cause::Unknown, None));
    let (cause, window) = of("at: 9500ms");
    let (min, max) = window.expect("a window");
    assert_eq!(cause, Cause::IdleTimeout);
    assert!((0.3..=0.5).contains(&min) && (1.0..1.3).contains(&max));
    let resting = |after| {
        of(&format!(
            "when: {{ client: c, phase: idle, after: {after} }}"
        ))
    };
    dials(resting("5s"));
    let (cause, window) = resting("6500ms");
    let (min, max) = window.expect("a window");
    assert_eq!(cause, Cause::IdleTimeout);
    assert!(min >= 0.4 && max < 1.2, "{min} to {max}");
    // The third request goes out at 6 s, just before or just after.
    assert_eq!(resting("6s"), (Cause::Unknown, None));
}

#[test]
fn a_client_that_starts_after_the_fault_dials_alone() {
    let p = predicted("", &client("go-http1", ", start: 30s"), "at: 10s");
    // Its dial may be lucky.
    assert_eq!((p.cause, p.detection), (Cause::Unknown, None));
    let (min, max) = seconds(p.recovery).expect("a window");
    // From 20 s on; a dial of 30 s and the pause, and then the rules are right.
    assert!(min == 20.0 && (53.0..54.0).contains(&max), "{min} to {max}");
    let late = predicted("", &client("go-http1", ", start: 100s"), "at: 10s");
    assert_eq!(seconds(late.recovery), Some((90.0, 90.26)));
    assert_eq!(late.cause, Cause::Never);
}

#[test]
fn jitter_lengthens_upper_bounds_only() {
    let elector = "url: 'http://web/', profile: bare, transport: { request_timeout: 10s }, \
                   workload: { leader_election: { every: 2s, jitter: 8s } }";
    let p = predicted(", app: lock", elector, "at: 60s");
    let (min, max) = seconds(p.recovery).expect("a window");
    assert!(min >= 11.9 && max >= 30.0, "{min} to {max}");
}

#[test]
fn after_an_idle_connection_the_next_request_dials_at_once() {
    let ping = ", transport: { ping: { idle: 3s, timeout: 2s, while_idle: true } }";
    let slow = format!(
        "url: 'http://web/', profile: bare-h2, workload: {{ poll: {{ every: 20s }} }} {ping}"
    );
    let p = predicted("", &slow, "at: 10s");
    assert_eq!(
        (p.cause, seconds(p.detection)),
        (Cause::PingTimeout, Some((2.0, 5.25)))
    );
    let (min, _) = seconds(p.recovery).expect("a window");
    // The request that was due at 20 s anyway.
    assert_eq!(min, 10.0);
}

#[test]
fn keepalive_that_ends_before_the_next_request_rules_alone() {
    let keepalive = ", transport: { keepalive: { idle: 3s, interval: 1s, count: 2 } }";
    let of = |fault| {
        let p = predicted("", &alone("bare", "20s", keepalive), fault);
        (p.cause, seconds(p.detection).expect("a window"))
    };
    let (cause, (min, max)) = of("at: 10s");
    assert_eq!(cause, Cause::Keepalive);
    assert!(
        (3.9..4.1).contains(&min) && (5.0..6.0).contains(&max),
        "{min} to {max}"
    );
    // The next request is due at 20 s, and may come first.
    let (cause, (_, max)) = of("at: 18s");
    assert!(cause == Cause::Unknown && max > 900.0);
}

#[test]
fn the_kernels_errors_are_named_as_the_kernel_gives_them() {
    let waiting = "when: { client: c, phase: waiting_for_response }";
    let p = predicted("", &client("reqwest", ""), waiting);
    assert_eq!(p.cause, Cause::UserTimeout);
    let text = alone("reqwest", "3s", "");
    assert_eq!(predicted("", &text, "at: 10s").cause, Cause::UserTimeout);
}

#[test]
fn of_two_limits_that_may_be_first_none_is_named() {
    let of = |read: &str| {
        let limits = format!(", transport: {{ request_timeout: 10s, read_timeout: {read} }}");
        let p = predicted("", &client("go-http1", &limits), "at: 10s");
        (p.cause, seconds(p.detection))
    };
    let window = Some((12.0, 12.54));
    assert_eq!(of("10s"), (Cause::Unknown, window));
    // Both count from the same request.
    assert_eq!(of("11s"), (Cause::RequestTimeout, window));
}

#[test]
fn a_slow_server_leaves_open_what_the_fault_meets() {
    let of = |fault| {
        let p = predicted(", response_delay: 1s", &alone("bare", "3s", ""), fault);
        (p.cause, p.detection.is_some())
    };
    // Requests go out at 4 s and 8 s and are answered a second later, at the earliest.
    assert_eq!(of("at: 5s"), (Cause::Unknown, false));
    assert_eq!(of("at: 4200ms"), (Cause::Unknown, false));
    let one_pause = alone("bare", "60s", "");
    let p = predicted(", response_delay: 1s", &one_pause, "at: 30s");
    assert_eq!(p.cause, Cause::RetransmissionTimeout);
}

#[test]
fn keepalive_fails_before_a_dead_neighbour_does() {
    let of_s2 = alone("reqwest", "3s", "").replace("s1", "s2");
    let of = |phase: &str| {
        let loss = "power_loss: { node: n2, neighbour: dead }";
        let fault = format!(
            "when: {{ client: c, phase: {phase} }}, fault: {{ {loss} }} }}\n  - {{ at: 19h"
        );
        predicted("", &of_s2, &fault).cause
    };
    assert_eq!(of("waiting_for_response"), Cause::UserTimeout);
    assert_eq!(of("request_unacknowledged"), Cause::Unreachable);
}

#[test]
fn a_reset_stream_puts_keepalive_aside() {
    let waiting = "when: { client: c, phase: waiting_for_response }";
    let timeout = ", transport: { request_timeout: 10s }";
    let p = predicted("", &client("reqwest", timeout), waiting);
    assert_eq!(p.cause, Cause::UserTimeout);
    let (min, max) = seconds(p.detection).expect("a window");
    // Measured: 40.5 s.
    assert!(
        (39.9..40.5).contains(&min) && (40.5..43.0).contains(&max),
        "{min} to {max}"
    );
}

#[test]
fn a_response_is_held_back_before_the_fault() {
    let waiting = "when: { client: c, phase: waiting_for_response }";
    let timeout = ", transport: { request_timeout: 10s }";
    let p = predicted("", &client("bare", timeout), waiting);
    assert_eq!(seconds(p.detection), Some((9.74, 10.2)));
}

#[test]
fn a_server_that_dies_after_the_recovery_is_no_loss() {
    let later =
        |at: &str| format!("at: {at}, fault: {{ power_loss: {{ node: n2 }} }} }}\n  - {{ at: 2s");
    let quick = client("bare", ", transport: { request_timeout: 5s }");
    let p = predicted("", &quick, &later("100s"));
    assert!(p.detection.is_some() && p.recovery.is_some());
    let both = predicted("", &quick, &later("10s"));
    assert!(both.detection.is_some() && both.recovery.is_none());
}

#[test]
fn a_client_of_a_server_that_lives_is_not_affected() {
    let p = predicted(
        "",
        "url: 'http://s2/', profile: java, workload: { poll: { every: 3s } }",
        "at: 10s",
    );
    assert_eq!(
        (p.cause, p.detection, p.recovery),
        (Cause::Never, None, None)
    );
}

#[test]
fn with_nobody_else_to_answer_there_is_no_recovery() {
    let p = predicted(
        "",
        "url: 'http://s1/', profile: java, workload: { poll: { every: 3s } }",
        "at: 10s",
    );
    assert!(p.detection.is_some());
    assert_eq!(p.recovery, None);
}

/// A client of HTTP/2 whose requests have 10 s and whose connections may rest for 90 s.
fn pooled(every: &str) -> String {
    let limits = ", transport: { request_timeout: 10s, idle_timeout: 90s }";
    alone("bare-h2", every, limits)
}

#[test]
fn a_pool_closes_the_connection_of_a_stream_that_timed_out() {
    let of = |every: &str, fault: &str| {
        let p = predicted(", response_delay: 3s", &pooled(every), fault);
        (p.cause, seconds(p.detection).expect("a window"))
    };
    let waiting = "when: { client: c, phase: waiting_for_response }";
    // 100 s after the request was sent.
    for fault in ["at: 1500ms", waiting] {
        let (cause, (min, max)) = of("2m", fault);
        assert_eq!(cause, Cause::IdleTimeout);
        assert!(
            (96.0..=98.6).contains(&min) && (98.5..100.6).contains(&max),
            "{min} to {max}"
        );
    }
    let (cause, (min, max)) = of("2m", "when: { client: c, phase: request_unacknowledged }");
    assert_eq!(cause, Cause::IdleTimeout);
    assert!(
        (99.0..=100.0).contains(&min) && (100.0..100.6).contains(&max),
        "{min} to {max}"
    );
    // The next request comes first, and uses it.
    assert_eq!(of("80s", "at: 1500ms").0, Cause::RetransmissionTimeout);
}

#[test]
fn after_a_pool_closed_it_a_pause_after_its_last_use_the_client_dials() {
    let of_both = pooled("2m").replace("http://s1/", "http://web/");
    let p = predicted(", response_delay: 3s", &of_both, "at: 1500ms");
    // The dial may be lucky: the request that timed out 8.5 s after the fault, or 250 ms later if its connection took as long to
    // open, a pause, and 3 s for its response.
    let (_, max) = seconds(p.recovery).expect("a window");
    assert!((131.75..132.35).contains(&max), "{max}");
}

#[test]
fn a_client_that_only_dials_is_detected_by_its_first_dial_in_vain() {
    let of = |limits: &str| {
        let limits = format!(", transport: {{ idle_timeout: 100ms, {limits} }}");
        let p = predicted("", &alone("bare", "3s", &limits), "at: 10s");
        assert_eq!(p.recovery, None);
        (p.cause, seconds(p.detection).expect("a window"))
    };
    // The request of 12 s, give or take.
    let (cause, (min, max)) = of("dial_timeout: 5s");
    assert_eq!(cause, Cause::DialTimeout);
    assert!(
        (6.9..=7.1).contains(&min) && (7.2..8.0).contains(&max),
        "{min} to {max}"
    );
    let (cause, (min, _)) = of("dial_timeout: off");
    assert_eq!(cause, Cause::DialTimeout);
    assert!((129.0..140.0).contains(&min), "{min}");
    let (cause, (min, _)) = of("dial_timeout: 5s, request_timeout: 2s");
    assert_eq!(cause, Cause::RequestTimeout);
    assert!((3.9..=4.1).contains(&min), "{min}");
    // Of two endpoints it may dial the one that lives.
    let lucky = client(
        "bare",
        ", transport: { idle_timeout: 100ms, dial_timeout: 5s }",
    );
    let p = predicted("", &lucky, "at: 10s");
    assert_eq!((p.cause, p.detection), (Cause::Unknown, None));
    assert!(p.recovery.is_some());
}

#[test]
fn who_waits_less_than_a_server_takes_never_recovers() {
    let of = |timeout: &str| {
        let timeout = format!(", transport: {{ request_timeout: {timeout} }}");
        let p = predicted(", response_delay: 4s", &client("bare", &timeout), "at: 22s");
        p.recovery.is_some()
    };
    assert!(!of("2s") && !of("4s") && of("5s"));
}

#[test]
fn what_is_idle_for_too_long_is_there_until_the_next_request_where_that_looks_for_it() {
    let of = |limits: &str, fault: &str| {
        let limits = format!(", transport: {{ {limits}, idle_check: next_request }}");
        let p = predicted("", &alone("bare", "3s", &limits), fault);
        (p.cause, seconds(p.detection).expect("a window"))
    };
    // Requests go out at 9 s and 12 s, give or take.
    for fault in ["at: 10s", "at: 11s"] {
        let (cause, (min, max)) = of("idle_timeout: 1s", fault);
        let next = if fault == "at: 10s" { 2.0 } else { 1.0 };
        assert_eq!(cause, Cause::IdleTimeout);
        assert!(
            (next - 0.1..=next).contains(&min) && (next..next + 0.6).contains(&max),
            "{min} to {max}"
        );
    }
    // Keepalive may come first: it gives up 2 s after the last answer.
    let of_slow = |limits: &str| {
        let limits = format!(", transport: {{ {limits}, idle_check: next_request }}");
        predicted("", &alone("bare", "30s", &limits), "at: 1s").cause
    };
    let keepalive = "idle_timeout: 1s, keepalive: { idle: 1s, interval: 1s, count: 1 }";
    assert_eq!(of_slow(keepalive), Cause::Keepalive);
}

#[test]
fn the_request_after_the_one_that_timed_out_finds_that_a_ping_had_no_answer() {
    let of = |every: &str| {
        let when = "when: { client: c, phase: request_unacknowledged }";
        let p = predicted("", &alone("okhttp", every, ""), when);
        assert_eq!(p.cause, Cause::PingTimeout);
        seconds(p.detection).expect("a window")
    };
    let (min, max) = of("3s");
    assert!(min <= 13.0 && (13.0..13.6).contains(&max), "{min} to {max}");
    // That one may come before the answer is due, and run out of time as well.
    let (min, max) = of("500ms");
    assert!(min <= 21.0 && (21.0..21.6).contains(&max), "{min} to {max}");
}

#[test]
fn a_connection_out_of_use_is_closed_as_an_idle_one_and_requests_go_on_before() {
    let of = |more: &str| {
        let client = alone("httpx-h2", "2s", more).replace("http://s1/", "http://web/");
        let when = "when: { client: c, phase: request_unacknowledged }";
        predicted("", &client, when)
    };
    let p = of("");
    assert_eq!(p.cause, Cause::IdleTimeout);
    let (min, max) = seconds(p.detection).expect("a window");
    // 5 s for the request, and 5 s of rest, until a request comes, which may wait 5 s for a dial in vain.
    assert!(min <= 10.0 && (17.0..17.6).contains(&max), "{min} to {max}");
    let (min, _) = seconds(p.recovery).expect("a window");
    assert!((6.9..=7.1).contains(&min), "{min}");
    // Nothing that rests: it is closed at once.
    let p = of(", transport: { idle_timeout: off }");
    assert_eq!(p.cause, Cause::ReadTimeout);
    let (_, max) = seconds(p.detection).expect("a window");
    assert!((5.0..5.6).contains(&max), "{max}");
}
