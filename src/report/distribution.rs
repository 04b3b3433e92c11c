//! How a client's times are distributed over a case's repetitions, for people.

use std::time::Duration;

use crate::plan::units::measured;
use crate::result::{Distribution, Spread, word};

/// What [`rows`] says, by column.
pub(super) const HEADER: [&str; 8] = [
    "client",
    "time",
    "happened in",
    "min",
    "median",
    "p95",
    "max",
    "causes",
];

/// A client's rows: detection and recovery.
pub(super) fn rows(distribution: &Distribution) -> [[String; 8]; 2] {
    let causes: Vec<_> = distribution
        .causes
        .iter()
        .map(|(cause, count)| {
            let name = cause.map_or_else(|| String::from("not affected"), |cause| word(&cause));
            format!("{count} × {name}")
        })
        .collect();
    [
        row(
            &distribution.client,
            "detected",
            &distribution.detected,
            causes.join(", "),
        ),
        row("", "recovered", &distribution.recovered, String::new()),
    ]
}

fn row(client: &str, time: &str, spread: &Spread, causes: String) -> [String; 8] {
    let quantile = |time: Option<Duration>| time.map_or_else(|| String::from("never"), measured);
    let (client, time) = (client.to_owned(), time.to_owned());
    if spread.one_value {
        let runs = format!("one value ({} runs)", spread.count);
        let none = String::new;
        return [
            client,
            time,
            runs,
            quantile(spread.min),
            none(),
            none(),
            none(),
            causes,
        ];
    }
    let [share, low, high] = spread.share.map(|share| share * 100.0);
    [
        client,
        time,
        format!(
            "{} of {} ({share:.1} %, {low:.1} to {high:.1})",
            spread.happened, spread.count
        ),
        quantile(spread.min),
        quantile(spread.median),
        quantile(spread.p95),
        quantile(spread.max),
        causes,
    ]
}
