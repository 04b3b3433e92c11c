//! The records that tests share. In each, node3 loses its power at 10 s.

mod ends;

use halfopen::plan::{Cause, Check, CountWindow, Phase, Protocol, TimeWindow, Trigger};
use halfopen::record::{ClockName, EndedBy, Event, RequestError};

use super::story::{Story, dead_socket, ended, errno, seconds};
use ends::transport;
pub(crate) use ends::{
    keepalive_ends, no_tcp_info, ping_ends, reset_ends, too_early, unreachable_ends,
    user_timeout_ends,
};

/// A recovery window that nothing here reaches, so that every story fails by it unless it recovers at once.
const SOON: f64 = 5.0;

fn expect_soon(story: &mut Story, client: &str) {
    let check = Check::new("recovered", TimeWindow::Within(seconds(SOON)));
    let line = format!("  {client}: {{ recovered: {{ within: 5s }} }}");
    story.expect(client, check, &line, "recovered: { within: 5s }");
}

/// Requests every 3 s over connection 1 to aa-1, the last response before the fault at 7 s.
fn well_until_the_fault(story: &mut Story, client: &str) {
    story.open(1.0, client, 1, "aa-1");
    for (number, t) in [(1, 1.01), (2, 4.0), (3, 7.0)] {
        story.exchange(t, client, number, 1, "aa-1");
    }
}

/// Well again from `t` on, over connection `connection` to aa-2.
fn well_again(story: &mut Story, t: f64, client: &str, number: u32, connection: u32) {
    story.open(t, client, connection, "aa-2");
    for n in 0..3 {
        story.exchange(
            t + 0.01 + 3.0 * f64::from(n),
            client,
            number + n,
            connection,
            "aa-2",
        );
    }
}

/// A1: HTTP/2, the request timeout resets streams only, the kernel gives up after 928.2 s.
pub(crate) fn a1() -> Story {
    let mut story = Story::new("leader-election-h2", 1000.0);
    story.client("standby", 1, Protocol::H2).request_timeout = Some(seconds(10.0));
    story.sysctl("standby", "net.ipv4.tcp_retries2", "15");
    story.predict(
        "standby",
        Some((924.6, 1044.6)),
        Some((924.6, 1058.0)),
        Cause::RetransmissionTimeout,
    );
    well_until_the_fault(&mut story, "standby");
    story.cut(10.0, &[("standby", Phase::Idle)]);
    story.removed(50.0);
    for n in 0..71 {
        story.times_out(10.002 + 13.0 * f64::from(n), 10.0, "standby", 4 + n, 1);
    }
    story.sent(933.002, "standby", 75, 1);
    story.closed(
        938.2,
        "standby",
        1,
        errno(libc::ETIMEDOUT, Some(dead_socket(15, 0, 931.2))),
    );
    story.failed(938.2, "standby", 75, Some(1), RequestError::ConnectionLost);
    well_again(&mut story, 949.3, "standby", 76, 2);
    story
}

/// A1 with what its scenario expects, and one thing that it should not.
pub(crate) fn a1_expected() -> Story {
    let mut story = a1();
    let line =
        "  standby: { recovered: { between: [924s, 1050s] }, cause: retransmission_timeout }";
    let window = TimeWindow::Between(seconds(924.0), seconds(1050.0));
    story.expect(
        "standby",
        Check::new("recovered", window),
        line,
        "recovered: { between: [924s, 1050s] }",
    );
    story.expect(
        "standby",
        Check::new("cause", vec![Cause::RetransmissionTimeout]),
        line,
        "cause: retransmission_timeout",
    );
    story
}

