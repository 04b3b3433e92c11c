//! What must hold after a case, from `expect` and what `expect_when` puts in its place.

use super::repetition::{self, QuantileExpectation};
use super::{Cause, Check, CountWindow, Expectation, Location, TimeWindow};
use crate::scenario::model::{
    Bounds, CountWindowSpec, ExpectSpec, ExpectWhenSpec, ExpectWorkloadSpec, Named, OneOrList,
    Spanned, TimeWindowSpec,
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
            for found in checks(spec) {
                put(&mut all, client, None, found, locate);
            }
            for (_, workload, own) in given(&spec.workloads).into_iter().flat_map(Named::iter) {
                for found in checks_of_workload(own) {
                    put(&mut all, client, Some(workload), found, locate);
                }
            }
        }
    }
    all
}

/// Adds an expectation. The later of two on the same counts, in the earlier one's place.
fn put(
    all: &mut Vec<(Span, Expectation)>,
    client: &str,
    workload: Option<&str>,
    (span, field, check, words): Found,
    locate: &dyn Fn(Span) -> Location,
) {
    let subject = match workload {
        None => client.to_owned(),
        Some(workload) => format!("{client}.workloads.{workload}"),
    };
    let expectation = Expectation {
        client: client.to_owned(),
        workload: workload.map(str::to_owned),
        check,
        text: format!("{subject}.{field}: {words}"),
        location: locate(span),
    };
    let same = |(_, e): &(Span, Expectation)| {
        e.client == client
            && e.workload.as_deref() == workload
            && std::mem::discriminant(&e.check) == std::mem::discriminant(&expectation.check)
    };
    match all.iter().position(same) {
        Some(at) => all[at] = (span, expectation),
        None => all.push((span, expectation)),
    }
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
    [
        time(&spec.recovered, "recovered", Check::Recovered),
        time(&spec.detected, "detected", Check::Detected),
        count(
            &spec.requests_failed,
            "requests_failed",
            Check::RequestsFailed,
        ),
        count(&spec.dials, "dials", Check::Dials),
        cause(&spec.cause),
        count(&spec.healthy_cuts, "healthy_cuts", Check::HealthyCuts),
        time(&spec.leads, "leads", Check::Leads),
        time(&spec.two_leaders, "two_leaders", Check::TwoLeaders),
        time(&spec.not_ready, "not_ready", Check::NotReady),
        time(&spec.ready_again, "ready_again", Check::ReadyAgain),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn checks_of_workload(spec: &ExpectWorkloadSpec) -> Vec<Found> {
    [
        time(&spec.recovered, "recovered", Check::Recovered),
        time(&spec.detected, "detected", Check::Detected),
        count(
            &spec.requests_failed,
            "requests_failed",
            Check::RequestsFailed,
        ),
        cause(&spec.cause),
        count(&spec.healthy_cuts, "healthy_cuts", Check::HealthyCuts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn time(
    field: &Option<Spanned<TimeWindowSpec>>,
    name: &'static str,
    check: fn(TimeWindow) -> Check,
) -> Option<Found> {
    let window = time_window(given(field)?)?;
    let span = field.as_ref()?.span;
    Some((span, name, check(window), window.to_string()))
}

fn count(
    field: &Option<Spanned<CountWindowSpec>>,
    name: &'static str,
    check: fn(CountWindow) -> Check,
) -> Option<Found> {
    let (window, words) = count_window(given(field)?)?;
    Some((field.as_ref()?.span, name, check(window), words))
}

fn cause(field: &Option<Spanned<OneOrList<Cause>>>) -> Option<Found> {
    let found = given(field)?.0.iter().filter_map(Spanned::get);
    let causes: Vec<Cause> = found.copied().collect();
    let words: Vec<String> = causes.iter().map(Cause::to_string).collect();
    let check = Check::Cause(causes);
    Some((field.as_ref()?.span, "cause", check, words.join(" or ")))
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
