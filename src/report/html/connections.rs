//! A client's connections with what ended each, and the segment that was sent again beside the timer wheel's arithmetic.

use std::time::Duration;

use maud::{Markup, html};

use super::moments::since;
use super::text::{count, line};
use crate::plan::units::measured;
use crate::result::{ClientResult, ConnectionResult, Retransmissions, word};

/// Connections in the table.
const LISTED: usize = 40;

/// The table of connections, folded.
pub(super) fn connections(client: &ClientResult) -> Markup {
    let all = &client.connections;
    if all.is_empty() {
        return html! {};
    }
    let zero = client.fault_at;
    let at = |time: Option<Duration>| time.map_or_else(|| String::from("–"), |at| since(at, zero));
    html! {
        details {
            summary { (count(all.len(), "connection")) ", and what ended each" }
            div class="wide" tabindex="0" role="region" aria-label="Connections" {
                table {
                    thead {
                        tr {
                            th scope="col" { "no." } th scope="col" { "endpoint" }
                            th scope="col" class="n" { "dialled" } th scope="col" class="n" { "opened" }
                            th scope="col" class="n" { "ended" }
                            th scope="col" { "cause" } th scope="col" { "evidence" }
                        }
                    }
                    tbody {
                        @for connection in all.iter().take(LISTED) {
                            tr {
                                th scope="row" { (connection.id) }
                                td { (line(connection.endpoint.as_deref().unwrap_or("not known"))) }
                                td class="n" { (at(connection.dialled_at)) }
                                td class="n" { (at(connection.opened_at)) }
                                td class="n" { (at(connection.closed_at)) }
                                td { (word(&connection.cause)) }
                                td { (line(&connection.evidence)) }
                            }
                        }
                    }
                }
            }
            @if all.len() > LISTED { p { "… and " (count(all.len() - LISTED, "more connection")) "." } }
        }
    }
}

/// The sendings of the segment that the client waited for, folded.
pub(super) fn sendings(client: &ClientResult) -> Markup {
    let Some((connection, series)) = waited_on(client) else {
        return html! {};
    };
    let published = client.published.as_ref();
    let published_series = published.map_or(&[][..], |p| &p.retransmissions);
    let columns = !published_series.is_empty();
    let rows = series.measured.len().max(published_series.len());
    let shown = |time: Option<Duration>| {
        time.map_or_else(
            || String::from("–"),
            |time| format!("{:.3} s", time.as_secs_f64()),
        )
    };
    html! {
        details {
            summary { "The unanswered segment of connection " (connection.id) ", sent again " (count(series.measured.len(), "time")) }
            table {
                caption class="small" { "Times since its first sending" }
                thead {
                    tr {
                        th scope="col" { "" } th scope="col" class="n" { "measured" }
                        th scope="col" class="n" { "timer wheel" }
                        @if columns { th scope="col" class="n" { "published" } }
                    }
                }
                tbody {
                    @for number in 0..rows {
                        tr {
                            th scope="row" {
                                @if number == 0 && series.tail_loss_probe { "tail loss probe" }
                                @else { "again " (number + usize::from(!series.tail_loss_probe)) }
                            }
                            td class="n" { (shown(series.measured.get(number).copied())) }
                            td class="n" { (shown(series.arithmetic.get(number).copied().flatten())) }
                            @if columns { td class="n" { (shown(published_series.get(number).copied())) } }
                        }
                    }
                    tr {
                        th scope="row" { "given up" }
                        td class="n" { (shown(series.gave_up_after)) }
                        td class="n" { (shown(series.arithmetic_gave_up_after)) }
                        @if columns { td class="n" { (shown(published.and_then(|p| p.gave_up))) } }
                    }
                }
            }
        }
    }
}

/// The connection whose end was the detection, or that is waited on still.
fn waited_on(client: &ClientResult) -> Option<(&ConnectionResult, &Retransmissions)> {
    let fault = client.fault_at?;
    let closed = client.detected_after.map(|after| fault + after);
    let mut all = client.connections.iter();
    let found = match closed {
        Some(_) => all.find(|c| c.closed_at == closed),
        None => all.find(|c| c.retransmissions.is_some()),
    };
    let found = found?;
    Some((found, found.retransmissions.as_ref()?))
}

/// What ended the wait, and what says so.
pub(super) fn cause(client: &ClientResult) -> Markup {
    let evidence = client
        .evidence
        .as_deref()
        .filter(|evidence| !evidence.is_empty());
    html! {
        @if let (Some(cause), Some(evidence)) = (client.cause, evidence) {
            p { b { (word(&cause)) } ": " (line(evidence)) "." }
        }
        @if let (Some(phase), Some(fault)) = (client.phase, client.fault_at) {
            p class="small" {
                "At the fault it was " (word(&phase).replace('_', " "))
                @if let Some(begun) = client.phase_since.filter(|begun| *begun <= fault) {
                    ", for " (measured(fault - begun))
                }
                "."
            }
        }
    }
}
