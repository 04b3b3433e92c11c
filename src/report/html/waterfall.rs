//! An outage in its parts: a row a kind, with when it was and how much of the whole.

use std::time::Duration;

use maud::{Markup, html};

use super::scale::{Marks, Scale, track};
use super::text::{count, line};
use crate::plan::units::{exact, measured};
use crate::result::{ClientResult, Part, PartKind};

/// Parts that are listed one by one.
const LISTED: usize = 60;
const HEIGHT: f64 = 16.0;

/// The parts of a client's outage; nothing if it had none.
pub(super) fn waterfall(client: &ClientResult, scale: Scale) -> Markup {
    let Some(unexplained) = client.unexplained else {
        return html! {};
    };
    let whole = client.parts.iter().map(Part::lasted).sum::<Duration>() + unexplained;
    let share = |time: Duration| match whole.is_zero() {
        true => String::from("–"),
        false => format!("{:.1} %", 100.0 * time.as_secs_f64() / whole.as_secs_f64()),
    };
    html! {
        h4 { "The outage in its parts" }
        table class="waterfall" {
            caption class="hidden" { "Parts of the outage, with how long each took" }
            thead {
                tr {
                    th scope="col" { "part" } th scope="col" class="when" { "when" }
                    th scope="col" class="n" { "took" } th scope="col" class="n" { "share" }
                }
            }
            tbody {
                @for (kind, own) in kinds(&client.parts) {
                    @let sum: Duration = own.iter().map(|part| part.lasted()).sum();
                    tr {
                        th scope="row" {
                            (kind.name())
                            span class="small" {
                                (kind.meaning())
                                @if own.len() > 1 { " (" (count(own.len(), "time")) ")" }
                            }
                        }
                        td class="when" { (bars(kind, &own, scale)) }
                        td class="n" { (measured(sum)) }
                        td class="n" { (share(sum)) }
                    }
                }
                @if !unexplained.is_zero() {
                    tr {
                        th scope="row" { "unexplained" span class="small" { "between no two observed events" } }
                        td class="when" {}
                        td class="n" { (measured(unexplained)) }
                        td class="n" { (share(unexplained)) }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "outage" }
                    td class="when" {}
                    td class="n" { (measured(whole)) }
                    td class="n" { "100 %" }
                }
            }
        }
        @if client.parts.len() > 1 { (every(client)) }
    }
}

/// The kinds, in order of their first time, each with its parts.
fn kinds(parts: &[Part]) -> Vec<(PartKind, Vec<&Part>)> {
    let mut kinds: Vec<(PartKind, Vec<&Part>)> = Vec::new();
    for part in parts {
        match kinds.iter_mut().find(|(kind, _)| *kind == part.kind) {
            Some((_, own)) => own.push(part),
            None => kinds.push((part.kind, vec![part])),
        }
    }
    kinds
}

fn bars(kind: PartKind, own: &[&Part], scale: Scale) -> Markup {
    let mut marks = Marks::default();
    for part in own {
        marks.bar(scale, part.from, part.to, 2.0, HEIGHT - 4.0);
    }
    let told = own
        .iter()
        .take(3)
        .map(|part| format!("{} to {}", measured(part.from), measured(part.to)));
    let told = told.collect::<Vec<_>>().join(", ");
    let more = if own.len() > 3 { ", …" } else { "" };
    track(
        HEIGHT,
        &format!("{}: {told}{more}", kind.name()),
        marks.path(&format!("part {}", kind.name())),
    )
}

/// Every part with the events between which it lies.
fn every(client: &ClientResult) -> Markup {
    let zero = client.fault_at.unwrap_or_default();
    html! {
        details {
            summary { "Each part, with the events between which it lies" }
            div class="wide" tabindex="0" role="region" aria-label="Parts of the outage" {
                table {
                    thead {
                        tr {
                            th scope="col" { "since the fault" } th scope="col" { "part" }
                            th scope="col" class="n" { "took" }
                            th scope="col" { "from" } th scope="col" { "to" }
                        }
                    }
                    tbody {
                        @for part in client.parts.iter().take(LISTED) {
                            tr {
                                td class="n" { (super::moments::since(part.from, Some(zero))) }
                                td { (part.kind.name()) }
                                td class="n" { (exact(part.lasted())) }
                                td { (line(&part.begins_with)) }
                                td { (line(&part.ends_with)) }
                            }
                        }
                    }
                }
            }
            @if client.parts.len() > LISTED {
                p { "… and " (count(client.parts.len() - LISTED, "more part")) "." }
            }
        }
    }
}
