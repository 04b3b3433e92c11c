//! Expectations of every kind against what was measured.

use halfopen::plan::{Cause, Check, CountWindow, Phase, TimeWindow, Trigger};
use halfopen::record::Observation;
use halfopen::verdict::result::ExpectationResult;
use halfopen::verdict::{Verdict, judge};

use super::stories;
use super::story::{Story, seconds};

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
        verdict(
            stories::a1(),
            Check::new("recovered", between(924.0, 1050.0))
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::a1(),
            Check::new("recovered", between(940.0, 1050.0))
        ),
        Verdict::Fail
    );
    assert_eq!(
        verdict(stories::a1(), Check::new("detected", between(928.0, 929.0))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::a1(),
            Check::new("detected", TimeWindow::AtLeast(seconds(928.5)))
        ),
        Verdict::Fail
    );
    assert_eq!(
        verdict(
            stories::never_recovers(),
            Check::new("recovered", TimeWindow::Never)
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::never_recovers(),
            Check::new("detected", TimeWindow::Never)
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a1(), Check::new("recovered", TimeWindow::Never)),
        Verdict::Fail
    );
}

#[test]
fn counts() {
    let window = |min, max| CountWindow { min, max };
    assert_eq!(
        verdict(stories::a2(), Check::new("dials", window(3, Some(3)))),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a2(), Check::new("dials", window(4, None))),
        Verdict::Fail
    );
    assert_eq!(
        verdict(
            stories::a2(),
            Check::new("requests_failed", window(0, Some(3)))
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            stories::a2(),
            Check::new("requests_failed", window(0, Some(2)))
        ),
        Verdict::Fail
    );
}

#[test]
fn one_of_several_causes() {
    let causes = vec![Cause::Keepalive, Cause::RequestTimeout];
    assert_eq!(
        verdict(stories::a2(), Check::new("cause", causes.clone())),
        Verdict::Pass
    );
    assert_eq!(
        verdict(stories::a1(), Check::new("cause", causes)),
        Verdict::Fail
    );
}

#[test]
fn of_who_was_not_struck_nothing_was_tested_but_that_he_was_not() {
    let window = |min, max| CountWindow { min, max };
    for check in [
        Check::new("recovered", TimeWindow::Within(seconds(20.0))),
        Check::new("recovered", TimeWindow::Never),
        Check::new("detected", TimeWindow::Never),
        Check::new("cause", vec![Cause::Never]),
        Check::new("dials", window(0, Some(0))),
        Check::new("requests_failed", window(0, Some(0))),
        Check::new("longest_without_response", TimeWindow::Within(seconds(9.0))),
    ] {
        let told = told(stories::unaffected(), "bystander", check);
        assert_eq!(
            (told.verdict, told.actual.as_str()),
            (
                Verdict::Error,
                "nothing was tested: no fault struck anything that it held or needed (if that is what is meant, expect `not_affected: true`)"
            )
        );
    }
    let fact = |story, fact: bool| {
        let told = told(story, "bystander", Check::new("not_affected", fact));
        (told.verdict, told.actual)
    };
    let answered = "true (every request was answered)".to_owned();
    assert_eq!(
        fact(stories::unaffected(), true),
        (Verdict::Pass, answered.clone())
    );
    assert_eq!(
        fact(stories::unaffected(), false),
        (Verdict::Fail, answered)
    );
    // A dial that met the dead node is enough.
    let (verdict, actual) = fact(stories::dials_the_dead(), true);
    assert_eq!(verdict, Verdict::Fail, "{actual}");
    assert!(actual.starts_with("false ("), "{actual}");
}

#[test]
fn never_is_told_of_a_case_alone_that_is_long_enough_for_it() {
    // The case lasts 51 s after its fault.
    let told = |max: f64| {
        let mut story = stories::never_recovers();
        let client = story.case.lab.clients[0].name.clone();
        story.case.predictions.clear();
        let window = Some((20.0, max));
        story.predict(&client, window, window, Cause::RetransmissionTimeout);
        let recovered = told(story, &client, Check::new("recovered", TimeWindow::Never));
        (recovered.verdict, recovered.actual)
    };
    assert_eq!(told(40.0).0, Verdict::Pass);
    let (verdict, actual) = told(900.0);
    assert_eq!(verdict, Verdict::Error);
    assert!(
        actual.starts_with("nothing was tested: the case ends 51.0 s after the fault, before"),
        "{actual}"
    );
}

