//! What must hold after a case, from `expect` and what `expect_when` puts in its place.

use std::time::Duration;

use super::repetition::{self, QuantileExpectation};
use super::{Check, CountWindow, Expectation, Location, TimeWindow};
use crate::scenario::model::{
    Bounds, CountWindowSpec, ExpectSpec, ExpectWhenSpec, Named, OneOrList, Spanned, TimeWindowSpec,
};
use crate::scenario::{Span, Variant, given};

/// What is expected of all repetitions of a case together. What `expect_when` says of a client comes in place of the rest.
pub(super) fn of_all(
    variant: &Variant,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<QuantileExpectation> {
    let mut all: Vec<QuantileExpectation> = Vec::new();
    for expect in blocks(variant) {
        for (_, client, spec) in expect.iter() {
            for expectation in repetition::of(client, spec, locate) {
                let same = |e: &QuantileExpectation| {
                    e.client == client
                        && e.of == expectation.of
                        && e.quantile == expectation.quantile
                };
                match all.iter().position(same) {
                    Some(at) => all[at] = expectation,
                    None => all.push(expectation),
                }
            }
        }
    }
    all
}

/// `expect`, and what of `expect_when` applies.
fn blocks(variant: &Variant) -> impl Iterator<Item = &Named<ExpectSpec>> {
    let always = given(&variant.scenario.expect);
    let when = given(&variant.scenario.expect_when).into_iter().flatten();
    let when = when
        .filter_map(Spanned::get)
        .filter(|entry| applies(entry, variant));
    always
        .into_iter()
        .chain(when.filter_map(|entry| entry.expect.get()))
}

/// The expectations of a case, each with its place in the file.
pub(super) fn of(variant: &Variant, locate: &dyn Fn(Span) -> Location) -> Vec<(Span, Expectation)> {
    let mut all: Vec<(Span, Expectation)> = Vec::new();
    for expect in blocks(variant) {
        for (_, client, spec) in expect.iter() {
            for (span, field, check, words) in checks(spec) {
                // The later one counts, in the earlier one's place.
                let expectation = Expectation {
                    client: client.to_owned(),
                    check,
                    text: format!("{client}.{field}: {words}"),
                    location: locate(span),
                };
                let same = |e: &(Span, Expectation)| {
                    e.1.client == client
                        && std::mem::discriminant(&e.1.check)
                            == std::mem::discriminant(&expectation.check)
                };
                match all.iter().position(same) {
                    Some(at) => all[at] = (span, expectation),
                    None => all.push((span, expectation)),
                }
            }
        }
    }
    all
}

/// Whether an entry's matrix values are all among those of the case.
pub(super) fn applies(entry: &ExpectWhenSpec, variant: &Variant) -> bool {
    let conditions = entry.matrix.get().into_iter().flat_map(|m| m.iter());
    conditions.into_iter().all(|(_, key, OneOrList(wanted))| {
        let value = variant
            .values
            .iter()
            .find(|(path, label, _)| path == key || label == key);
        value.is_some_and(|(_, _, value)| {
            wanted
                .iter()
                .any(|w| w.get().is_some_and(|w| w.0 == *value))
        })
    })
}

type Found = (Span, &'static str, Check, String);

fn checks(spec: &ExpectSpec) -> Vec<Found> {
    let time = |field: &Option<Spanned<TimeWindowSpec>>, name, check: fn(TimeWindow) -> Check| {
        let window = time_window(given(field)?)?;
        Some((
            field.as_ref()?.span,
            name,
            check(window),
            time_words(window),
        ))
    };
    let count =
        |field: &Option<Spanned<CountWindowSpec>>, name, check: fn(CountWindow) -> Check| {
            let (window, words) = count_window(given(field)?)?;
            Some((field.as_ref()?.span, name, check(window), words))
        };
    let cause = spec.cause.as_ref().and_then(|field| {
        let causes: Vec<_> = field
            .get()?
            .0
            .iter()
            .filter_map(Spanned::get)
            .copied()
            .collect();
        let words: Vec<String> = causes.iter().map(|c| c.to_string()).collect();
        Some((
            field.span,
            "cause",
            Check::Cause(causes),
            words.join(" or "),
        ))
    });
    [
        time(&spec.recovered, "recovered", Check::Recovered),
        time(&spec.detected, "detected", Check::Detected),
        count(
            &spec.requests_failed,
            "requests_failed",
            Check::RequestsFailed,
        ),
        count(&spec.dials, "dials", Check::Dials),
        cause,
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn time_window(spec: &TimeWindowSpec) -> Option<TimeWindow> {
    Some(match spec {
        TimeWindowSpec::Never => TimeWindow::Never,
        TimeWindowSpec::Within(time) => TimeWindow::Within(time.0),
        TimeWindowSpec::AtLeast(time) => TimeWindow::AtLeast(time.0),
        TimeWindowSpec::Between(Bounds(bounds)) => match bounds.as_slice() {
            [min, max] => TimeWindow::Between(min.get()?.0, max.get()?.0),
            _ => return None,
        },
    })
}

pub(super) fn time_words(window: TimeWindow) -> String {
    let time = |t: Duration| humantime::format_duration(t).to_string().replace(' ', "");
    match window {
        TimeWindow::Never => "never".to_owned(),
        TimeWindow::Within(max) => format!("within {}", time(max)),
        TimeWindow::AtLeast(min) => format!("at least {}", time(min)),
        TimeWindow::Between(min, max) => format!("between {} and {}", time(min), time(max)),
    }
}

fn count_window(spec: &CountWindowSpec) -> Option<(CountWindow, String)> {
    let window = |min, max| CountWindow { min, max };
    Some(match spec {
        CountWindowSpec::AtMost(n) => (window(0, Some(*n)), format!("at most {n}")),
        CountWindowSpec::AtLeast(n) => (window(*n, None), format!("at least {n}")),
        CountWindowSpec::Exactly(n) => (window(*n, Some(*n)), format!("exactly {n}")),
        CountWindowSpec::Between(Bounds(bounds)) => match bounds.as_slice() {
            [min, max] => {
                let (min, max) = (*min.get()?, *max.get()?);
                (window(min, Some(max)), format!("between {min} and {max}"))
            }
            _ => return None,
        },
    })
}
