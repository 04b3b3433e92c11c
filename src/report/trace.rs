//! A trace for ui.perfetto.dev and chrome://tracing (the Trace Event Format): a process a case, and in it a track for its
//! faults, and for each client one of its outage, some of its requests and one of each of its connections.
//!
//! Times are the case's own, in microseconds from its start. Requests that overlap lie on tracks beside each other, since
//! slices of one track must lie in one another.

mod client;
mod event;

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{Report, measured_on};
use crate::printable::printable;
use crate::result::FaultResult;
use crate::verdict::CaseResult;
use event::{Event, Tracks};

/// The trace.
#[derive(Default)]
pub(super) struct Trace;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    display_time_unit: &'static str,
    /// What viewers show beside the trace.
    other_data: serde_json::Value,
    trace_events: Vec<Event>,
}

impl Report for Trace {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        // One of many repetitions together has no time of its own.
        let cases = results.iter().filter(|r| r.distributions.is_empty());
        let events = (1..)
            .zip(cases)
            .flat_map(|(process, case)| of_case(process, case));
        let document = Document {
            display_time_unit: "ms",
            other_data: json!({
                "halfopen": env!("CARGO_PKG_VERSION"),
                "time": "of each case's own clock, from its start",
            }),
            trace_events: events.collect(),
        };
        serde_json::to_writer(&mut *out, &document)?;
        writeln!(out)
    }

    fn shows_history(&self) -> bool {
        true
    }
}

fn of_case(process: u32, case: &CaseResult) -> Vec<Event> {
    let name = format!("{} / {}: {}", case.scenario, case.case, case.verdict);
    let mut tracks = Tracks::new(process, &printable(&name), &measured_on(case));
    let track = tracks.track("faults and rules");
    tracks.slice(
        track,
        "the case",
        Duration::ZERO,
        case.duration,
        json!({
            "verdict": case.verdict,
            "reason": case.reason.as_ref().map(|reason| &reason.text),
            "kernel": case.kernel,
            "hz": case.hz,
            "seed": case.seed,
        }),
    );
    for fault in &case.faults {
        of_fault(&mut tracks, track, fault);
    }
    let history = case.history.as_deref();
    for moment in history.into_iter().flat_map(|history| &history.endpoints) {
        tracks.instant(track, &moment.text, moment.at, json!({}));
    }
    for change in history.into_iter().flat_map(|history| &history.rules) {
        let name = format!("rules of {}, {}", change.node, change.when);
        let rules = json!({ "new": change.come, "gone": change.gone });
        tracks.instant(track, &name, change.at, rules);
    }
    for client in &case.clients {
        let told =
            history.and_then(|history| history.clients.iter().find(|c| c.name == client.name));
        client::write(&mut tracks, case, client, told);
    }
    tracks.into_events()
}

fn of_fault(tracks: &mut Tracks, track: u32, fault: &FaultResult) {
    let Some(at) = fault.at else { return };
    let name = format!("{} of {}", fault.kind, fault.target);
    tracks.instant(
        track,
        &name,
        at,
        json!({ "detail": fault.detail, "lasts": fault.to_string() }),
    );
    if let Some(end) = fault.ends_at {
        tracks.instant(track, &format!("{name} is over"), end, json!({}));
    }
}
