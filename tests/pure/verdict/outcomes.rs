//! A broken rig is never a failed expectation, nor the other way round.

use halfopen::plan::Location;
use halfopen::record::{ClockName, Event, Observation};
use halfopen::verdict::{Allowed, CaseResult, Exit, RunSummary, Verdict, judge};

use super::stories;
use super::story::Story;

fn rig_error(text: &str) -> Observation {
    Observation::RigError {
        text: text.to_owned(),
        location: None,
    }
}

fn reason(result: &CaseResult) -> &str {
    result.reason.as_ref().map_or("", |reason| &reason.text)
}

#[test]
fn a_cut_off_record_is_an_error_that_says_what_there_is() {
    let mut record = stories::a2().cut_off();
    record.retain(|event| event.t_ns < 30_000_000_000);
    let result = judge(&record);
    assert_eq!(result.verdict, Verdict::Error);
    assert_eq!(
        reason(&result),
        "the record is cut off (recorded: 23.0 s of 120 s, 1 of 1 faults, 4 requests sent, 3 responses)"
    );
    assert_eq!(result.expectations[0].verdict, Verdict::Error);
    assert_eq!(
        RunSummary::of(&[result]).exit(Allowed::default()),
        Exit::NotRun
    );
}

#[test]
fn every_beginning_of_a_record_is_an_error() {
    let record = stories::a2().end();
    for length in 1..record.len() {
        assert_eq!(
            judge(&record[..length]).verdict,
            Verdict::Error,
            "of the first {length} events"
        );
    }
    assert_eq!(judge(&record).verdict, Verdict::Fail);
}

#[test]
fn a_rig_error_outranks_what_was_measured() {
    let mut story: Story = stories::a2();
    story.event(60.0, rig_error("server aa-2 panicked: no message"));
    let result = judge(&story.cut_off());
    assert_eq!(result.verdict, Verdict::Error);
    assert_eq!(
        reason(&result),
        "server aa-2 panicked: no message (recorded: 60.0 s of 120 s, 1 of 1 faults, 7 requests sent, 6 responses)"
    );
    assert!(
        result
            .expectations
            .iter()
            .all(|e| e.verdict == Verdict::Error)
    );
}

#[test]
fn a_rig_that_broke_before_the_case_tells_only_why() {
    let mut record = stories::a2().cut_off();
    record.truncate(1);
    record.push(Event {
        t_ns: 0,
        what: rig_error("failed to start the lab process: no such file"),
    });
    assert_eq!(
        reason(&judge(&record)),
        "failed to start the lab process: no such file"
    );
}

#[test]
fn a_skipped_case_says_what_is_missing_and_where_it_was_asked_for() {
    let mut record = stories::a2().cut_off();
    record.truncate(1);
    let location = Some(Location {
        file: "a.yaml".to_owned(),
        line: 3,
        column: 5,
        ..Location::default()
    });
    let missing = "netem on Linux 6.18.5".to_owned();
    record.push(Event {
        t_ns: 0,
        what: Observation::Skipped { missing, location },
    });
    let result = judge(&record);
    assert_eq!(
        (result.verdict, reason(&result)),
        (Verdict::Skipped, "netem on Linux 6.18.5")
    );
    assert_eq!(
        result.reason.and_then(|r| r.place()).as_deref(),
        Some("a.yaml:3:5")
    );
    assert_eq!(result.expectations[0].verdict, Verdict::Skipped);
}

#[test]
fn a_fault_that_never_came_tested_nothing() {
    let mut record = stories::unaffected().end();
    record.retain(|event| !matches!(event.what, Observation::FaultInjected { .. }));
    let result = judge(&record);
    assert_eq!(result.verdict, Verdict::Error);
    assert_eq!(reason(&result), "power_loss of node3 never came into force");
}

#[test]
fn a_record_without_its_case_is_an_error() {
    let record = stories::a2().end();
    assert_eq!(judge(&record[1..]).verdict, Verdict::Error);
    assert_eq!(judge(&[]).verdict, Verdict::Error);
}

#[test]
fn a_case_that_expects_nothing_only_measures() {
    let result = judge(&stories::a1().end());
    assert_eq!(result.verdict, Verdict::Measured);
    assert!(result.clients[0].recovered_after.is_some());
}

#[test]
fn a_case_that_could_not_be_started_has_a_result() {
    let result = CaseResult::not_run(&stories::a2().case, ClockName::Virtual, "no kernel");
    assert_eq!(
        (result.verdict, reason(&result)),
        (Verdict::Error, "no kernel")
    );
    assert_eq!(result.expectations[0].actual, "not judged: no kernel");
    assert_eq!(result.faults[0].at, None);
}

#[test]
fn a_measurement_outside_its_prediction_is_a_warning_and_no_failure() {
    let mut story = stories::a1_expected();
    story.case.predictions[0].recovery = Some(halfopen::plan::Window {
        min: super::story::seconds(924.6),
        max: super::story::seconds(930.0),
    });
    let result = judge(&story.end());
    assert_eq!(result.verdict, Verdict::Pass);
    assert!(result.clients[0].outside_prediction);
    let warnings: Vec<_> = result.warnings.iter().map(|w| w.text.as_str()).collect();
    assert_eq!(
        warnings,
        ["standby: recovered after 939.3 s, outside the prediction: 924.6 s to 930.0 s"]
    );
}

/// What the model does not know, and what the case was too short for, contradicts nothing.
#[test]
fn an_open_prediction_is_not_contradicted() {
    let outside = |detection, cause, mut story: Story| {
        let client = story.case.lab.clients[0].name.clone();
        story.case.predictions.clear();
        story.predict(&client, detection, None, cause);
        judge(&story.end()).clients[0].outside_prediction
    };
    let kernel = halfopen::plan::Cause::RetransmissionTimeout;
    let unknown = halfopen::plan::Cause::Unknown;
    // The case lasts 51 s after its fault.
    assert!(!outside(
        Some((40.0, 900.0)),
        kernel,
        stories::never_recovers()
    ));
    assert!(outside(
        Some((40.0, 50.0)),
        kernel,
        stories::never_recovers()
    ));
    assert!(!outside(None, unknown, stories::never_recovers()));
}

#[test]
fn a_measurement_just_outside_its_prediction_is_shown_with_all_its_digits() {
    let mut story = stories::a1_expected();
    story.case.predictions[0].recovery = Some(halfopen::plan::Window {
        min: super::story::seconds(924.6),
        max: super::story::seconds(939.31),
    });
    let warnings = judge(&story.end()).warnings;
    assert_eq!(
        warnings[0].text,
        "standby: recovered after 939.312 s, outside the prediction: 924.6 s to 939.31 s"
    );
}
