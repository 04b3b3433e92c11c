//! Reads a record back from its file, so that it can be judged and reported again.

use std::io::{self, BufRead};

use crate::record::{Event, Observation, RECORD_VERSION};

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
        let length = from
            .read_until(b'\n', &mut bytes)
            .map_err(|source| RecordError::Io { line, source })?;
        if length == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Event>(&bytes) {
            Ok(event) => {
                if events.is_empty() {
                    check_beginning(&event, line)?;
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

fn check_beginning(event: &Event, line: usize) -> Result<(), RecordError> {
    match &event.what {
        Observation::CaseStarted { record_version, .. } if *record_version > RECORD_VERSION => {
            let found = *record_version;
            Err(RecordError::Version { line, found })
        }
        Observation::CaseStarted { .. } => Ok(()),
        _ => Err(RecordError::Beginning { line }),
    }
}
