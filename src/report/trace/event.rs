//! Events of the Trace Event Format, and the tracks they lie on.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::printable::{printable, printable_lines};

/// An event. A field that a kind of event has not is left out.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    /// `X` a slice, `i` an instant, `M` what a process or track is called.
    ph: &'static str,
    /// In microseconds.
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<u64>,
    pid: u32,
    tid: u32,
    /// Of an instant: how much of the trace it concerns, here its track.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: Value,
}

/// The category of all that is no metadata.
const CATEGORY: &str = "halfopen";

/// The tracks of a process.
pub(super) struct Tracks {
    process: u32,
    tracks: u32,
    named: Vec<Event>,
    events: Vec<Event>,
}

impl Tracks {
    /// Of a process of this number and name; `about` stands beside it.
    pub(super) fn new(process: u32, name: &str, about: &str) -> Self {
        let mut tracks = Self {
            process,
            tracks: 0,
            named: Vec::new(),
            events: Vec::new(),
        };
        tracks.call(0, "process_name", json!({ "name": printable(name) }));
        tracks.call(0, "process_labels", json!({ "labels": printable(about) }));
        tracks.call(0, "process_sort_index", json!({ "sort_index": process }));
        tracks
    }

    /// A new track, below all others.
    pub(super) fn track(&mut self, name: &str) -> u32 {
        self.tracks += 1;
        let track = self.tracks;
        self.call(track, "thread_name", json!({ "name": printable(name) }));
        self.call(track, "thread_sort_index", json!({ "sort_index": track }));
        track
    }

    /// What lasts from one time to another. On a track it must lie within another slice, or beside all of them.
    pub(super) fn slice(
        &mut self,
        track: u32,
        name: &str,
        from: Duration,
        to: Duration,
        args: Value,
    ) {
        let (ts, end) = (microseconds(from), microseconds(to));
        self.events.push(Event {
            name: printable(name).into_owned(),
            cat: Some(CATEGORY),
            ph: "X",
            ts,
            dur: Some(end.saturating_sub(ts)),
            pid: self.process,
            tid: track,
            s: None,
            args: shown(args),
        });
    }

    /// What happens at one time.
    pub(super) fn instant(&mut self, track: u32, name: &str, at: Duration, args: Value) {
        self.events.push(Event {
            name: printable(name).into_owned(),
            cat: Some(CATEGORY),
            ph: "i",
            ts: microseconds(at),
            dur: None,
            pid: self.process,
            tid: track,
            s: Some("t"),
            args: shown(args),
        });
    }

    fn call(&mut self, track: u32, what: &str, args: Value) {
        self.named.push(Event {
            name: what.to_owned(),
            cat: None,
            ph: "M",
            ts: 0,
            dur: None,
            pid: self.process,
            tid: track,
            s: None,
            args,
        });
    }

    /// All events: names first, then the others in order of time, of those that begin together the longest first.
    pub(super) fn into_events(mut self) -> Vec<Event> {
        let order = |event: &Event| (event.ts, std::cmp::Reverse(event.dur));
        self.events.sort_by_key(order);
        self.named.append(&mut self.events);
        self.named
    }
}

/// All texts in it fit to be shown.
fn shown(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable_lines(&text).into_owned()),
        Value::Array(all) => all.into_iter().map(shown).collect(),
        Value::Object(all) => all
            .into_iter()
            .map(|(name, value)| (name, shown(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Rounded down, so that what lies within another slice stays within it.
fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
