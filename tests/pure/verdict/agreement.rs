//! Two clocks, one answer.

use std::time::Duration;

use halfopen::plan::{Case, Cause};
use halfopen::verdict::result::CaseResult;
use halfopen::verdict::{Verdict, compare, judge};

use super::stories;
use super::story::Story;

fn case_and_result(mut story: Story) -> (Case, CaseResult) {
    let record = story.end();
    (story.case, judge(&record))
}

/// What the comparison says of the only client when the other clock's result was changed by `change`.
fn compared(change: impl FnOnce(&mut CaseResult)) -> (Verdict, Verdict, String) {
    let (case, real) = case_and_result(stories::a1_expected());
    let mut other = real.clone();
    change(&mut other);
    compare(&case, &real, &mut other);
    let last = other.expectations.last().expect("the comparison's own");
    assert!(last.text.ends_with("both clocks agree"), "{}", last.text);
    (other.verdict, last.verdict, last.actual.clone())
}

#[test]
fn the_same_result_agrees() {
    let (case, verdict, _) = compared(|_| {});
    assert_eq!((case, verdict), (Verdict::Pass, Verdict::Pass));
}

#[test]
fn a_pause_of_the_workload_explains_a_difference_and_more_does_not() {
    let later = |by: f64| {
        compared(move |result| {
            let client = &mut result.clients[0];
            client.detected_after = client
                .detected_after
                .map(|t| t + Duration::from_secs_f64(by));
            client.recovered_after = client
                .recovered_after
                .map(|t| t + Duration::from_secs_f64(by));
        })
    };
    let pause = stories::a1().case.lab.clients[0]
        .workloads
        .longest_pause()
        .as_secs_f64();
    assert_eq!(later(pause).1, Verdict::Pass);
    let (case, verdict, actual) = later(pause + 0.2);
    assert_eq!((case, verdict), (Verdict::Fail, Verdict::Fail), "{actual}");
    assert!(actual.contains("are explained"), "{actual}");
}

#[test]
fn another_cause_never_agrees() {
    let (_, verdict, actual) = compared(|result| result.clients[0].cause = Some(Cause::Keepalive));
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        actual.contains("the cause is retransmission_timeout and keepalive"),
        "{actual}"
    );
}

#[test]
fn a_recovery_on_one_clock_only_never_agrees() {
    let (_, verdict, actual) = compared(|result| result.clients[0].recovered_after = None);
    assert_eq!(verdict, Verdict::Fail);
    assert!(actual.contains("recovered on one of them only"), "{actual}");
}

#[test]
fn other_dice_are_said_and_not_held_against_the_recovery() {
    let (_, verdict, actual) = compared(|result| {
        let client = &mut result.clients[0];
        client.recovered_after = client.recovered_after.map(|t| t + Duration::from_secs(40));
        let dialled = client
            .connections
            .last_mut()
            .expect("the dial after the fault");
        dialled.endpoint = Some("another".to_owned());
    });
    assert_eq!(verdict, Verdict::Pass);
    assert!(
        actual.contains("the dials met different endpoints"),
        "{actual}"
    );
}

#[test]
fn a_broken_rig_is_not_a_disagreement() {
    let (case, real) = case_and_result(stories::a1_expected());
    let mut broken = CaseResult::not_run(&case, halfopen::record::ClockName::Virtual, "no kernel");
    compare(&case, &real, &mut broken);
    assert_eq!(broken.verdict, Verdict::Error);
}
