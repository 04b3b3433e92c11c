//! How a client's times are distributed over a case's repetitions: a mark a run, and its quantiles.

use std::time::Duration;

use maud::{Markup, html};

use super::scale::{Marks, Scale, axis, track};
use super::text::{count, line};
use crate::plan::units::measured;
use crate::report::distribution::{HEADER, rows};
use crate::result::{
    CaseResult, ClientResult, Distribution, PredictedResult, Spread, WindowResult,
};

const HEIGHT: f64 = 26.0;

/// The times of all clients of a repeated case. `all` has its repetitions.
pub(super) fn distributions(result: &CaseResult, all: &[CaseResult]) -> Markup {
    let runs: Vec<&CaseResult> = all.iter().filter(|run| is_of(run, result)).collect();
    let runs = runs.as_slice();
    html! {
        h3 { "Over all repetitions" }
        div class="wide" tabindex="0" role="region" aria-label="Quantiles" {
            table {
                thead { tr { @for title in HEADER { th scope="col" { (title) } } } }
                tbody {
                    @for row in result.distributions.iter().flat_map(rows) {
                        tr { @for cell in &row { td { (line(cell)) } } }
                    }
                }
            }
        }
        @for of in &result.distributions { (picture(of, runs)) }
    }
}

/// Whether a result is one of a case's repetitions.
fn is_of(run: &CaseResult, result: &CaseResult) -> bool {
    let repetition = run.repetition.as_ref();
    repetition.is_some_and(|repetition| repetition.case == result.case)
        && run.scenario == result.scenario
        && (run.clock, &run.kernel) == (result.clock, &result.kernel)
}

fn picture(of: &Distribution, runs: &[&CaseResult]) -> Markup {
    type Time = fn(&ClientResult) -> Option<Duration>;
    let times: [(&str, &Spread, Time); 2] = [
        ("detected", &of.detected, |client| client.detected_after),
        ("recovered", &of.recovered, |client| client.recovered_after),
    ];
    let clients: Vec<&ClientResult> = runs
        .iter()
        .filter_map(|run| run.client(&of.client))
        .collect();
    let longest = clients
        .iter()
        .flat_map(|c| [c.detected_after, c.recovered_after])
        .flatten()
        .max();
    let Some(longest) = longest else {
        return html! {};
    };
    let windows = [
        predicted(&clients, |p| p.detection),
        predicted(&clients, |p| p.recovery),
    ];
    let last = windows.iter().flatten().map(|window| window.max).max();
    let end = last.map_or(longest, |last| last.min(longest * 3).max(longest));
    let scale = Scale::new(Duration::ZERO, end + end / 20);
    html! {
        h4 { (line(&of.client)) }
        div class="timeline predictions" role="group" aria-label="Distribution of times" {
            @for (what, spread, time) in times {
                @let own: Vec<Duration> = clients.iter().filter_map(|client| time(client)).collect();
                @let never = clients.len() - own.len();
                @let told = told(spread, never);
                @let window = if what == "detected" { windows[0] } else { windows[1] };
                div class="lane" {
                    div class="label" { b { (what) } " " span { (told) } }
                    (track(HEIGHT, &format!("{what}: {told}"), marks(&own, spread, window, scale)))
                }
            }
            div class="lane foot" { div class="label" { "since the fault; a mark a run; black: median, red: 95 %" (if windows.iter().any(Option::is_some) { "; green: predicted, over all runs" } else { "" }) } (axis(scale, 0.0)) }
        }
    }
}

/// From the earliest to the latest that was predicted of any run: each begins elsewhere in its client's rhythm. `None` if there
/// is one of which nothing, or "never", was predicted.
fn predicted(
    clients: &[&ClientResult],
    of: fn(&PredictedResult) -> Option<WindowResult>,
) -> Option<WindowResult> {
    let windows = clients.iter().map(|client| of(client.predicted.as_ref()?));
    let windows: Vec<WindowResult> = windows.collect::<Option<_>>()?;
    let min = windows.iter().map(|window| window.min).min()?;
    let max = windows.iter().map(|window| window.max).max()?;
    Some(WindowResult { min, max })
}

fn told(spread: &Spread, never: usize) -> String {
    let quantile = super::text::time;
    let mut told = match spread.one_value {
        true => format!("{} in all {} runs", quantile(spread.min), spread.count),
        false => format!(
            "median {}, 95 % {}, {} to {}",
            quantile(spread.median),
            quantile(spread.p95),
            quantile(spread.min),
            quantile(spread.max)
        ),
    };
    if never > 0 && !spread.one_value {
        told += &format!("; never in {}", count(never, "run"));
    }
    told
}

fn marks(own: &[Duration], spread: &Spread, window: Option<WindowResult>, scale: Scale) -> Markup {
    let (mut band, mut each) = (Marks::default(), Marks::default());
    let (mut middle, mut most) = (Marks::default(), Marks::default());
    if let Some(window) = window {
        band.bar(scale, window.min, window.max, 2.0, HEIGHT - 4.0);
    }
    for time in own {
        each.tick(scale, *time, 8.0, 10.0);
    }
    if let Some(median) = spread.median {
        middle.tick(scale, median, 0.0, HEIGHT);
    }
    if let Some(p95) = spread.p95 {
        most.tick(scale, p95, 0.0, HEIGHT);
    }
    html! {
        (band.path("window")) (each.path("mark run"))
        (middle.path("mark median")) (most.path("mark p95"))
    }
}

/// The median of a spread, for a heat map.
pub(super) fn median(result: &CaseResult, client: &str) -> Option<(Option<Duration>, String)> {
    let of = result.distributions.iter().find(|of| of.client == client)?;
    let text = of
        .recovered
        .median
        .map_or_else(|| String::from("never"), measured);
    Some((of.recovered.median, text))
}
