//! What was expected, what came of it, by how much it was missed, and which line of the scenario said so.

use maud::{Markup, html};

use super::text::{line, plain, verdict};
use crate::result::{ExpectationResult, Verdict};

/// Characters of a line that are shown before what is marked, and after it.
const AROUND: usize = 60;

/// The table of a case's expectations; those that failed first.
pub(super) fn expectations(all: &[ExpectationResult], reason: Option<&str>) -> Markup {
    if all.is_empty() {
        return html! { p class="small" { "Nothing was expected of it." } };
    }
    let mut sorted: Vec<&ExpectationResult> = all.iter().collect();
    sorted.sort_by_key(|expectation| match expectation.verdict {
        Verdict::Fail => 0,
        Verdict::Error => 1,
        Verdict::Skipped => 2,
        Verdict::Pass | Verdict::Measured => 3,
    });
    html! {
        table class="expectations cards" role="table" {
            caption class="hidden" { "Expectations" }
            thead {
                tr role="row" {
                    th scope="col" role="columnheader" { "verdict" }
                    th scope="col" role="columnheader" { "expectation" }
                    th scope="col" role="columnheader" { "measured" }
                    th scope="col" role="columnheader" { "missed by" }
                    th scope="col" role="columnheader" { "where it stands" }
                }
            }
            tbody {
                @for expectation in sorted { (row(expectation, reason)) }
            }
        }
    }
}

fn row(expectation: &ExpectationResult, reason: Option<&str>) -> Markup {
    // Why nothing could be judged stands above all of them.
    let not_judged =
        reason.is_some_and(|reason| expectation.actual == format!("not judged: {reason}"));
    let actual = if not_judged {
        "not judged"
    } else {
        &expectation.actual
    };
    let said = expectation.text.contains(&expectation.expected);
    html! {
        tr role="row" class=(expectation.verdict) {
            td role="cell" { (verdict(expectation.verdict)) }
            th role="rowheader" scope="row" {
                (line(&expectation.text))
                @if !said { span class="small" { "expected " (line(&expectation.expected)) } }
            }
            td role="cell" data-label="measured" { (line(actual)) }
            td role="cell" data-label="missed by" { (expectation.missed_by.as_deref().unwrap_or("–")) }
            td role="cell" data-label="where" {
                code { (line(&format!("{}:{}:{}", expectation.file, expectation.line, expectation.column))) }
                @if expectation.verdict != Verdict::Pass { (source(expectation)) }
            }
        }
    }
}

/// The line of the scenario, with what asks for it marked.
fn source(expectation: &ExpectationResult) -> Markup {
    let characters: Vec<char> = expectation.source.chars().collect();
    let first = expectation.column.saturating_sub(1).min(characters.len());
    let last = first
        .saturating_add(expectation.length)
        .min(characters.len());
    let (from, to) = (
        first.saturating_sub(AROUND),
        (last + AROUND).min(characters.len()),
    );
    let part = |from: usize, to: usize| plain(&characters[from..to].iter().collect::<String>());
    html! {
        @if !characters.is_empty() {
            pre class="source" {
                @if from > 0 { "…" }
                (part(from, first).trim_start())
                mark { (part(first, last)) }
                (part(last, to))
                @if to < characters.len() { "…" }
            }
        }
    }
}
