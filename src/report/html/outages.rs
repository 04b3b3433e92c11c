//! What each of several faults did to a client.

use maud::{Markup, html};

use super::text::{line, time, verdict};
use crate::plan::units::percent;
use crate::report::figures::called;
use crate::result::{CaseResult, ClientResult, word};

/// A row an outage, and how much of the time the client was served; nothing where one fault at most struck it.
pub(super) fn outages(client: &ClientResult, result: &CaseResult) -> Markup {
    let all = &client.outages;
    if all.len() < 2 || client.gone {
        return html! {};
    }
    html! {
        h4 { "Its outages" }
        div class="wide" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "fault" }
                        th scope="col" class="n" { "at" }
                        th scope="col" { "cause" }
                        th scope="col" class="n" { "given up after" }
                        th scope="col" class="n" { "well again after" }
                        th scope="col" { "verdict" }
                    }
                }
                tbody {
                    @for outage in all {
                        tr {
                            th scope="row" {
                                (line(&called(outage, result)))
                                @if outage.during_another { " (it was out already)" }
                            }
                            td class="n" { (time(outage.fault_at)) }
                            td { (outage.cause.as_ref().map_or_else(|| String::from("–"), word)) }
                            td class="n" { (time(outage.detected_after)) }
                            td class="n" { (time(outage.recovered_after)) }
                            td {
                                @let own = outage.name.as_ref();
                                @let own = own.and_then(|name| result.verdict_on_outage(&client.name, name));
                                @if let Some(own) = own { (verdict(own)) } @else { "–" }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(share) = client.availability {
            p class="small" { "Available " (percent(share)) " of the time. What follows is of the first." }
        }
    }
}
