//! What has changed from one run to another.

use maud::{Markup, html};

use super::page::{self, Column, search, sortable};
use super::scale::{Marks, Scale, track};
use super::text::{count, line, plain, time_or_dash};
use crate::comparison::{Change, Comparison};
use crate::report::comparison::{counts, row};

use std::time::Duration;

const COLUMNS: [Column; 7] = [
    Column::words("change", "v"),
    Column::words("case", "case"),
    Column::words("client", "c"),
    Column::numbers("old"),
    Column::numbers("new"),
    Column::numbers("new − old"),
    Column::words("runs", "k"),
];

/// The page.
pub(in crate::report) fn comparison(comparison: &Comparison) -> String {
    let worse: Vec<&Change> = comparison.regressions().collect();
    let title = match worse.len() {
        0 => String::from("nothing is worse"),
        1 => String::from("1 change is for the worse"),
        many => format!("{many} changes are for the worse"),
    };
    let longest = comparison
        .changes
        .iter()
        .filter_map(|change| change.seconds)
        .flatten();
    let longest = longest.fold(0.0, f64::max);
    let content = html! {
        h1 { (super::summary::capital(&title)) }
        p class="on" { (counts(comparison)) }
        @if !worse.is_empty() {
            section class="told fail" {
                h2 { "What is worse" }
                ul { @for change in worse.iter().take(12) { li { (sentence(change)) } } }
                @if worse.len() > 12 { p { "… and " (count(worse.len() - 12, "more change")) ", in the table below." } }
            }
        }
        @if !comparison.changes.is_empty() {
            section class="cases" {
                h2 { "Every change" }
                div class="tools" { (search("case, client, change …")) p role="status" id="shown" {} }
                table class="rows cards changes" role="table" {
                    caption class="hidden" { "Changes, those for the worse first" }
                    (sortable(&COLUMNS))
                    tbody role="rowgroup" {
                        @for (number, change) in comparison.changes.iter().enumerate() { (change_row(change, number, longest)) }
                    }
                }
            }
        }
    };
    page::page(&title, content, html! {}).into_string()
}

/// A change in a sentence.
fn sentence(change: &Change) -> Markup {
    let [told, case, client, old, new, _] = row(change);
    html! {
        b { (line(&case)) }
        @if !client.is_empty() { ", " (line(&client)) }
        ": " (told)
        @if !old.is_empty() || !new.is_empty() { ", " (line(&old)) " → " b { (line(&new)) } }
        "."
    }
}

fn change_row(change: &Change, number: usize, longest: f64) -> Markup {
    let [told, case, client, old, new, runs] = row(change);
    let words = [told.as_str(), &case, &client, &old, &new]
        .join(" ")
        .to_lowercase();
    let [before, after] = change
        .seconds
        .map_or([None, None], |[a, b]| [Some(a), Some(b)]);
    let difference = before.zip(after).map(|(before, after)| after - before);
    html! {
        tr role="row" data-order=(number) data-words=(plain(&words)) {
            td role="cell" class="v" {
                span class={ "verdict " (if change.regression { "fail" } else { "measured" }) } {
                    @if change.regression { span aria-hidden="true" { "▲ " } }
                    (told)
                }
            }
            th role="rowheader" scope="row" class="case" { (line(&case)) (bars(before, after, longest)) }
            td role="cell" class="c" data-label="client" { (line(&client)) }
            td role="cell" class="n" data-label="old" data-key=[before] { (line(&old)) }
            td role="cell" class="n" data-label="new" data-key=[after] { (line(&new)) }
            td role="cell" class="n" data-label="new − old" data-key=[difference] { (signed(difference)) }
            td role="cell" class="k" data-label="runs" { (runs) }
        }
    }
}

fn signed(difference: Option<f64>) -> String {
    let Some(difference) = difference else {
        return time_or_dash(None);
    };
    let sign = if difference < 0.0 { "−" } else { "+" };
    let time = Duration::try_from_secs_f64(difference.abs()).ok();
    format!("{sign}{}", time_or_dash(time))
}

/// Both times as bars, one above the other.
fn bars(before: Option<f64>, after: Option<f64>, longest: f64) -> Markup {
    let Some((before, after)) = before.zip(after) else {
        return html! {};
    };
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let scale = Scale::new(Duration::ZERO, time(longest));
    let (mut old, mut new) = (Marks::default(), Marks::default());
    old.bar(scale, Duration::ZERO, time(before), 1.0, 4.0);
    new.bar(scale, Duration::ZERO, time(after), 7.0, 4.0);
    let class = if after > before { "dead" } else { "open" };
    let told = format!("old {before:.3} s, new {after:.3} s");
    track(12.0, &told, html! { (old.path("old")) (new.path(class)) })
}
