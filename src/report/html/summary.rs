//! The first screen: what the run came to, what failed, and why.

use maud::{Markup, html};

use super::Shown;
use super::sentence;
use super::text::{count, line, name, verdict};
use crate::report::{counts, measured_on};
use crate::result::CaseResult;
use crate::verdict::{RunSummary, Verdict};

/// Cases of one verdict that are told on the first screen.
const TOLD: usize = 12;
/// Outages that are told where nothing failed.
const OUTAGES: usize = 5;

/// What the run came to, in a few words.
pub(super) fn headline(results: &[CaseResult]) -> String {
    let summary = RunSummary::of(results);
    let cases = summary.cases();
    if cases == 0 {
        return String::from("no case was run");
    }
    let of = |number: usize, what: &str| format!("{number} of {} {what}", count(cases, "case"));
    match (summary.failed, summary.errors) {
        (0, 0) if summary.passed == cases && cases == 1 => String::from("the only case passed"),
        (0, 0) if summary.passed == cases => format!("all {cases} cases passed"),
        (0, 0) if summary.passed + summary.measured == 0 => {
            format!("{} skipped", count(cases, "case"))
        }
        (0, 0) => format!("nothing failed in {}", count(cases, "case")),
        (1, 0) if cases == 1 => String::from("the only case failed"),
        (0, 1) if cases == 1 => String::from("the only case could not be run or tested"),
        (0, errors) => of(errors, "could not be run or tested"),
        (failed, 0) => of(failed, "failed"),
        (failed, errors) => format!(
            "{}, {errors} could not be run or tested",
            of(failed, "failed")
        ),
    }
}

/// A sentence begins with a capital letter.
pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.as_str().chars()).collect()
}

/// The first screen.
pub(super) fn summary(results: &[CaseResult], cases: &[Shown]) -> Markup {
    let summary = RunSummary::of(results);
    let numbers = [
        (Verdict::Fail, summary.failed),
        (Verdict::Error, summary.errors),
        (Verdict::Skipped, summary.skipped),
        (Verdict::Measured, summary.measured),
        (Verdict::Pass, summary.passed),
    ];
    let mut on: Vec<String> = results
        .iter()
        .filter(|result| result.kernel.is_some())
        .map(measured_on)
        .collect();
    on.sort();
    on.dedup();
    html! {
        h1 { (capital(&headline(results))) }
        p class="counts" aria-label=(counts(results)) {
            @for (kind, number) in numbers {
                @if number > 0 {
                    button type="button" class="count" data-verdict=(kind) aria-pressed="false" {
                        b { (number) } " " (verdict(kind))
                    }
                }
            }
        }
        p class="on" {
            @if on.is_empty() { "Nothing was measured." }
            @else { "Measured on: " (line(&on.join("; "))) }
        }
        (of_verdict(cases, Verdict::Fail, "What failed, and why"))
        (of_verdict(cases, Verdict::Error, "What could not be run or tested"))
        (of_verdict(cases, Verdict::Skipped, "What was skipped"))
        @if summary.failed + summary.errors == 0 { (outages(cases)) }
    }
}

fn of_verdict(cases: &[Shown], kind: Verdict, title: &str) -> Markup {
    let own: Vec<&Shown> = cases.iter().filter(|c| c.result.verdict == kind).collect();
    let more = own.len().saturating_sub(TOLD);
    html! {
        @if !own.is_empty() {
            section class={ "told " (kind) } {
                h2 { (title) }
                ul {
                    @for shown in own.iter().take(TOLD) {
                        li {
                            a href={ "#" (shown.id) } { (line(&name(shown.result))) }
                            div { (sentence::of_case(shown.result)) }
                        }
                    }
                }
                @if more > 0 { p { "… and " (count(more, "more case")) ", in the table below." } }
            }
        }
    }
}

/// The longest outages, where nothing failed.
fn outages(cases: &[Shown]) -> Markup {
    let mut all: Vec<_> = cases
        .iter()
        .filter_map(|shown| Some((shown, sentence::outage(shown.result)?)))
        .collect();
    all.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    html! {
        @if !all.is_empty() {
            section class="told" {
                h2 { (if all.len() == 1 { "The outage" } else { "The longest outages" }) }
                ul {
                    @for (shown, (_, told)) in all.iter().take(OUTAGES) {
                        li {
                            a href={ "#" (shown.id) } { (line(&name(shown.result))) }
                            div { (told) }
                        }
                    }
                }
            }
        }
    }
}
