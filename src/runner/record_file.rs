//! A case's record while it grows: in memory to be judged, and in a file if one was asked for.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::RunError;
use super::capture::Capture;
use crate::plan::Case;
use crate::record::{ClockName, Event, Frames, Observation, RECORD_VERSION};
use crate::verdict::CaseResult;

/// A growing record.
pub(super) struct RecordFile {
    events: Vec<Event>,
    begun: Option<Case>,
    clock: ClockName,
    file: Option<(PathBuf, BufWriter<File>)>,
    capture: Option<Capture>,
}

impl RecordFile {
    /// A record of `case`, kept in `file` too, and beside it the packets the case asks for.
    pub(super) fn new(case: Case, clock: ClockName, file: Option<&Path>) -> Result<Self, RunError> {
        let capture =
            file.and_then(|path| Capture::new(&case, clock, path.with_extension("pcapng")));
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
            capture,
        })
    }

    /// Empties the record for another run of its case.
    pub(super) fn restart(&mut self) -> std::io::Result<()> {
        if let Some((path, file)) = &mut self.file {
            *file = BufWriter::new(File::create(path)?);
        }
        if let Some(capture) = &mut self.capture {
            capture.clear();
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
        if ends(&event) {
            self.tell_what_is_missing(event.t_ns);
        }
        self.write(event);
    }

    /// Adds packets.
    pub(super) fn hear(&mut self, frames: &Frames) {
        if let Some(capture) = &mut self.capture {
            capture.hear(frames);
        }
    }

    /// Writes the packets' file. The record's own is written all the time.
    pub(super) fn finish(&mut self, result: &CaseResult) {
        let Some(capture) = &self.capture else {
            return;
        };
        if let Err(error) = capture.write(&self.events, result) {
            let t_ns = self.events.last().map_or(0, |e| e.t_ns);
            let text = format!("the packets could not be written: {error}");
            let what = Observation::Warning { text };
            self.write(Event { t_ns, what });
        }
    }

    /// Says which packets are not kept.
    fn tell_what_is_missing(&mut self, t_ns: u64) {
        let warnings = self.capture.as_ref().map(Capture::warnings);
        for text in warnings.unwrap_or_default() {
            let what = Observation::Warning { text };
            self.write(Event { t_ns, what });
        }
    }

    /// Says why the rig broke, if the case has no end of its own.
    pub(super) fn break_off(&mut self, text: &str) {
        self.begin("", None);
        if !self.is_whole() {
            let t_ns = self.events.last().map_or(0, |e| e.t_ns);
            let (text, location) = (text.to_owned(), None);
            let what = Observation::RigError { text, location };
            self.push(Event { t_ns, what });
        }
    }

    /// Whether the case is over, in one way or another.
    pub(super) fn is_whole(&self) -> bool {
        self.events.iter().rev().any(ends)
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

/// Whether a case is over with `event`, in one way or another.
fn ends(event: &Event) -> bool {
    use Observation::{CaseEnded, RigError, Skipped};
    matches!(event.what, CaseEnded {} | RigError { .. } | Skipped { .. })
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
