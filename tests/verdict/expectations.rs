//! Expectations of every kind against what was measured.

use halfopen::plan::{Cause, Check, CountWindow, Phase, TimeWindow, Trigger};
use halfopen::verdict::result::ExpectationResult;
use halfopen::verdict::{Verdict, judge};

use crate::stories;
use crate::story::{Story, seconds};

fn told(mut story: Story, client: &str, check: Check) -> ExpectationResult {
    story.case.expectations.clear();
    story.expect(client, check, "  x: y", "x");
    judge(&story.end()).expectations.swap_remove(0)
}

fn verdict(story: Story, check: Check) -> Verdict {
    let client = story.case.lab.clients[0].name.clone();
    told(story, &client, check).verdict
}

fn between(min: f64, max: f64) -> TimeWindow {
    TimeWindow::Between(seconds(min), seconds(max))
}

#[test]
fn windows_of_recovery_and_detection() {
    assert_eq!(
        verdict(stories::a1(), Check::Recovered(between(924.0, 1050.0))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a1(), Check::Recovered(between(940.0, 1050.0))),
        Verdict::Fail
    );
    assert_eq!(
        verdict(stories::a1(), Check::Detected(between(928.0, 929.0))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::a1(),
            Check::Detected(TimeWindow::AtLeast(seconds(928.5)))
        ),
        Verdict::Fail
    );
    assert_eq!(
        verdict(
            stories::never_recovers(),
            Check::Recovered(TimeWindow::Never)
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::never_recovers(),
            Check::Detected(TimeWindow::Never)
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a1(), Check::Recovered(TimeWindow::Never)),
        Verdict::Fail
    );
}

#[test]
fn counts() {
    let window = |min, max| CountWindow { min, max };
    assert_eq!(
        verdict(stories::a2(), Check::Dials(window(3, Some(3)))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a2(), Check::Dials(window(4, None))),
        Verdict::Fail
    );
    assert_eq!(
        verdict(stories::a2(), Check::RequestsFailed(window(0, Some(3)))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a2(), Check::RequestsFailed(window(0, Some(2)))),
        Verdict::Fail
    );
}

#[test]
fn one_of_several_causes() {
    let causes = vec![Cause::Keepalive, Cause::RequestTimeout];
    assert_eq!(
        verdict(stories::a2(), Check::Cause(causes.clone())),
        Verdict::Pass
    );
    assert_eq!(verdict(stories::a1(), Check::Cause(causes)), Verdict::Fail);
}

#[test]
fn what_is_expected_of_a_dead_connection_does_not_hold_where_there_is_none() {
    let not_affected = "not affected: it held no connection that a fault struck";
    for check in [
        Check::Detected(TimeWindow::Never),
        Check::Cause(vec![Cause::Never]),
    ] {
        let told = told(stories::unaffected(), "bystander", check);
        assert_eq!(
            (told.verdict, told.actual.as_str()),
            (Verdict::Fail, not_affected)
        );
    }
}

#[test]
fn a_later_dial_that_met_the_dead_node_is_named() {
    let told = told(
        stories::dials_the_dead(),
        "bystander",
        Check::Cause(vec![Cause::DialTimeout]),
    );
    assert_eq!(told.verdict, Verdict::Fail);
    insta::assert_snapshot!(
        told.actual,
        @"not affected: it held no connection that a fault struck; its later dial to aa-1 met it: dial_timeout (DialTimeout: 1 SYN unanswered for 5.0 s)"
    );
}

/// "Never" and "0 failed" are true of a client that does nothing, too.
#[test]
fn a_client_that_did_nothing_was_not_tested() {
    let none = CountWindow {
        min: 0,
        max: Some(0),
    };
    let checks = [
        Check::Recovered(TimeWindow::Never),
        Check::RequestsFailed(none),
        Check::Dials(none),
    ];
    let nothing = |story: fn() -> Story, why: &str| {
        for check in checks.clone() {
            let told = told(story(), "idler", check);
            let actual = format!("nothing was tested: {why}");
            assert_eq!((told.verdict, told.actual), (Verdict::Error, actual));
        }
    };
    nothing(stories::never_well, "it had no response before the fault");
    nothing(stories::falls_silent, "it sent nothing after the fault");
}

#[test]
fn a_client_that_could_not_have_worked_before_its_fault_is_tested() {
    let verdict_of = |change: fn(&mut Story)| {
        let mut story = stories::never_well();
        change(&mut story);
        told(story, "idler", Check::Recovered(TimeWindow::Never)).verdict
    };
    assert_eq!(verdict_of(|_| ()), Verdict::Error);
    let later = |story: &mut Story| story.case.lab.clients[0].start = seconds(11.0);
    assert_eq!(verdict_of(later), Verdict::Pass);
    let connecting = |story: &mut Story| {
        story.case.lab.faults[0].trigger = Trigger::Phase {
            client: "idler".to_owned(),
            phase: Phase::Connecting,
            after: seconds(1.0),
        };
    };
    assert_eq!(verdict_of(connecting), Verdict::Pass);
}

#[test]
fn a_wait_that_was_under_way_at_the_fault_is_tested() {
    let mut story = stories::falls_silent();
    story.sent(9.5, "idler", 4, 1);
    let told = told(story, "idler", Check::Detected(TimeWindow::Never));
    assert_eq!(told.verdict, Verdict::Pass, "{}", told.actual);
}

#[test]
fn an_unknown_cause_says_what_is_missing() {
    let told = told(
        stories::no_tcp_info(),
        "standby",
        Check::Cause(vec![Cause::RetransmissionTimeout]),
    );
    assert_eq!(told.verdict, Verdict::Fail);
    assert_eq!(
        told.actual,
        "unknown (ETIMEDOUT, and the socket's TCP_INFO is missing)"
    );
}