/// A2: HTTP/1.1, the request timeout closes the connection, two dials meet the dead endpoint.
pub(crate) fn a2() -> Story {
    let mut story = Story::new("leader-election-h1", 120.0);
    story.client("standby", 1, Protocol::H1).request_timeout = Some(seconds(10.0));
    story.sysctl("standby", "net.ipv4.tcp_retries2", "15");
    story.predict(
        "standby",
        Some((10.0, 23.1)),
        Some((10.0, 66.0)),
        Cause::RequestTimeout,
    );
    expect_soon(&mut story, "standby");
    well_until_the_fault(&mut story, "standby");
    story.cut(10.0, &[("standby", Phase::Idle)]);
    story.times_out(10.002, 10.0, "standby", 4, 1);
    story.closed(20.002, "standby", 1, ended(EndedBy::RequestTimeout));
    for (number, connection, t) in [(5, 2, 23.002), (6, 3, 36.002)] {
        story.dial(t, "standby", connection, "aa-1");
        story.failed(t + 10.0, "standby", number, None, RequestError::Timeout);
        story.dial_failed(
            t + 10.0,
            "standby",
            connection,
            ended(EndedBy::RequestTimeout),
        );
    }
    story.removed(50.0);
    well_again(&mut story, 50.1, "standby", 7, 4);
    story
}

/// Its connection leads to a live node: nothing happens to it.
pub(crate) fn unaffected() -> Story {
    let mut story = Story::new("bystander", 40.0);
    story.client("bystander", 1, Protocol::H2);
    let (check, line) = (
        Check::new("not_affected", true),
        "  bystander: { not_affected: true }",
    );
    story.expect("bystander", check, line, "not_affected: true");
    story.open(1.0, "bystander", 1, "aa-2");
    for n in 0..8 {
        story.exchange(1.01 + 3.0 * f64::from(n), "bystander", 1 + n, 1, "aa-2");
    }
    story.cut(10.0, &[("bystander", Phase::Idle)]);
    story
}

/// Its connection leads to a live node until it is closed; the next dial meets the dead one.
pub(crate) fn dials_the_dead() -> Story {
    let mut story = unaffected();
    transport(&mut story).dial_timeout = Some(seconds(5.0));
    story.closed(26.0, "bystander", 1, ended(EndedBy::IdleTimeout));
    story.dial(27.0, "bystander", 2, "aa-1");
    story.dial_failed(32.0, "bystander", 2, ended(EndedBy::DialTimeout));
    story.failed(32.0, "bystander", 9, None, RequestError::Dial);
    story
}

/// Its requests fail before the fault as after it.
pub(crate) fn never_well() -> Story {
    let mut story = Story::new("never-well", 40.0);
    story.client("idler", 1, Protocol::H2);
    story.open(1.0, "idler", 1, "aa-1");
    story.times_out(1.01, 5.0, "idler", 1, 1);
    story.cut(10.0, &[("idler", Phase::Idle)]);
    story.times_out(12.0, 5.0, "idler", 2, 1);
    story
}

/// It works until the fault, and then asks for nothing more.
pub(crate) fn falls_silent() -> Story {
    let mut story = Story::new("falls-silent", 40.0);
    story.client("idler", 1, Protocol::H2);
    well_until_the_fault(&mut story, "idler");
    story.cut(10.0, &[("idler", Phase::Idle)]);
    story
}

/// It runs on the node that loses power.
pub(crate) fn gone() -> Story {
    let mut story = Story::new("gone", 40.0);
    story.client("victim", 3, Protocol::H2);
    expect_soon(&mut story, "victim");
    well_until_the_fault(&mut story, "victim");
    story.cut(10.0, &[("victim", Phase::Idle)]);
    story.gone(10.0, "victim");
    story
}

/// Nothing ends its wait within the case.
pub(crate) fn never_recovers() -> Story {
    let mut story = Story::new("no-timeouts", 60.0);
    story.client("waiter", 1, Protocol::H1);
    story.predict("waiter", None, None, Cause::Never);
    expect_soon(&mut story, "waiter");
    well_until_the_fault(&mut story, "waiter");
    story.cut(10.0, &[("waiter", Phase::WaitingForResponse)]);
    story.sent(10.0001, "waiter", 4, 1);
    story
}

