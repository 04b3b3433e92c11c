//! Reads a record back from its file, so that it can be judged and reported again.

use std::io::{self, BufRead, Read as _};
use std::time::Duration;

use serde_json::Value;

use crate::record::{Event, Observation, RECORD_VERSION};

/// Bytes of a line that is read. The longest, a case of thousands of clients, has some MiB.
const LONGEST_LINE: u64 = 64 << 20;

/// The longest time that is believed, ten years: a scenario's are at most a day. Added up, or as many times as a counter
/// counts, it still is a time.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A record as it stood in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its events, in the file's order.
    pub events: Vec<Event>,
    /// The number of a last line that was cut off in the middle (by a kill, or a full disk) and left out.
    pub cut_off_line: Option<usize>,
}

/// Why a file can't be read as a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file can't be read.
    #[error("line {line}: can't be read")]
    Io {
        /// Line, from 1.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// A line is not an event.
    #[error("line {line}: not an event")]
    Event {
        /// Line, from 1.
        line: usize,
        /// Why, and the column.
        source: serde_json::Error,
    },
    /// The first event is another than [`Observation::CaseStarted`].
    #[error("line {line}: a record begins with `case_started`")]
    Beginning {
        /// Line, from 1.
        line: usize,
    },
    /// A line is longer than any event.
    #[error("line {line}: longer than {LONGEST_LINE} bytes; a record has an event a line")]
    TooLong {
        /// Line, from 1.
        line: usize,
    },
    /// A time is longer than any case.
    #[error("line {line}: {seconds} seconds; no time in a record is longer than ten years")]
    Time {
        /// Line, from 1.
        line: usize,
        /// The time.
        seconds: u64,
    },
    /// The record was written by a later version.
    #[error("line {line}: record version {found}; this program reads up to {RECORD_VERSION}")]
    Version {
        /// Line, from 1.
        line: usize,
        /// Its version.
        found: u32,
    },
    /// There is nothing in it.
    #[error("the record is empty")]
    Empty,
}

/// Reads a record.
///
/// # Errors
/// If a line other than a cut-off last one is not an event, or the first is not the case's start.
pub fn read(mut from: impl BufRead) -> Result<Record, RecordError> {
    let mut events = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let length = (&mut from)
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| RecordError::Io { line, source })?;
        if length == 0 {
            break;
        }
        if length as u64 > LONGEST_LINE {
            return Err(RecordError::TooLong { line });
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let event = match events.is_empty() {
            true => Event::beginning(&bytes),
            false => serde_json::from_slice(&bytes).map(Ok),
        };
        match event {
            Ok(Err(found)) => return Err(RecordError::Version { line, found }),
            Ok(Ok(event)) if events.is_empty() && !begins(&event) => {
                return Err(RecordError::Beginning { line });
            }
            Ok(Ok(event)) => {
                if let Some(seconds) = beyond_belief(&event, &bytes) {
                    return Err(RecordError::Time { line, seconds });
                }
                events.push(event);
            }
            // Only the last line of a file has no end.
            Err(_) if !bytes.ends_with(b"\n") => {
                let cut_off_line = Some(line);
                return Ok(Record {
                    events,
                    cut_off_line,
                });
            }
            Err(source) => return Err(RecordError::Event { line, source }),
        }
    }
    if events.is_empty() {
        return Err(RecordError::Empty);
    }
    Ok(Record {
        events,
        cut_off_line: None,
    })
}

fn begins(event: &Event) -> bool {
    matches!(event.what, Observation::CaseStarted { .. })
}

/// A time of an event, in seconds, that is longer than [`LONGEST_TIME`].
fn beyond_belief(event: &Event, bytes: &[u8]) -> Option<u64> {
    let at = event.at();
    if at > LONGEST_TIME {
        return Some(at.as_secs());
    }
    // Durations are written as `{"secs":…,"nanos":…}`, and few events have one.
    let field = b"\"secs\"";
    let has_durations = bytes.windows(field.len()).any(|window| window == field);
    let value = has_durations.then(|| serde_json::from_slice(bytes).ok());
    longest(&value.flatten()?).filter(|seconds| *seconds > LONGEST_TIME.as_secs())
}

/// The longest duration within a value, in seconds.
fn longest(value: &Value) -> Option<u64> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("secs").and_then(Value::as_u64);
            fields.values().filter_map(longest).chain(own).max()
        }
        Value::Array(items) => items.iter().filter_map(longest).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
