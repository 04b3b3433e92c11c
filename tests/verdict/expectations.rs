//! Expectations of every kind against what was measured.

use halfopen::plan::{Cause, Check, CountWindow, TimeWindow};
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
    let not_affected = "not affected: none of its connections led to a node that died";
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
