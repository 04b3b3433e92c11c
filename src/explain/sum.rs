//! The parts of an outage, added up.

use std::time::Duration;

use super::{Told, clock};
use crate::plan::units::{exact, measured};
use crate::result::{Part, PartKind};

/// The kinds of parts with their sums, then what is unexplained, then the whole.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let client = told.client;
    let Some(unexplained) = client.unexplained else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for kind in kinds(&client.parts) {
        let own: Vec<&Part> = client
            .parts
            .iter()
            .filter(|part| part.kind == kind)
            .collect();
        let sum = own.iter().map(|part| part.lasted()).sum();
        let times = if own.len() > 1 {
            format!(" ({} times)", own.len())
        } else {
            String::new()
        };
        let again: Option<Duration> = own.iter().map(|part| part.retransmitting).sum();
        let again = again.filter(|again| !again.is_zero());
        let again = again.map_or_else(String::new, |again| {
            format!(", retransmitting for {} of it", measured(again))
        });
        lines.push(line(
            kind.name(),
            sum,
            &format!("{}{times}{again}", kind.meaning()),
        ));
    }
    lines.push(line(
        "unexplained",
        unexplained,
        "between no two observed events",
    ));
    let whole = client.parts.iter().map(Part::lasted).sum::<Duration>() + unexplained;
    let predicted = told.predicted().unwrap_or_default();
    lines.push(line("outage", whole, &predicted));
    if told.options.verbose {
        lines.extend(client.parts.iter().map(verbose));
    }
    lines
}

/// In order of their first time.
fn kinds(parts: &[Part]) -> Vec<PartKind> {
    let mut kinds = Vec::new();
    for part in parts {
        if !kinds.contains(&part.kind) {
            kinds.push(part.kind);
        }
    }
    kinds
}

fn line(name: &str, time: Duration, text: &str) -> String {
    format!("  {name:<17} {:>13.6} s  {text}", time.as_secs_f64())
}

fn verbose(part: &Part) -> String {
    format!(
        "  {} {:<17} {:>12}  {} → {}",
        clock(part.from),
        part.kind.name(),
        exact(part.lasted()),
        part.begins_with,
        part.ends_with
    )
}
