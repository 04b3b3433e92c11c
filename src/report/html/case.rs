//! What a case shows when it is opened.

use std::path::Path;
use std::time::Duration;

use maud::{Markup, html};

use super::text::{count, line};
use super::{Shown, client, distribution, expectations, sentence, timeline, witnesses};
use crate::report::figures::{has_figures, lines};
use crate::result::{CaseResult, ClientResult, Note, Passing, Verdict};

/// Clients that are shown whole; the others have a line each.
const CLIENTS: usize = 12;

/// All of it.
pub(super) fn case(shown: Shown, all: &[CaseResult], folder: Option<&Path>) -> Markup {
    let result = shown.result;
    html! {
        p class="about" {
            span { (line(&witnesses::about(result))) }
            a class="link" href={ "#" (shown.id) } { "link to this case" }
            (witnesses::files(result, folder))
        }
        @if let Some(description) = &result.description { p class="description" { (line(&words(description))) } }
        @if let Some(reason) = &result.reason { (note(reason)) }
        @for fault in &result.faults { p class="fault" { (line(&fault.to_string())) } }
        (expectations::expectations(&result.expectations, result.reason.as_ref().map(|reason| reason.text.as_str())))
        @let lines = lines(result);
        @if !lines.is_empty() { ul { @for told in &lines { li { (line(told)) } } } }
        @for warning in &result.warnings { (note(warning)) }
        @if !result.distributions.is_empty() { (distribution::distributions(result, all)) }
        @if has_figures(result) { (clients(result)) }
        @if result.distributions.is_empty() { (witnesses::witnesses(result)) }
    }
}

fn note(note: &Note) -> Markup {
    html! {
        p class="note" {
            (line(&note.text))
            @if let Some(place) = note.place() { " (" code { (line(&place)) } ")" }
        }
    }
}

/// The clients, those that fared worst first.
fn clients(result: &CaseResult) -> Markup {
    let mut sorted: Vec<&ClientResult> = result.clients.iter().collect();
    sorted.sort_by_key(|client| std::cmp::Reverse(rank(client, result)));
    let scale = timeline::view(result);
    html! {
        (timeline::legend())
        @for client in sorted.iter().take(CLIENTS) { (client::client(client, result, scale)) }
        @if sorted.len() > CLIENTS {
            details {
                summary { (count(sorted.len() - CLIENTS, "more client")) }
                ul {
                    @for client in sorted.iter().skip(CLIENTS) {
                        li { b { (line(&client.name)) } ": " (line(&sentence::outcome(client, result))) }
                    }
                }
            }
        }
    }
}

/// How badly a client fared.
fn rank(client: &ClientResult, result: &CaseResult) -> (bool, bool, Duration) {
    let failed = result.verdict_on(&client.name) == Some(Verdict::Fail);
    let out = !client.gone && client.fault_at.is_some() && client.passing() != Passing::By;
    let recovered = client.recovered_after.unwrap_or(Duration::MAX);
    (failed, out, if out { recovered } else { Duration::ZERO })
}

/// A text that was folded over lines, in one.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
