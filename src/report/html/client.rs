//! A client of a case: what became of it, when, why, and what was foreseen.

use maud::{Markup, html};

use super::scale::Scale;
use super::text::{line, verdict};
use super::{connections, outages, prediction, sentence, timeline, waterfall};
use crate::report::program;
use crate::result::{CaseResult, ClientResult};

/// Everything about a client.
pub(super) fn client(client: &ClientResult, result: &CaseResult, scale: Scale) -> Markup {
    let history = result.history.as_ref();
    let history = history.and_then(|h| h.clients.iter().find(|c| c.name == client.name));
    let outcome = history
        .map(|h| h.outcome.clone())
        .filter(|outcome| !outcome.is_empty());
    let outcome = outcome.unwrap_or_else(|| sentence::outcome(client, result));
    let shorter = history.map_or(&[][..], |h| &h.shorter);
    html! {
        section class="client" {
            h3 {
                (line(&client.name))
                @if let Some(own) = result.verdict_on(&client.name) { " " (verdict(own)) }
            }
            p class="outcome" { (line(&outcome)) "." }
            @if let Some(who) = history.map(|h| &h.who).filter(|who| !who.is_empty()) {
                p class="small" { (line(who)) }
            }
            (outages::outages(client, result))
            @if client.fault_at.is_some() || !client.connections.is_empty() {
                (timeline::timeline(client, result, scale))
            }
            (connections::cause(client))
            @for told in program::ends(result) {
                @if told.end.starts_with(&format!("{}: ", client.name)) {
                    p { (line(&told.end)) }
                    @if !told.output.is_empty() {
                        pre class="wide" tabindex="0" { (super::text::lines(&told.output.join("\n"))) }
                    }
                }
            }
            (waterfall::waterfall(client, scale))
            (prediction::prediction(client))
            @if !shorter.is_empty() {
                h4 { "What would have shortened it, by the model" }
                ul { @for change in shorter { li { (line(change)) } } }
            }
            (connections::sendings(client))
            (connections::connections(client))
        }
    }
}
