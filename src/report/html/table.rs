//! The table of cases: a row a case, which opens it.

use std::time::Duration;

use maud::{Markup, html};

use super::Shown;
use super::page::{Column, search, sortable};
use super::sentence;
use super::text::{count, line, name, plain, verdict};
use crate::report::figures::{Figures, has_figures};
use crate::result::{CaseResult, Distribution, Verdict};

const COLUMNS: [Column; 8] = [
    Column::words("verdict", "v"),
    Column::words("case", "case"),
    Column::words("client", "c"),
    Column::numbers("recovered"),
    Column::numbers("detected"),
    Column::words("cause", "w"),
    Column::words("predicted recovery", "p"),
    Column::words("clock", "k"),
];

/// The table, with what filters it.
pub(super) fn table(cases: &[Shown]) -> Markup {
    html! {
        section id="cases" class="cases" {
            h2 { "Cases" }
            div class="tools" {
                (search("name, client, cause, sentence …"))
                label class="search" {
                    span { "Verdict" }
                    select id="verdict" {
                        option value="" { "all" }
                        @for kind in [Verdict::Fail, Verdict::Error, Verdict::Skipped, Verdict::Measured, Verdict::Pass] {
                            @if cases.iter().any(|shown| shown.result.verdict == kind) {
                                option value=(kind) { (kind) }
                            }
                        }
                    }
                }
                p role="status" id="shown" { (count(cases.len(), "case")) }
            }
            table class="rows cards" id="rows" role="table" {
                caption class="hidden" { "Cases with their verdicts, and the figures of the client that each is about" }
                (sortable(&COLUMNS))
                tbody role="rowgroup" {
                    @for (number, shown) in cases.iter().enumerate() { (row(*shown, number)) }
                }
            }
        }
    }
}

/// What a row says besides its name.
struct Row {
    client: String,
    others: usize,
    recovered: (String, Option<f64>),
    detected: (String, Option<f64>),
    cause: String,
    predicted: String,
}

impl Row {
    fn of(result: &CaseResult) -> Self {
        if let Some(spread) = slowest(&result.distributions) {
            return Self::of_all(spread, result.distributions.len());
        }
        let none = || (String::from("–"), None);
        match sentence::worst(result).filter(|_| has_figures(result)) {
            None => Self {
                client: String::from("–"),
                others: 0,
                recovered: none(),
                detected: none(),
                cause: String::from("–"),
                predicted: String::from("–"),
            },
            Some(client) => {
                let figures = Figures::of(client, result);
                let [_, predicted] = figures.predicted;
                Self {
                    client: client.name.clone(),
                    others: result.clients.len() - 1,
                    recovered: told(figures.recovered, client.recovered_after),
                    detected: told(figures.detected, client.detected_after),
                    cause: figures.cause,
                    predicted,
                }
            }
        }
    }

    /// Of all repetitions.
    fn of_all(of: &Distribution, clients: usize) -> Self {
        let spread = |spread: &crate::result::Spread| {
            let text = sentence::quantiles(spread.median, spread.p95, spread.one_value);
            told(text, spread.median)
        };
        let [[.., causes], _] = crate::report::distribution::rows(of);
        Self {
            client: of.client.clone(),
            others: clients - 1,
            recovered: spread(&of.recovered),
            detected: spread(&of.detected),
            cause: causes,
            predicted: String::from("–"),
        }
    }
}

/// The client that takes longest to recover.
fn slowest(all: &[Distribution]) -> Option<&Distribution> {
    let recovery = |of: &&Distribution| of.recovered.median.unwrap_or(Duration::MAX);
    all.iter().rev().max_by_key(recovery)
}

/// A time in words and as what is sorted by: what never came is later than all, and what nobody knows comes last.
fn told(text: String, time: Option<Duration>) -> (String, Option<f64>) {
    let seconds = match (text.as_str(), time) {
        ("–", _) => None,
        (_, Some(time)) => Some(time.as_secs_f64()),
        (_, None) => Some(f64::MAX),
    };
    (text, seconds)
}

fn row(shown: Shown, number: usize) -> Markup {
    let result = shown.result;
    let row = Row::of(result);
    let clock = result
        .clock
        .map_or_else(|| String::from("–"), |clock| clock.to_string());
    let kernel = result.kernel.as_deref().unwrap_or_default();
    let words = [
        name(result),
        result.description.clone().unwrap_or_default(),
        result
            .clients
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(" "),
        row.cause.clone(),
        clock.clone(),
        kernel.to_owned(),
        result
            .reason
            .as_ref()
            .map(|r| r.text.clone())
            .unwrap_or_default(),
    ];
    let key = |seconds: Option<f64>| seconds.map_or_else(String::new, |s| format!("{s}"));
    html! {
        tr role="row" id=(shown.id) data-verdict=(result.verdict) data-order=(number)
            data-words=(plain(&words.join(" ").to_lowercase())) {
            td role="cell" class="v" { (verdict(result.verdict)) }
            th role="rowheader" scope="row" class="case" {
                button type="button" class="open" aria-expanded="false" { (line(&name(result))) }
            }
            td role="cell" class="c" data-label="client" {
                (line(&row.client))
                @if row.others > 0 { " " span class="more" { "+" (row.others) } }
            }
            td role="cell" class="n" data-label="recovered" data-key=(key(row.recovered.1)) { (row.recovered.0) }
            td role="cell" class="n" data-label="detected" data-key=(key(row.detected.1)) { (row.detected.0) }
            td role="cell" class="w" data-label="cause" { (line(&row.cause)) }
            td role="cell" class="p" data-label="predicted" { (row.predicted) }
            td role="cell" class="k" data-label="clock" title=(plain(kernel)) { (clock) }
        }
    }
}
