//! What `halfopen tune` found: the front as a picture, every setting in a table, and what to write.

use std::time::Duration;

use maud::{Markup, html};

use super::page::{self, Column, search, sortable};
use super::scale::anchor;
use super::text::{count, line, plain};
use crate::plan::units::exact;
use crate::report::tuning::{Axes, TICKS, row, tick_label};
use crate::tune::{By, ClientTuning, Point, Tuning};

const COLUMNS: [Column; 9] = [
    Column::words("setting", "case"),
    Column::numbers("recovers, worst"),
    Column::numbers("median"),
    Column::numbers("at most (model)"),
    Column::numbers("survives"),
    Column::words("killed by loss of 1 / 5 / 10 %", "w"),
    Column::numbers("packets an hour"),
    Column::numbers("after a partition"),
    Column::words("figures", "k"),
];

/// Of these settings the names stand on the picture, as far as they are on the front.
const NUMBERED: usize = 20;

/// The page.
pub(in crate::report) fn tuning(tuning: &Tuning) -> String {
    let title = format!("settings for {}", tuning.scenario);
    let kernel = tuning.kernel.as_deref().unwrap_or("an unknown kernel");
    let content = html! {
        h1 { "Which settings for " (line(&tuning.scenario)) "?" }
        p class="on" {
            (count(tuning.settings, "setting")) ", " (count(tuning.runs, "run")) " on Linux " (line(kernel))
            ". Asked for: well again within " (exact(tuning.recover_within))
            @if let Some(blip) = tuning.survive_blip { ", and a healthy connection survives " (exact(blip)) " of silence" }
            "."
        }
        @for (number, client) in tuning.clients.iter().enumerate() { (answer(client, number, tuning)) }
        section class="cases" {
            h2 { "Every setting" }
            div class="tools" { (search("setting …")) p role="status" id="shown" {} }
            @for (number, client) in tuning.clients.iter().enumerate() { (table(client, number)) }
        }
        @if !tuning.impossible.is_empty() {
            h2 { "Not possible here" }
            ul {
                @for impossible in &tuning.impossible {
                    li { b { (line(&impossible.setting)) } ": " (line(&impossible.why)) }
                }
            }
        }
    };
    page::page(&title, content, html! {}).into_string()
}

/// The answer for a client, and the picture.
fn answer(client: &ClientTuning, number: usize, tuning: &Tuning) -> Markup {
    html! {
        section class="told" {
            h2 { (line(&client.client)) }
            p class="outcome" { (line(&client.sentence)) }
            @if !client.write.is_empty() { pre class="wide" tabindex="0" { (plain_lines(&client.write)) } }
            @for finding in &client.findings { p class="note" { (line(finding)) } }
            (picture(client, number, tuning))
            (front(client, number))
        }
    }
}

fn plain_lines(lines: &[String]) -> String {
    super::text::lines(&lines.join("\n"))
}

fn row_id(client: usize, point: usize) -> String {
    format!("setting-{client}-{point}")
}

/// The settings on the front, with the numbers that they have on the picture.
fn on_front(client: &ClientTuning) -> impl Iterator<Item = (usize, &Point)> {
    let all = client.points.iter().enumerate();
    all.filter(|(_, point)| point.on_front)
}

fn front(client: &ClientTuning, number: usize) -> Markup {
    html! {
        details open {
            summary { "The front: no other setting recovers as soon and survives as long" }
            ol class="front" {
                @for (at, point) in on_front(client).take(NUMBERED) {
                    li {
                        a href={ "#" (row_id(number, at)) } { (line(&point.setting)) }
                        ": " (told(point))
                    }
                }
            }
        }
    }
}

/// A setting's two figures in words.
fn told(point: &Point) -> String {
    let at_least = if point.survives_at_least {
        "at least "
    } else {
        ""
    };
    let by = match &point.by {
        By::Run => String::new(),
        By::SameAs(other) => format!(" (run as {})", plain(other)),
        By::Model => String::from(" (model)"),
    };
    let recovers = super::text::time(point.compared);
    format!(
        "recovers within {recovers}, survives {at_least}{}{by}",
        whole(point.survives)
    )
}

