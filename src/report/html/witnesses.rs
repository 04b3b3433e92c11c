//! What else was observed: rules before and after, counters, what programs wrote, and the story in words. All folded.

use maud::{Markup, html};

use super::moments::since;
use super::text::{count, line, lines};
use crate::plan::units::measured;
use crate::result::{CaseResult, History};

/// Rules that are shown of one moment.
const RULES: usize = 60;

/// All of it.
pub(super) fn witnesses(result: &CaseResult) -> Markup {
    let Some(history) = &result.history else {
        return html! {
            p class="small" { "What happened by time is not known here: this page was made from results without their records." }
        };
    };
    html! {
        (output(result, history))
        (rules(result, history))
        (counters(history))
        @if !history.story.is_empty() {
            details {
                summary { "The story in words, as " code { "halfopen explain" } " tells it" }
                pre class="wide" tabindex="0" { (lines(&history.story)) }
            }
        }
    }
}

fn output(result: &CaseResult, history: &History) -> Markup {
    if history.output.is_empty() {
        return html! {};
    }
    let zero = result.faults.iter().find_map(|fault| fault.at);
    let whole = history.output.len() + history.output_left_out;
    html! {
        details {
            summary { "What programs wrote, by time: " (count(whole, "line")) }
            div class="wide" tabindex="0" role="region" aria-label="Output" {
                table class="output" {
                    thead {
                        tr {
                            th scope="col" class="n" { (if zero.is_some() { "since the fault" } else { "at" }) }
                            th scope="col" { "who" } th scope="col" { "line" }
                        }
                    }
                    tbody {
                        @for (number, written) in history.output.iter().enumerate() {
                            @if history.output_left_out > 0 && number == history.output.len() / 2 {
                                tr { td {} td {} td { "… " (count(history.output_left_out, "line")) " left out here; the record has them" } }
                            }
                            tr class=[written.error.then_some("stderr")] {
                                td class="n" { (since(written.at, zero)) }
                                td { (line(&written.who)) @if written.error { " (stderr)" } }
                                td { code { (line(&written.text)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rules(result: &CaseResult, history: &History) -> Markup {
    if history.rules.is_empty() {
        return html! {};
    }
    let zero = result.faults.iter().find_map(|fault| fault.at);
    html! {
        details {
            summary { "The services' rules, before and after" }
            @for change in &history.rules {
                p { b { (line(&change.node)) } ", " (line(&change.when)) " (" (since(change.at, zero)) ")" }
                pre class="wide diff" tabindex="0" {
                    @for rule in change.gone.iter().take(RULES) { del { "− " (lines(rule)) } "\n" }
                    @for rule in change.come.iter().take(RULES) { ins { "+ " (lines(rule)) } "\n" }
                    @if change.gone.len().max(change.come.len()) > RULES { "…\n" }
                }
            }
        }
    }
}

fn counters(history: &History) -> Markup {
    if history.counters.is_empty() {
        return html! {};
    }
    html! {
        details {
            summary { "What the kernels counted from the start to the end" }
            div class="columns" {
                @for place in &history.counters {
                    table {
                        caption { (line(&place.place)) }
                        thead { tr { th scope="col" { "counter" } th scope="col" class="n" { "grown by" } } }
                        tbody {
                            @for (counter, grown) in &place.grown {
                                tr { th scope="row" { (line(counter)) } td class="n" { (grown) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where the case's record and packets are, by their way from the page's folder.
pub(super) fn files(result: &CaseResult, folder: Option<&std::path::Path>) -> Markup {
    let history = result.history.as_ref();
    let record = history.and_then(|h| h.record.as_ref());
    let packets = history.and_then(|h| h.packets.as_ref());
    let files = [("record", record), ("packets (pcapng)", packets)];
    html! {
        @for (what, file) in files {
            @if let Some(file) = file {
                span class="file" {
                    (what) ": "
                    @let shown = crate::printable::printable_path(file);
                    @match super::text::way(folder, file) {
                        Some(way) => a href=(way) { (shown) },
                        None => code { (shown) },
                    }
                }
            }
        }
    }
}

/// How long a case lasted, and on what.
pub(super) fn about(result: &CaseResult) -> String {
    format!(
        "{}, {} long",
        crate::report::measured_on(result),
        measured(result.duration)
    )
}
