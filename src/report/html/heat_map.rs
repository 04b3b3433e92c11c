//! A matrix as a heat map: a table a client, its cells coloured by how long the recovery took.

use std::time::Duration;

use maud::{Markup, html};

use super::distribution::median;
use super::text::{line, plain, verdict};
use super::{Shown, sentence};
use crate::report::figures::has_figures;
use crate::result::{CaseResult, ClientResult, Verdict};

/// Clients of a scenario that have a heat map.
const CLIENTS: usize = 8;

/// The heat maps of all scenarios with a matrix.
pub(super) fn heat_maps(cases: &[Shown]) -> Markup {
    let groups: Vec<_> = groups(cases)
        .into_iter()
        .filter(|group| group.len() > 1)
        .collect();
    html! {
        @if !groups.is_empty() {
            section class="heat" {
                h2 { "Matrices: how long until well again" }
                @for group in &groups { (of_scenario(group)) }
            }
        }
    }
}

/// Cases of one scenario's matrix on one clock and kernel.
fn groups<'a>(cases: &[Shown<'a>]) -> Vec<Vec<Shown<'a>>> {
    let mut groups: Vec<Vec<Shown>> = Vec::new();
    let of_matrix =
        |shown: &&Shown| !shown.result.matrix.is_empty() && shown.result.repetition.is_none();
    for shown in cases.iter().filter(of_matrix) {
        let same = |group: &&mut Vec<Shown>| {
            let first = group[0].result;
            first.scenario == shown.result.scenario
                && (first.clock, &first.kernel) == (shown.result.clock, &shown.result.kernel)
                && keys(first) == keys(shown.result)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(*shown),
            None => groups.push(vec![*shown]),
        }
    }
    groups
}

fn keys(result: &CaseResult) -> Vec<&str> {
    result
        .matrix
        .iter()
        .map(|value| value.path.as_str())
        .collect()
}

fn of_scenario(group: &[Shown]) -> Markup {
    let first = group[0].result;
    let mut clients: Vec<&str> = Vec::new();
    for shown in group {
        let own = shown.result.clients.iter().map(|c| c.name.as_str());
        let of_all = shown.result.distributions.iter().map(|d| d.client.as_str());
        for name in own.chain(of_all) {
            if !clients.contains(&name) {
                clients.push(name);
            }
        }
    }
    // Of one with nothing to tell, as of who was never struck, there is no map.
    clients.retain(|client| {
        group
            .iter()
            .any(|shown| recovery(shown.result, client).is_some())
    });
    let several = clients.len() > 1;
    html! {
        h3 { (line(&first.scenario)) }
        @for client in clients.iter().take(CLIENTS) { (map(group, client, several)) }
        @if clients.len() > CLIENTS { p { "… and " (clients.len() - CLIENTS) " more clients, in the cases." } }
    }
}

/// One client's map: the last axis across, all others down.
fn map(group: &[Shown], client: &str, several: bool) -> Markup {
    let keys: Vec<String> = group[0]
        .result
        .matrix
        .iter()
        .map(|v| plain(&v.key))
        .collect();
    let last = keys.len() - 1;
    let (mut rows, mut columns): (Vec<Vec<&str>>, Vec<&str>) = (Vec::new(), Vec::new());
    for shown in group {
        let (row, column) = place(shown);
        if !rows.contains(&row) {
            rows.push(row);
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    in_order(&mut columns);
    let times = group
        .iter()
        .filter_map(|shown| recovery(shown.result, client)?.0);
    let range = Range::of(times);
    html! {
        div class="wide" tabindex="0" role="region" aria-label={ "Heat map of " (plain(client)) } {
            table class="map" {
                caption { @if several { (line(client)) ": " } "recovered after; across: " (keys[last]) }
                thead {
                    tr {
                        @for key in &keys[..last] { th scope="col" { (key) } }
                        @if last == 0 { td {} }
                        @for column in &columns { th scope="col" { (line(column)) } }
                    }
                }
                tbody {
                    @for row in &rows {
                        tr {
                            @for value in row { th scope="row" { (line(value)) } }
                            @if row.is_empty() { th scope="row" { "recovered" } }
                            @for column in &columns {
                                @match group.iter().find(|shown| place(shown) == (row.clone(), *column)) {
                                    Some(shown) => (cell(*shown, client, &range)),
                                    None => td class="none" { "–" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Numbers in their order; else the order of the matrix stays.
fn in_order(values: &mut [&str]) {
    let number = |value: &&str| value.parse::<f64>().ok();
    if values.iter().all(|value| number(value).is_some()) {
        values.sort_by(|a, b| f64::total_cmp(&number(a).unwrap_or(0.0), &number(b).unwrap_or(0.0)));
    }
}

fn place<'a>(shown: &Shown<'a>) -> (Vec<&'a str>, &'a str) {
    let mut values: Vec<&str> = shown
        .result
        .matrix
        .iter()
        .map(|v| v.value.as_str())
        .collect();
    let last = values.pop().unwrap_or_default();
    (values, last)
}

/// A client's recovery in words, and as a time; `None` if there is none to tell.
fn recovery(result: &CaseResult, client: &str) -> Option<(Option<Duration>, String)> {
    if let Some(median) = median(result, client) {
        return Some(median);
    }
    let own: &ClientResult = result.client(client).filter(|_| has_figures(result))?;
    let text = sentence::recovered(own, result);
    (text != "–").then_some((own.recovered_after, text))
}

fn cell(shown: Shown, client: &str, range: &Range) -> Markup {
    let own = shown
        .result
        .verdict_on(client)
        .unwrap_or(shown.result.verdict);
    let told = recovery(shown.result, client);
    let heat = told.as_ref().map(|(after, _)| range.heat(*after));
    let style = heat.map(|heat| format!("--heat:{heat:.0}%"));
    html! {
        td class=(if heat.is_some() { "cell" } else { "none" }) style=[style] {
            a href={ "#" (shown.id) } {
                @match &told {
                    Some((_, text)) => (text),
                    None => "–",
                }
                @if own != Verdict::Pass && own != Verdict::Measured { " " (verdict(own)) }
            }
        }
    }
}

/// From the shortest to the longest recovery, in orders of magnitude.
struct Range {
    least: f64,
    most: f64,
}

impl Range {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let seconds = times.map(|time| time.as_secs_f64().max(1e-3));
        let (mut least, mut most) = (f64::MAX, 0.0_f64);
        for second in seconds {
            least = least.min(second);
            most = most.max(second);
        }
        Self { least, most }
    }

    /// From 0 to 100; what never came is hottest.
    fn heat(&self, after: Option<Duration>) -> f64 {
        let Some(after) = after else { return 100.0 };
        // What differs by less than an order of magnitude differs less in colour as well.
        let whole = (self.most / self.least).max(10.0).ln();
        let share = (after.as_secs_f64().max(1e-3) / self.least).ln() / whole;
        // Of none there is no hotter one.
        if share.is_finite() { share * 85.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_grows_with_the_order_of_magnitude_and_never_is_hottest() {
        let seconds = |s| Duration::from_secs(s);
        let range = Range::of([1, 10, 100].map(seconds).into_iter());
        let heat = [Some(1), Some(10), Some(100), None].map(|s| range.heat(s.map(seconds)).round());
        assert_eq!(heat, [0.0, 43.0, 85.0, 100.0]);
        let one = Range::of(std::iter::once(seconds(3)));
        assert_eq!(one.heat(Some(seconds(3))), 0.0);
    }
}
