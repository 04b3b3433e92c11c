//! What the timeout model said beforehand, beside what was measured.

use std::time::Duration;

use maud::{Markup, html};

use super::scale::{Marks, Scale, axis, track};
use super::text::{line, time};
use crate::plan::units::{between, exact, measured};
use crate::result::{
    ClientResult, PredictedQuantileResult, PredictedResult, WindowResult, not_for_good,
};

const HEIGHT: f64 = 20.0;

/// The windows of a client's detection and recovery with the measured times in them, and what was published of it.
pub(super) fn prediction(client: &ClientResult) -> Markup {
    let Some(predicted) = &client.predicted else {
        return published(client);
    };
    if client.unexplained.is_none() || predicted.unaffected {
        return published(client);
    }
    let rows = [
        ("detected", predicted.detection, client.detected_after),
        ("recovered", predicted.recovery, client.recovered_after),
    ];
    let ends = rows.iter().flat_map(|(_, window, measured)| {
        [window.map(|window| window.max), *measured]
            .into_iter()
            .flatten()
    });
    let Some(last) = ends.max() else {
        return published(client);
    };
    let scale = Scale::new(Duration::ZERO, last + last / 20);
    html! {
        h4 { "Measured against predicted" }
        div class="timeline predictions" role="group" aria-label="Measured against predicted" {
            @for (what, window, measured) in rows {
                @let told = told(window, measured, predicted);
                div class="lane" {
                    div class="label" { b { (what) } " " span { (told) } }
                    (picture(what, window, measured, &told, scale))
                }
            }
            div class="lane foot" { div class="label" { "since the fault" } (axis(scale, 0.0)) }
        }
        @if let Some(within) = predicted.relapses_within { p { "Predicted: " (not_for_good(within)) "." } }
        @if !predicted.quantiles.is_empty() {
            p { "Chance decides: " (PredictedQuantileResult::words(&predicted.quantiles)) ", by the model." }
        }
        @if let Some(given) = &client.predicted_given_phase {
            @if let Some(window) = given.recovery.or(given.detection) {
                p class="small" {
                    "Given what it was doing at the fault, as seen: " (between(window.min, window.max)) "."
                }
            }
        }
        @for finding in &client.findings { p class="note" { (line(finding)) } }
        (published(client))
    }
}

fn told(window: Option<WindowResult>, measured: Option<Duration>, of: &PredictedResult) -> String {
    let own = time(measured);
    match (window, measured) {
        (Some(window), measured) => {
            let inside = measured.is_some_and(|at| (window.min..=window.max).contains(&at));
            let where_ = if inside { "inside" } else { "outside" };
            let window = between(window.min, window.max);
            format!("measured {own}; predicted {window}: {where_}")
        }
        // Where it is open what the fault meets, no window is not "never".
        (None, _) if of.cause == crate::plan::Cause::Unknown => {
            format!("measured {own}; nothing predicted")
        }
        (None, _) => format!("measured {own}; predicted never"),
    }
}

fn picture(
    what: &str,
    window: Option<WindowResult>,
    measured: Option<Duration>,
    told: &str,
    scale: Scale,
) -> Markup {
    let (mut band, mut mark) = (Marks::default(), Marks::default());
    if let Some(window) = window {
        band.bar(scale, window.min, window.max, 3.0, HEIGHT - 6.0);
    }
    if let Some(at) = measured {
        mark.tick(scale, at, 0.0, HEIGHT);
    }
    let content = html! { (band.path("window")) (mark.path("mark measured")) };
    track(HEIGHT, &format!("{what}: {told}"), content)
}

/// What was published of it, beside what was measured.
fn published(client: &ClientResult) -> Markup {
    let figures = client
        .published
        .iter()
        .flat_map(|published| &published.figures);
    let figures: Vec<_> = figures.collect();
    html! {
        @if !figures.is_empty() {
            h4 { "Published" }
            ul {
                @for figure in figures {
                    li {
                        (figure.from.words()) " to " (figure.until.words()) ": published " (exact(figure.published)) ", "
                        @match figure.measured {
                            Some(time) => { "measured " b { (measured(time)) } }
                            None => "not measured",
                        }
                        @if let Some(note) = &figure.note { span class="small" { (line(note.trim())) } }
                    }
                }
            }
        }
    }
}