/// A time without the digits that nobody reads.
fn whole(time: Duration) -> String {
    exact(Duration::from_millis(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

/// Recovery against the silence that is survived, on logarithmic axes.
fn picture(client: &ClientTuning, number: usize, tuning: &Tuning) -> Markup {
    let axes = Axes::of(tuning, client);
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let across = |point: &Point| axes.recovery(point.compared);
    let down = |point: &Point| 1.0 - axes.survived(point.survives);
    let (on, off): (Vec<_>, Vec<_>) = client
        .points
        .iter()
        .enumerate()
        .partition(|(_, p)| p.on_front);
    let told_all = format!(
        "{} settings of {}: recovery across, from left to right later; the silence that is survived up. {} are on the front, and listed below.",
        client.points.len(),
        plain(&client.client),
        on.len()
    );
    let goal = axes.recovery(Some(tuning.recover_within));
    let floor = tuning
        .survive_blip
        .map_or(1.0, |blip| 1.0 - axes.survived(blip));
    html! {
        div class="plot" {
            div class="up" aria-hidden="true" { "survives ↑" }
            svg class="scatter" role="group" aria-label=(told_all) {
                rect class="goal" x="0" y="0" width=(percent(goal)) height=(percent(floor)) {}
                @for tick in TICKS.into_iter().map(Duration::from_secs_f64) {
                    @let (x, y) = (axes.recovery(Some(tick)), 1.0 - axes.survived(tick));
                    @if x > 0.0 { line class="grid" x1=(percent(x)) x2=(percent(x)) y1="0" y2="100%" {} }
                    @if y < 1.0 {
                        line class="grid" x1="0" x2="100%" y1=(percent(y)) y2=(percent(y)) {}
                        text x="2" y=(percent(y)) dy="-3" { (tick_label(tick.as_secs_f64())) }
                    }
                }
                @for (_, point) in &off { (dot(point, percent(across(point)), percent(down(point)), "off")) }
                @for (at, point) in &on {
                    a href={ "#" (row_id(number, *at)) } aria-label=(plain(&point.setting)) {
                        (dot(point, percent(across(point)), percent(down(point)), "on"))
                    }
                }
                @for (label, point) in labels(&on) {
                    text class="number" x=(percent(across(point))) y=(percent(down(point))) dx="8" dy="-6" { (label) }
                }
            }
            svg class="axis" aria-hidden="true" {
                @for tick in TICKS {
                    @let x = axes.recovery(Some(Duration::from_secs_f64(tick)));
                    // A phone has room for every second one.
                    @let minor = TICKS.iter().position(|other| *other == tick).is_some_and(|at| at % 2 == 0);
                    @if x > 0.0 {
                        text class=[minor.then_some("minor")] x=(percent(x)) y="15" text-anchor=(anchor(x * 100.0)) { (tick_label(tick)) }
                    }
                }
                text x="100%" y="15" text-anchor="end" { "never" }
            }
            p class="small" {
                "Across: recovers from a loss of power, in the worst of its phases and of chance. Up: the longest silence of a healthy "
                "connection. Filled: run; hollow: the timeout model's arithmetic. Blue: on the front. Green: what is asked for."
            }
        }
    }
}

/// The numbers of the front's settings; those that stand at one place have one label.
fn labels<'a>(on: &[(usize, &'a Point)]) -> Vec<(String, &'a Point)> {
    let mut places: Vec<(Vec<usize>, &Point)> = Vec::new();
    for (place, (_, point)) in on.iter().enumerate().take(NUMBERED) {
        let same = |other: &&mut (Vec<usize>, &Point)| {
            (other.1.compared, other.1.survives) == (point.compared, point.survives)
        };
        match places.iter_mut().find(same) {
            Some((numbers, _)) => numbers.push(place + 1),
            None => places.push((vec![place + 1], *point)),
        }
    }
    let label = |numbers: Vec<usize>| match numbers.as_slice() {
        [first, .., last] if last - first + 1 == numbers.len() => format!("{first}–{last}"),
        all => all
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    places
        .into_iter()
        .map(|(numbers, point)| (label(numbers), point))
        .collect()
}

fn dot(point: &Point, x: String, y: String, class: &str) -> Markup {
    let by = match point.by {
        By::Model => "model",
        By::Run | By::SameAs(_) => "run",
    };
    html! {
        circle class={ (class) " " (by) } cx=(x) cy=(y) r="4" {
            title { (plain(&point.setting)) ": " (told(point)) }
        }
    }
}

fn table(client: &ClientTuning, number: usize) -> Markup {
    let seconds = |time: Option<Duration>| match time {
        Some(time) => time.as_secs_f64(),
        None => f64::MAX,
    };
    html! {
        div class="wide" tabindex="0" role="region" aria-label={ "Settings of " (plain(&client.client)) } {
            table class="rows settings" role="table" {
                caption { (line(&client.client)) }
                (sortable(&COLUMNS))
                tbody role="rowgroup" {
                    @for (at, point) in client.points.iter().enumerate() {
                        @let keys = [
                            None, Some(seconds(point.recovery_worst)), Some(seconds(point.recovery_median)),
                            Some(seconds(point.recovery_bound)), Some(point.survives.as_secs_f64()), None,
                            point.packets_per_hour.map(|packets| packets as f64), Some(seconds(point.works_again_after)), None,
                        ];
                        tr role="row" id=(row_id(number, at)) data-order=(at) class=[point.on_front.then_some("front")]
                            data-words=(plain(&point.setting.to_lowercase())) {
                            @for (column, (cell, key)) in row(point).iter().zip(keys).enumerate() {
                                @if column == 0 {
                                    th role="rowheader" scope="row" {
                                        @if point.on_front { span class="dot" title="on the front" { "● " } }
                                        (line(cell.trim_start_matches(['●', ' '])))
                                        (source(point))
                                     }
                                } @else {
                                    td role="cell" class=[key.map(|_| "n")] data-key=[key] { (line(cell)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn source(point: &Point) -> Markup {
    html! {
        @if let Some(source) = &point.source { span class="small" { "recommended: " (line(source)) } }
        @if point.shared { span class="small" { "counts for every connection of its pod" } }
        @for left_out in &point.left_out { span class="small" { "left out: " (line(left_out)) } }
    }
}
