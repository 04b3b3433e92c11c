//! What must hold of every record, whatever is missing from it.

use std::collections::HashMap;

use halfopen::plan::{Case, Cause, Check, TimeWindow};
use halfopen::record::{Event, Observation};
use halfopen::verdict::result::Passing;
use halfopen::verdict::{Outcome, Verdict, judge, measure};
use proptest::prelude::*;

use super::stories;
use super::story::seconds;

fn without(record: &[Event], index: usize) -> Vec<Event> {
    let mut record = record.to_vec();
    record.remove(index);
    record
}

/// Every record of the stories, and every one with one event missing.
fn each_removal(mut check: impl FnMut(&str, &[Event], &Event, &[Event])) {
    let mut tried = 0;
    for (name, record) in stories::all() {
        for index in 0..record.len() {
            check(&name, &record, &record[index], &without(&record, index));
            tried += 1;
        }
    }
    assert!(tried > 500, "only {tried} removals");
}

#[test]
fn a_missing_event_invents_no_recovery() {
    each_removal(|name, whole, missing, rest| {
        let Some(measured) = measure(rest).filter(|m| m.outcome == Outcome::Whole) else {
            return;
        };
        let before = measure(whole).expect("a story begins with its case");
        for (client, was) in measured.clients.iter().zip(&before.clients) {
            let Some(recovered) = client.recovered_after else {
                continue;
            };
            let was = was.recovered_after;
            assert!(
                was.is_some_and(|was| recovered >= was),
                "{name} without {missing:?}: {was:?} became {recovered:?}"
            );
        }
    });
}

#[test]
fn a_missing_event_turns_no_failed_window_into_a_pass() {
    each_removal(|name, whole, missing, rest| {
        let (whole, rest) = (judge(whole), judge(rest));
        for (was, is) in whole.expectations.iter().zip(&rest.expectations) {
            let turned = was.verdict == Verdict::Fail
                && is.verdict == Verdict::Pass
                && was.text.contains("within");
            assert!(
                !turned,
                "{name} without {missing:?}: {}: {}",
                is.text, is.actual
            );
        }
    });
}

#[test]
fn a_missing_event_makes_no_other_cause() {
    each_removal(|name, whole, missing, rest| {
        let Some(measured) = measure(rest).filter(|m| m.outcome == Outcome::Whole) else {
            return;
        };
        let before = measure(whole).expect("a story begins with its case");
        for (client, was) in measured.clients.iter().zip(&before.clients) {
            let (is, was) = (client.cause, was.cause);
            let honest = is == was || is == Some(Cause::Unknown);
            assert!(honest, "{name} without {missing:?}: {was:?} became {is:?}");
        }
    });
}

/// The same, for the causes of all connections: evidence taken out of an end makes it unknown.
#[test]
fn evidence_taken_out_of_an_end_makes_it_unknown() {
    for story in [
        stories::a1(),
        stories::keepalive_ends(),
        stories::user_timeout_ends(),
    ] {
        let mut story = story;
        let mut record = story.end();
        for event in &mut record {
            if let Observation::ConnectionClosed { end, .. } = &mut event.what {
                end.tcp_info = None;
            }
        }
        let cause = judge(&record).clients[0].cause;
        assert_eq!(cause, Some(Cause::Unknown), "{}", story.case.scenario);
    }
}

fn with_window(record: &[Event], window: TimeWindow) -> Vec<Event> {
    let mut record = record.to_vec();
    if let Some(Event {
        what: Observation::CaseStarted { case, .. },
        ..
    }) = record.first_mut()
    {
        let case: &mut Case = case;
        for expectation in &mut case.expectations {
            expectation.check = Check::new("recovered", window);
        }
    }
    record
}

proptest! {
    #[test]
    fn any_part_of_a_record_in_any_order_is_judged(
        story in 0..stories::all().len(),
        kept in proptest::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let record = &stories::all()[story].1;
        let part: Vec<Event> = kept.iter().map(|index| index.get(record).clone()).collect();
        let result = judge(&part);
        let ended = part.iter().any(|event| matches!(event.what, Observation::CaseEnded {}));
        prop_assert!(ended || result.verdict == Verdict::Error);
        // And every format can write it.
        for format in halfopen::report::formats() {
            prop_assert!((format.new)().write(std::slice::from_ref(&result), &mut std::io::sink()).is_ok());
        }
    }

    #[test]
    fn a_window_holds_exactly_where_the_measurement_lies(
        story in 0..stories::all().len(),
        least in 0.0..1000.0_f64,
        width in 0.0..1000.0_f64,
    ) {
        let (min, max) = (seconds(least), seconds(least + width));
        let record = with_window(&stories::all()[story].1, TimeWindow::Between(min, max));
        let result = judge(&record);
        let times: HashMap<_, _> = result.clients.iter().map(|c| (c.name.as_str(), c)).collect();
        for expectation in &result.expectations {
            let client = times[expectation.client.as_str()];
            let inside = client.recovered_after.is_some_and(|time| time >= min && time <= max);
            let expected = match (client.gone, client.passing(), inside) {
                (true, ..) => Verdict::Skipped,
                // Nothing was tested of it.
                (false, Passing::By, _) => Verdict::Error,
                (false, _, true) => Verdict::Pass,
                (false, _, false) => Verdict::Fail,
            };
            prop_assert_eq!(expectation.verdict, expected);
        }
    }
}