/// RST in answer to the SYN of the dial that was under way at the fault.
pub(crate) fn refused_while_dialling() -> Story {
    let mut story = Story::new("dialling", 60.0);
    story.client("dialler", 1, Protocol::H1);
    story.case.lab.faults[0].trigger = Trigger::Phase {
        client: "dialler".to_owned(),
        phase: Phase::Connecting,
        after: seconds(5.0),
    };
    expect_soon(&mut story, "dialler");
    story.dial(9.999, "dialler", 1, "aa-1");
    story.cut(10.0, &[("dialler", Phase::Connecting)]);
    story.dial_failed(16.0, "dialler", 1, errno(libc::ECONNREFUSED, None));
    story.failed(16.0, "dialler", 1, None, RequestError::Dial);
    well_again(&mut story, 19.0, "dialler", 2, 2);
    story
}

/// The client says that it was answered at 12 s, but no server's record has that.
pub(crate) fn claims_success() -> Story {
    let mut story = Story::new("claims", 60.0);
    story.client("optimist", 1, Protocol::H2);
    expect_soon(&mut story, "optimist");
    well_until_the_fault(&mut story, "optimist");
    story.cut(10.0, &[("optimist", Phase::Idle)]);
    story.sent(11.0, "optimist", 4, 1);
    story.response(12.0, "optimist", 4, 1, "aa-2");
    story
}

/// Recovered at 14 s, unwell at 25 s, and well again from 38 s on.
pub(crate) fn relapses() -> Story {
    let mut story = Story::new("relapse", 60.0);
    story.client("shaky", 1, Protocol::H1).request_timeout = Some(seconds(2.0));
    expect_soon(&mut story, "shaky");
    well_until_the_fault(&mut story, "shaky");
    story.cut(10.0, &[("shaky", Phase::Idle)]);
    story.times_out(10.5, 2.0, "shaky", 4, 1);
    story.closed(12.5, "shaky", 1, ended(EndedBy::RequestTimeout));
    story.open(14.0, "shaky", 2, "aa-2");
    for (number, t) in [(5, 14.01), (6, 17.0), (7, 20.0)] {
        story.exchange(t, "shaky", number, 2, "aa-2");
    }
    story.times_out(23.0, 2.0, "shaky", 8, 2);
    story.closed(25.0, "shaky", 2, ended(EndedBy::RequestTimeout));
    story.dial(28.0, "shaky", 3, "aa-1");
    story.failed(30.0, "shaky", 9, None, RequestError::Timeout);
    story.dial_failed(30.0, "shaky", 3, ended(EndedBy::RequestTimeout));
    well_again(&mut story, 38.0, "shaky", 10, 4);
    story
}

/// Well again from 14 s on, and then what `end` adds.
fn recovers_but(scenario: &str, end: impl FnOnce(&mut Story)) -> Story {
    let mut story = Story::new(scenario, 60.0);
    story.client("shaky", 1, Protocol::H1).request_timeout = Some(seconds(2.0));
    expect_soon(&mut story, "shaky");
    well_until_the_fault(&mut story, "shaky");
    story.cut(10.0, &[("shaky", Phase::Idle)]);
    story.times_out(10.5, 2.0, "shaky", 4, 1);
    story.closed(12.5, "shaky", 1, ended(EndedBy::RequestTimeout));
    well_again(&mut story, 14.0, "shaky", 5, 2);
    end(&mut story);
    story
}

/// Its last request times out.
pub(crate) fn ends_unwell() -> Story {
    recovers_but("ends-unwell", |story| {
        story.times_out(50.0, 2.0, "shaky", 8, 2);
    })
}

/// Its last request never gets a connection.
pub(crate) fn ends_dialling() -> Story {
    recovers_but("ends-dialling", |story| {
        story.closed(30.0, "shaky", 2, ended(EndedBy::IdleTimeout));
        story.dial(50.0, "shaky", 3, "aa-1");
        story.dial_failed(52.0, "shaky", 3, ended(EndedBy::DialTimeout));
        story.failed(52.0, "shaky", 8, None, RequestError::Dial);
    })
}

