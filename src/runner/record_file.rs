//! A case's record while it grows: in memory to be judged, and in a file if one was asked for.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::RunError;
use crate::plan::Case;
use crate::record::{ClockName, Event, Observation, RECORD_VERSION};

/// A growing record.
pub(super) struct RecordFile {
    events: Vec<Event>,
    begun: Option<Case>,
    clock: ClockName,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl RecordFile {
    /// A record of `case`, kept in `dir` as `NAME.ndjson` too.
    pub(super) fn new(case: Case, clock: ClockName, file: Option<&Path>) -> Result<Self, RunError> {
        let file = file.map(|path| match File::create(path) {
            Ok(file) => Ok((path.to_path_buf(), BufWriter::new(file))),
            Err(source) => Err(RunError::Record {
                path: path.to_path_buf(),
                source,
            }),
        });
        Ok(Self {
            events: Vec::new(),
            begun: Some(case),
            clock,
            file: file.transpose()?,
        })
    }

    /// Empties the record for another run of its case.
    pub(super) fn restart(&mut self) -> std::io::Result<()> {
        if let Some((path, file)) = &mut self.file {
            *file = BufWriter::new(File::create(path)?);
        }
        let first = self.events.drain(..).next();
        if let Some(Event {
            what: Observation::CaseStarted { case, .. },
            ..
        }) = first
        {
            self.begun = Some(*case);
        }
        Ok(())
    }

    /// Writes the record's first event, once.
    pub(super) fn begin(&mut self, kernel: &str, hz: Option<u32>) {
        if let Some(case) = self.begun.take() {
            let (kernel, clock, case) = (kernel.to_owned(), self.clock, Box::new(case));
            let what = Observation::CaseStarted {
                record_version: RECORD_VERSION,
                clock,
                kernel,
                hz,
                case,
            };
            self.write(Event { t_ns: 0, what });
        }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) {
        self.begin("", None);
        self.write(event);
    }

    /// Says why the rig broke, if the case has no end of its own.
    pub(super) fn break_off(&mut self, text: &str) {
        self.begin("", None);
        if !self.is_whole() {
            let t_ns = self.events.last().map_or(0, |e| e.t_ns);
            self.write(Event {
                t_ns,
                what: Observation::RigError {
                    text: text.to_owned(),
                    location: None,
                },
            });
        }
    }

    /// Whether the case is over, in one way or another.
    pub(super) fn is_whole(&self) -> bool {
        use Observation::{CaseEnded, RigError, Skipped};
        let over = |e: &Event| matches!(e.what, CaseEnded {} | RigError { .. } | Skipped { .. });
        self.events.iter().rev().any(over)
    }

    /// What was observed so far.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    fn write(&mut self, event: Event) {
        if let Some((path, file)) = &mut self.file {
            let line = serde_json::to_vec(&event).unwrap_or_default();
            let written = file
                .write_all(&line)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.flush());
            // The record in memory still counts; a full disk must not end a run of hours.
            if let Err(error) = written {
                let text = format!("the record file {} is incomplete: {error}", path.display());
                self.file = None;
                self.events.push(Event {
                    t_ns: event.t_ns,
                    what: Observation::Warning { text },
                });
            }
        }
        self.events.push(event);
    }
}

/// A file name that says which case it is: what a file system might not like becomes `_`.
pub(super) fn file_name(scenario: &str, case: &str) -> String {
    let keep = |c: char| {
        if c.is_alphanumeric() || "-_.=,".contains(c) {
            c
        } else {
            '_'
        }
    };
    format!("{scenario}--{case}")
        .chars()
        .map(keep)
        .take(180)
        .collect()
}
