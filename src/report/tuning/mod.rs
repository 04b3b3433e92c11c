//! What a tuning came to, for people and for programs.

mod svg;

use std::time::Duration;

use serde::Serialize;

use super::layout::Sheet;
use crate::plan::units::{exact, measured};
use crate::printable::printable;
use crate::tune::{By, ClientTuning, Point, Tuning};

pub(crate) use svg::svg;
pub(super) use svg::{Axes, TICKS, label as tick_label};

/// Version of the JSON's shape; it rises when a field changes its meaning.
const SCHEMA_VERSION: u32 = 1;

const HEADER: [&str; 9] = [
    "setting",
    "recovers\nworst",
    "\nmedian",
    "at most\n(model)",
    "survives",
    "killed by loss\n1 / 5 / 10 %",
    "packets\nan hour",
    "after a\npartition",
    "figures",
];

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    #[serde(flatten)]
    tuning: &'a Tuning,
}

/// A page for people, with the front as a picture.
pub(crate) fn html(tuning: &Tuning) -> String {
    super::html::tuning(tuning)
}

/// All of it, for programs.
pub(crate) fn json(tuning: &Tuning) -> String {
    let schema_version = SCHEMA_VERSION;
    let document = Document {
        schema_version,
        tuning,
    };
    // Its keys are texts and its numbers finite.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// A table a client, and what follows from it. Without `all`: the front, what is recommended, and the scenario as it is.
pub(crate) fn table(tuning: &Tuning, all: bool, columns: usize) -> String {
    let clients = tuning
        .clients
        .iter()
        .map(|client| of_client(tuning, client, all, columns));
    let mut text = String::new();
    if tuning.interrupted {
        text += "interrupted: not all was run that decides; figures of the others are the timeout model's.\n\n";
    }
    text += &clients.collect::<Vec<_>>().join("\n");
    if !tuning.impossible.is_empty() {
        text += "\nnot possible here:\n";
        for impossible in &tuning.impossible {
            text += &format!("  {}: {}\n", impossible.setting, printable(&impossible.why));
        }
    }
    text
}

fn of_client(tuning: &Tuning, client: &ClientTuning, all: bool, columns: usize) -> String {
    let shown: Vec<(usize, &Point)> = client
        .points
        .iter()
        .enumerate()
        .filter(|(at, point)| all || is_shown(client, *at, point))
        .collect();
    let mut sheet = Sheet::new(HEADER).right(1..=7);
    for (_, point) in &shown {
        sheet.row(row(point));
    }
    let hidden = client.points.len() - shown.len();
    let hidden = match hidden {
        0 => String::new(),
        some => format!(", of which {some} are not shown (--all)"),
    };
    let kernel = tuning.kernel.as_deref().unwrap_or("an unknown kernel");
    let mut text = format!(
        "{}, {}: {} settings{hidden}, {} runs on Linux {kernel}\n\n{}\n\n",
        printable(&tuning.scenario),
        printable(&client.client),
        client.points.len(),
        tuning.runs,
        sheet.within(columns)
    );
    text += "● on the front: no other setting recovers as soon, whatever chance says, and survives as long.\n";
    text += &format!(
        "recovers: from a loss of power until it works again. survives: the longest silence of a healthy connection. after a \
         partition: of {}, until it works again.\n",
        exact(tuning.partition)
    );
    text += "figures: run; or \"model\", the timeout model's arithmetic, the slower end for recovers and the shorter for survives.\n\n";
    if !client.findings.is_empty() {
        text +=
            "the timeout model was wrong here, so that all that rests on the same timer was run:\n";
        for finding in &client.findings {
            text += &format!("  {finding}\n");
        }
        text += "\n";
    }
    text += &format!("{}\n", client.sentence);
    for line in &client.write {
        text += &format!("  {line}\n");
    }
    text
}

fn is_shown(client: &ClientTuning, at: usize, point: &Point) -> bool {
    point.on_front
        || point.source.is_some()
        || point.set.is_empty()
        || client.answers.iter().take(5).any(|answer| *answer == at)
}

pub(super) fn row(point: &Point) -> Vec<String> {
    let unknown = || String::from("–");
    let time = |time: Option<Duration>| time.map_or_else(|| String::from("never"), measured);
    let killed = match point.killed.as_slice() {
        [] if point.killed_by_model.is_empty() => unknown(),
        [] => {
            let each = point.killed_by_model.iter().map(|likely| match *likely {
                likely if likely < 0.0005 => String::from("0"),
                likely => format!("{:.1}", likely * 100.0),
            });
            format!("{} % (model)", each.collect::<Vec<_>>().join(" / "))
        }
        all => {
            let each = all.iter().map(|killed| killed.share.happened.to_string());
            let runs = all.first().map_or(0, |killed| killed.share.runs);
            format!("{} of {runs}", each.collect::<Vec<_>>().join(" / "))
        }
    };
    let at_least = if point.survives_at_least { "≥ " } else { "" };
    let mark = if point.on_front { "● " } else { "  " };
    let of_run = |known: Option<String>| known.unwrap_or_else(unknown);
    if let Some(why) = &point.unmeasured {
        let mut cells = vec![format!("{mark}{}", printable(&point.setting))];
        cells.extend(std::iter::repeat_n(unknown(), 7));
        cells.push(printable(why).into_owned());
        return cells;
    }
    vec![
        format!("{mark}{}", printable(&point.setting)),
        time(point.recovery_worst),
        time(point.recovery_median),
        of_run(point.recovery_bound.map(measured)),
        match point.by {
            By::Model => measured(point.survives),
            By::Run | By::SameAs(_) => format!("{at_least}{}", exact(point.survives)),
        },
        killed,
        of_run(point.packets_per_hour.map(|packets| packets.to_string())),
        match point.by {
            By::Model => unknown(),
            By::Run | By::SameAs(_) => time(point.works_again_after).replace("0.0 ms", "0 s"),
        },
        match &point.by {
            By::Run => String::from("run"),
            By::SameAs(other) => format!("as {other}"),
            By::Model => String::from("model"),
        },
    ]
}