/// Servers take 5 s to answer, and its last request is sent `before` the record's end.
pub(crate) fn ends_waiting(before: f64) -> Story {
    recovers_but("ends-waiting", |story| {
        for server in &mut story.case.lab.servers {
            server.response_delay = seconds(5.0);
        }
        story.sent(61.0 - before, "shaky", 8, 2);
    })
}

/// One request in the midst of good ones never gets a connection.
pub(crate) fn relapses_dialling() -> Story {
    recovers_but("relapse-dialling", |story| {
        story.closed(30.0, "shaky", 2, ended(EndedBy::IdleTimeout));
        story.dial(32.0, "shaky", 3, "aa-1");
        story.dial_failed(34.0, "shaky", 3, ended(EndedBy::DialTimeout));
        story.failed(34.0, "shaky", 8, None, RequestError::Dial);
        well_again(story, 37.0, "shaky", 9, 4);
    })
}

/// Two clients of which one is struck; expectations of every kind, most of which fail.
pub(crate) fn everything_expected() -> Story {
    let mut story = a2();
    story.case.scenario = "everything".to_owned();
    story.clock = ClockName::Virtual;
    story.case.expectations.clear();
    story.client("bystander", 1, Protocol::H2);
    story.client("victim", 3, Protocol::H2);
    story.open(1.0, "bystander", 1, "aa-2");
    for n in 0..20 {
        story.exchange(1.5 + 5.0 * f64::from(n), "bystander", 1 + n, 1, "aa-2");
    }
    story.gone(10.0, "victim");
    story.case.predictions[0].recovery = None;
    story.warn("node1's net.ipv4.tcp_retries2 does not reach the pods on it: standby, bystander");
    let at_most = |max| CountWindow {
        min: 0,
        max: Some(max),
    };
    let within = |s| TimeWindow::Within(seconds(s));
    let line = "  standby: { recovered: { within: 30s }, detected: { within: 15s }, requests_failed: 0, dials: 3 }";
    story.expect(
        "standby",
        Check::new("recovered", within(30.0)),
        line,
        "recovered: { within: 30s }",
    );
    story.expect(
        "standby",
        Check::new("detected", within(15.0)),
        line,
        "detected: { within: 15s }",
    );
    story.expect(
        "standby",
        Check::new("requests_failed", at_most(0)),
        line,
        "requests_failed: 0",
    );
    story.expect(
        "standby",
        Check::new(
            "dials",
            CountWindow {
                min: 3,
                max: Some(3),
            },
        ),
        line,
        "dials: 3",
    );
    let line = "  bystander: { cause: never, recovered: never }";
    story.expect(
        "bystander",
        Check::new("cause", vec![Cause::Never]),
        line,
        "cause: never",
    );
    story.expect(
        "bystander",
        Check::new("recovered", TimeWindow::Never),
        line,
        "recovered: never",
    );
    story.expect(
        "victim",
        Check::new("recovered", within(30.0)),
        "  victim: { recovered: { within: 30s } }",
        "recovered: { within: 30s }",
    );
    story
}

/// Every whole story, by name.
pub(crate) fn all() -> Vec<(String, Vec<Event>)> {
    let stories = [
        a1(),
        a1_expected(),
        a2(),
        unaffected(),
        gone(),
        never_recovers(),
        keepalive_ends(),
        user_timeout_ends(),
        ping_ends(),
        reset_ends(),
        unreachable_ends(),
        no_tcp_info(),
        too_early(),
        refused_while_dialling(),
        claims_success(),
        relapses(),
        ends_unwell(),
        ends_dialling(),
        ends_waiting(3.0),
        ends_waiting(6.0),
        relapses_dialling(),
        everything_expected(),
    ];
    let named = stories
        .into_iter()
        .map(|mut story| (story.case.scenario.clone(), story.end()));
    named.collect()
}
