//! The unanswered segment: when it was sent again, beside the timer wheel's arithmetic and what was published.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::Told;
use crate::result::{ConnectionResult, Retransmissions};

/// Of the connection whose end was the detection.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let Some((connection, series)) = waited_on(told) else {
        return Vec::new();
    };
    let published = told.client.published.as_ref();
    let published_series = published
        .map(|p| p.retransmissions.as_slice())
        .unwrap_or_default();
    if published_series.is_empty() && !told.options.verbose {
        return vec![short(connection, series)];
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["", "measured", "timer wheel"];
    if !published_series.is_empty() {
        header.push("published");
    }
    table.set_header(header);
    let rows = series.measured.len().max(published_series.len());
    for n in 0..rows {
        let name = match n {
            0 if series.tail_loss_probe => String::from("tail loss probe"),
            _ => format!("again {}", n + usize::from(!series.tail_loss_probe)),
        };
        let arithmetic = series.arithmetic.get(n).copied().flatten();
        let mut row = vec![
            name,
            time(series.measured.get(n).copied()),
            time(arithmetic),
        ];
        if !published_series.is_empty() {
            row.push(time(published_series.get(n).copied()));
        }
        table.add_row(row);
    }
    let mut end = vec![
        String::from("given up"),
        time(series.gave_up_after),
        time(series.arithmetic_gave_up_after),
    ];
    if !published_series.is_empty() {
        end.push(time(published.and_then(|p| p.gave_up)));
    }
    table.add_row(end);
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let title = format!(
        "  connection {}, seconds after the first sending",
        connection.id
    );
    let rows = table.lines().map(|line| format!("  {}", line.trim_end()));
    std::iter::once(title).chain(rows).collect()
}

fn waited_on<'a>(told: &'a Told) -> Option<(&'a ConnectionResult, &'a Retransmissions)> {
    let client = told.client;
    let closed = client
        .fault_at
        .zip(client.detected_after)
        .map(|(at, after)| at + after);
    let all = client.connections.iter();
    let ended = all
        .clone()
        .find(|c| closed.is_some() && c.closed_at == closed);
    // Of one that was never given up, the one that its requests wait on still.
    let found = ended.or_else(|| {
        all.clone()
            .find(|c| closed.is_none() && c.retransmissions.is_some())
    })?;
    Some((found, found.retransmissions.as_ref()?))
}

fn short(connection: &ConnectionResult, series: &Retransmissions) -> String {
    let times: Vec<_> = series
        .measured
        .iter()
        .map(|time| format!("{:.1}", time.as_secs_f64()))
        .collect();
    let times = match times.as_slice() {
        [first @ .., last] if first.len() > 8 => format!("{}, …, {last}", first[..6].join(", ")),
        _ => times.join(", "),
    };
    let probe = if series.tail_loss_probe {
        ", the first as a tail loss probe"
    } else {
        ""
    };
    let often = match series.measured.len() {
        1 => String::from("once"),
        times => format!("{times} times"),
    };
    format!(
        "  connection {}: sent again {often}, {times} s after the first sending{probe}",
        connection.id,
    )
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || String::from("–"),
        |time| format!("{:.3}", time.as_secs_f64()),
    )
}