#[test]
fn a_struck_client_is_affected() {
    let fact = |fact: bool| verdict(stories::a1(), Check::new("not_affected", fact));
    assert_eq!(fact(true), Verdict::Fail);
    assert_eq!(fact(false), Verdict::Pass);
}

#[test]
fn who_held_nothing_that_was_struck_and_then_dials_the_dead_is_struck_by_that() {
    let told = told(
        stories::dials_the_dead(),
        "bystander",
        Check::new("cause", vec![Cause::DialTimeout]),
    );
    assert_eq!(told.verdict, Verdict::Pass);
    insta::assert_snapshot!(
        told.actual,
        @"dial_timeout (DialTimeout: 1 SYN unanswered for 5.0 s)"
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
        Check::new("recovered", TimeWindow::Never),
        Check::new("requests_failed", none),
        Check::new("dials", none),
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
        told(story, "idler", Check::new("recovered", TimeWindow::Never)).verdict
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
    let told = told(story, "idler", Check::new("detected", TimeWindow::Never));
    assert_eq!(told.verdict, Verdict::Pass, "{}", told.actual);
}

#[test]
fn an_unknown_cause_says_what_is_missing() {
    let told = told(
        stories::no_tcp_info(),
        "standby",
        Check::new("cause", vec![Cause::RetransmissionTimeout]),
    );
    assert_eq!(told.verdict, Verdict::Fail);
    assert_eq!(
        told.actual,
        "unknown (ETIMEDOUT, and the socket's TCP_INFO is missing)"
    );
}

#[test]
fn the_longest_time_without_a_response_is_a_client_s_or_a_workload_s() {
    let a1 = || {
        let mut story = stories::a1();
        story.case.expectations.clear();
        story
    };
    let check = |window| Check::new("longest_without_response", window);
    let longest = judge(&a1().end()).clients[0].longest_without_response;
    let longest = longest.expect("it asks all the time");
    assert!(longest > seconds(924.0), "{longest:?}");
    let within = |longest| TimeWindow::Within(longest);
    let too_short = within(longest - seconds(1.0));
    assert_eq!(verdict(a1(), check(within(longest))), Verdict::Pass);
    assert_eq!(verdict(a1(), check(too_short)), Verdict::Fail);
    let of_workload = |window| {
        let mut story = a1();
        story.expect("standby", check(window), "  x: y", "x");
        let workload = story.case.lab.clients[0].workloads.iter().next();
        story.case.expectations[0].workload = workload.map(|work| work.name.clone());
        judge(&story.end()).expectations.swap_remove(0)
    };
    assert_eq!(of_workload(within(longest)).verdict, Verdict::Pass);
    assert_eq!(of_workload(too_short).verdict, Verdict::Fail);
}

#[test]
fn what_fails_on_a_machine_that_was_too_slow_is_an_error_and_what_holds_holds() {
    let judged = |late: bool, window| {
        let mut story = stories::a1();
        if late {
            let longest_us = 120_000;
            story.event(900.0, Observation::Lateness { longest_us });
        }
        told(story, "standby", Check::new("recovered", window))
    };
    assert_eq!(judged(false, between(940.0, 1050.0)).verdict, Verdict::Fail);
    let doubted = judged(true, between(940.0, 1050.0));
    assert_eq!(doubted.verdict, Verdict::Error);
    assert!(
        doubted.actual.contains("waited 120 ms"),
        "{}",
        doubted.actual
    );
    assert_eq!(judged(true, between(924.0, 1050.0)).verdict, Verdict::Pass);
}

#[test]
fn a_case_that_failed_on_a_machine_that_was_too_slow_could_not_be_run() {
    let mut story = stories::a1();
    story.case.expectations.clear();
    story.expect(
        "standby",
        Check::new("recovered", between(940.0, 1050.0)),
        "  x: y",
        "x",
    );
    story.event(900.0, Observation::Lateness { longest_us: 50_000 });
    let case = judge(&story.end());
    assert_eq!(case.verdict, Verdict::Error);
    let reason = case.reason.expect("a reason").text;
    assert!(reason.contains("a machine that was too slow"), "{reason}");
}
