//! A case's record while it grows: in memory to be judged, and in a file if one was asked for.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::RunError;
use super::capture::Capture;
use crate::plan::Case;
use crate::record::{ClockName, Event, Frames, Observation, RECORD_VERSION};
use crate::result::Note;
use crate::verdict::CaseResult;

/// What a record's first event says besides its case and what the lab says.
#[derive(Debug, Clone)]
pub(super) struct Started {
    pub(super) clock: ClockName,
    /// Of the kernel's file, on the virtual clock.
    pub(super) kernel_sha256: Option<String>,
    /// A guest's memory lies elsewhere in each run.
    pub(super) random_addresses: bool,
}

/// What a record says then.
const RANDOM_ADDRESSES: &str = "this machine forbids personality(2), so the guest's addresses are random, and its dice with \
                                them: another run of this case may differ";

/// A growing record.
pub(super) struct RecordFile {
    case: Case,
    started: Started,
    path: Option<PathBuf>,
    events: Arc<Vec<Event>>,
    /// What is told before anything else.
    first: Vec<String>,
    has_begun: bool,
    file: Option<BufWriter<File>>,
    capture: Option<Capture>,
    unwritten: Option<String>,
}

impl RecordFile {
    /// A record of `case`, kept in `file` too, and beside it the packets the case asks for.
    pub(super) fn new(case: Case, started: Started, file: Option<&Path>) -> Result<Self, RunError> {
        let packets = file.map(|path| path.with_extension("pcapng"));
        let capture = Capture::new(&case, started.clock, packets);
        let path = file.map(Path::to_path_buf);
        let mut first = Vec::new();
        if started.random_addresses {
            first.push(RANDOM_ADDRESSES.to_owned());
        }
        Ok(Self {
            file: path.as_deref().map(created).transpose()?,
            case,
            started,
            path,
            events: Arc::default(),
            first,
            has_begun: false,
            capture,
            unwritten: None,
        })
    }

    /// Forgets everything: the case is run again. The new record says `why`.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn start_again(&mut self, why: &str) -> Result<(), RunError> {
        let (case, started) = (self.case.clone(), self.started.clone());
        let path = self.path.clone();
        // The old file has to be closed before the new one is there.
        self.file = None;
        *self = Self::new(case, started, path.as_deref())?;
        self.first.push(why.to_owned());
        Ok(())
    }

    /// Writes the record's first event, once.
    pub(super) fn begin(&mut self, kernel: &str, hz: Option<u32>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let what = Observation::CaseStarted {
            record_version: RECORD_VERSION,
            clock: self.started.clock,
            kernel: kernel.to_owned(),
            hz,
            kernel_sha256: self.started.kernel_sha256.clone(),
            halfopen: Some(env!("CARGO_PKG_VERSION").to_owned()),
            case: Box::new(self.case.clone()),
        };
        self.write(Event { t_ns: 0, what });
        for text in std::mem::take(&mut self.first) {
            let what = Observation::Warning { text };
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

    /// Writes the packets' file. The record's own is written all the time. Says what of the two could not be written, and
    /// why.
    pub(super) fn finish(&mut self, result: &mut CaseResult) -> Option<String> {
        if let Some(history) = &mut result.history {
            history.record = self.path.clone().filter(|_| self.file.is_some());
        }
        let written = self.capture.as_ref();
        let written = written.map_or(Ok(()), |capture| capture.write(&self.events, result));
        if let Some(history) = &mut result.history {
            let packets = self.capture.as_ref().filter(|_| written.is_ok());
            history.packets = packets.and_then(Capture::path).map(Path::to_path_buf);
        }
        if let Err(error) = written {
            let t_ns = self.events.last().map_or(0, |e| e.t_ns);
            let text = format!("the packets could not be written: {error}");
            result.warnings.push(Note::new(text.clone(), None));
            let case = format!("{} / {}", result.scenario, result.case);
            self.unwritten.get_or_insert(format!("{case}: {text}"));
            let what = Observation::Warning { text };
            self.write(Event { t_ns, what });
        }
        self.unwritten.take()
    }

    /// Whether it is in a file, whole.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
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

    /// Whether the case was played to its end.
    pub(super) fn has_ended(&self) -> bool {
        let last = self.events.last().map(|event| &event.what);
        matches!(last, Some(Observation::CaseEnded {}))
    }

    /// For how long of two seconds the lab waited for its turns on the processor, if that was worth telling of.
    pub(super) fn lateness(&self) -> Option<Duration> {
        self.events.iter().rev().find_map(|event| match event.what {
            Observation::Lateness { longest_us } => Some(Duration::from_micros(longest_us)),
            _ => None,
        })
    }

    /// What was observed so far, for another thread as well.
    pub(super) fn events(&self) -> Arc<Vec<Event>> {
        Arc::clone(&self.events)
    }

    fn write(&mut self, event: Event) {
        if let Some((file, path)) = self.file.as_mut().zip(self.path.as_ref()) {
            let line = serde_json::to_vec(&event).unwrap_or_default();
            let written = file
                .write_all(&line)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.flush());
            // The record in memory still counts; a full disk must not end a run of hours.
            if let Err(error) = written {
                let text = format!("the record file {} is incomplete: {error}", path.display());
                self.file = None;
                self.unwritten = Some(text.clone());
                self.keep(Event {
                    t_ns: event.t_ns,
                    what: Observation::Warning { text },
                });
            }
        }
        self.keep(event);
    }

    fn keep(&mut self, event: Event) {
        // Nobody else reads while a case goes on, so nothing is copied.
        Arc::make_mut(&mut self.events).push(event);
    }
}

fn created(path: &Path) -> Result<BufWriter<File>, RunError> {
    let file = File::create(path).map_err(|source| RunError::Record {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(BufWriter::new(file))
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
