//! What failed and why, in a sentence or two: the page's first screen.

use std::time::Duration;

use maud::{Markup, html};

use super::text::{count, line, time};
use crate::plan::Cause;
use crate::plan::units::measured;
use crate::report::figures::{Figures, to_tell};
use crate::result::{
    CaseResult, ClientResult, ExpectationResult, PartKind, Passing, Verdict, word,
};

/// Failed expectations of a case that are told one by one.
const TOLD: usize = 3;
/// Characters of a reason that are told on the first screen.
const SHORT: usize = 260;

/// Why a case did not pass: what was expected, what came, and what took so long.
pub(super) fn of_case(result: &CaseResult) -> Markup {
    let failed = to_tell(result);
    let clients = failed.iter().filter_map(|e| result.client(&e.client));
    let mut explained: Vec<&ClientResult> = Vec::new();
    for client in clients {
        if explained.iter().all(|other| other.name != client.name) && explained.len() < TOLD {
            explained.push(client);
        }
    }
    html! {
        @if let (true, Some(reason)) = (failed.is_empty(), &result.reason) { (line(&short(&reason.text))) "." }
        @for expectation in failed.iter().take(TOLD) { (of_expectation(expectation)) " " }
        @if failed.len() > TOLD { "And " (count(failed.len() - TOLD, "other expectation")) " failed. " }
        @for client in explained {
            @if let Some(why) = why(client) { (line(&why)) " " }
            @if let Some(shorter) = shorter(result, client) {
                span class="hint" { "Shorter, by the model: " (line(&shorter)) ". " }
            }
        }
    }
}

/// A sentence of the first screen; the case has the whole of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// What was expected, and what came.
fn of_expectation(expectation: &ExpectationResult) -> Markup {
    let ExpectationResult {
        expected, actual, ..
    } = expectation;
    html! {
        b { (line(&expectation.text)) }
        @match expectation.verdict {
            Verdict::Fail => {
                ": measured " (line(actual))
                @if let Some(missed) = &expectation.missed_by { ", " b { (missed) } }
                @else if !expectation.text.contains(expected.as_str()) {
                    ", expected " (line(expected))
                }
                "."
            }
            Verdict::Pass | Verdict::Error | Verdict::Skipped | Verdict::Measured => {
                ": " (line(actual)) "."
            }
        }
    }
}

/// What of a client's outage took longest, and what ended it.
pub(super) fn why(client: &ClientResult) -> Option<String> {
    let parts: Duration = client.parts.iter().map(|part| part.lasted()).sum();
    let whole = client.unexplained? + parts;
    let (kind, sum) = longest(client)?;
    let share = match whole.is_zero() {
        true => 100.0,
        false => 100.0 * sum.as_secs_f64() / whole.as_secs_f64(),
    };
    // Nearly all is not all.
    let share = match share {
        99.5..99.95 => format!("{share:.1}"),
        share => format!("{share:.0}"),
    };
    let ended = match (kind, client.cause) {
        (PartKind::DeadConnection, Some(Cause::Never)) => String::from(", which nothing ended"),
        (PartKind::DeadConnection, Some(Cause::Unknown) | None) => String::new(),
        (PartKind::DeadConnection, Some(cause)) => format!(", ended by {}", word(&cause)),
        (
            PartKind::EndpointRemoval
            | PartKind::DeadDial
            | PartKind::Handshake
            | PartKind::Response
            | PartKind::Backoff
            | PartKind::LiveConnection,
            _,
        ) => String::new(),
    };
    let how_long = match client.recovered_after {
        Some(after) => format!("out for {}", measured(after)),
        None => format!("out for {} until the case's end", measured(whole)),
    };
    Some(format!(
        "{} was {how_long}, {share} % of it {}{ended}.",
        client.name,
        kind.meaning()
    ))
}

/// The kind of part that took longest of a client's outage.
fn longest(client: &ClientResult) -> Option<(PartKind, Duration)> {
    let mut sums: Vec<(PartKind, Duration)> = Vec::new();
    for part in &client.parts {
        match sums.iter_mut().find(|(kind, _)| *kind == part.kind) {
            Some((_, sum)) => *sum += part.lasted(),
            None => sums.push((part.kind, part.lasted())),
        }
    }
    sums.into_iter().max_by_key(|(_, sum)| *sum)
}

/// The change that would have shortened a client's outage most.
fn shorter(result: &CaseResult, client: &ClientResult) -> Option<String> {
    let history = result.history.as_ref()?;
    // Of who failed in something else than a time or a number a shorter outage is no help.
    let mut missed = to_tell(result)
        .into_iter()
        .filter(|e| e.client == client.name);
    let too_long = missed.any(|e| e.missed_by.is_some()) || client.recovered_after.is_none();
    let told = history.clients.iter().find(|c| c.name == client.name)?;
    let first = told.shorter.first()?;
    let refused = ["would", "not known", "none of"];
    let tells = !refused.iter().any(|words| first.starts_with(words));
    (tells && too_long).then(|| first.clone())
}

/// What became of a client, where the record is not there to tell it better.
pub(super) fn outcome(client: &ClientResult, result: &CaseResult) -> String {
    if client.gone {
        return String::from("gone: its own node lost power, or it was killed");
    }
    if client.fault_at.is_none() {
        return String::from("no fault came into force");
    }
    if client.passing() == Passing::By {
        return String::from("not affected");
    }
    let figures = Figures::of(client, result);
    let recovered = match client.recovered_after {
        Some(after) => format!("well again after {}", measured(after)),
        None => String::from("never well again within the case"),
    };
    match client.detected_after {
        Some(after) => format!(
            "{recovered}; the dead connection given up after {}, by {}",
            measured(after),
            figures.cause
        ),
        None => format!("{recovered}; {}", figures.cause),
    }
}

/// The client that a case's row is about: one of whom something failed, who never recovered, or who took longest.
pub(super) fn worst(result: &CaseResult) -> Option<&ClientResult> {
    let failed = |client: &ClientResult| result.verdict_on(&client.name) == Some(Verdict::Fail);
    let rank = |client: &&ClientResult| {
        let out = !client.gone && client.fault_at.is_some() && client.passing() != Passing::By;
        let recovered = match out {
            true => client.recovered_after.unwrap_or(Duration::MAX),
            false => Duration::ZERO,
        };
        (failed(client), out, recovered)
    };
    // Of equals the first.
    result.clients.iter().rev().max_by_key(rank)
}

/// How long a case's worst outage took, for a list of them; `None` if it had none.
pub(super) fn outage(result: &CaseResult) -> Option<(Duration, Markup)> {
    let client = worst(result).filter(|client| client.unexplained.is_some())?;
    let whole = client
        .parts
        .iter()
        .map(|part| part.lasted())
        .sum::<Duration>();
    let told = why(client)?;
    let markup = html! {
        (line(&told))
        @if let Some(predicted) = client.predicted.as_ref().and_then(|p| p.recovery) {
            " Predicted: " (crate::plan::units::between(predicted.min, predicted.max)) "."
        }
    };
    Some((client.recovered_after.unwrap_or(whole), markup))
}

/// A recovery as a row of a table has it.
pub(super) fn recovered(client: &ClientResult, result: &CaseResult) -> String {
    Figures::of(client, result).recovered
}

/// A time that every repetition may have had: its median and 95 of 100.
pub(super) fn quantiles(median: Option<Duration>, p95: Option<Duration>, one: bool) -> String {
    match one {
        true => time(median),
        false => format!("{}, 95 % {}", time(median), time(p95)),
    }
}
