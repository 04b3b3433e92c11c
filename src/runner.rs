//! Runs cases on a clock, side by side, and keeps what their labs say.
//!
//! Each case's events go to its record file as they come, and are judged when the case is over; a case whose lab
//! broke ends with a [`Observation::RigError`] that says why, so nothing that was recorded is lost.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, watch};

use crate::clock::{FromLab, LabJob, real};
use crate::plan::Case;
use crate::record::{ClockName, Event, Observation, RECORD_VERSION};
use crate::verdict::{CaseResult, judge};

/// Wall time a lab may take beyond its case's duration before it counts as stuck.
const GRACE: Duration = Duration::from_secs(60);

/// Bytes kept of what a lab process wrote to its standard error.
const LAST_WORDS: usize = 4096;

/// How cases are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cases side by side.
    pub jobs: usize,
    /// Folder for records, one NDJSON file a case.
    pub record_dir: Option<PathBuf>,
}

/// What a run tells while it goes on.
pub trait Progress {
    /// A case begins.
    fn started(&self, index: usize, case: &Case);
    /// Something was observed in it.
    fn observed(&self, index: usize, event: &Event);
    /// It is over.
    fn finished(&self, index: usize, result: &CaseResult);
}

/// No case could even begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder for records, or a file in it, can't be written.
    #[error("failed to write {}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs all `cases`; results come in their order. Where `interrupted` turns true, running cases end as they are, and
/// those not begun yet are left out.
///
/// # Errors
/// See [`RunError`]. What goes wrong within a case is in its result instead.
pub async fn run(
    cases: Vec<Case>,
    options: &Options,
    progress: Rc<dyn Progress>,
    interrupted: watch::Receiver<bool>,
) -> Result<Vec<CaseResult>, RunError> {
    if let Some(dir) = &options.record_dir {
        fs::create_dir_all(dir).map_err(|source| RunError::Record { path: dir.clone(), source })?;
    }
    let places = Rc::new(Semaphore::new(options.jobs.max(1)));
    let runs = cases.into_iter().enumerate().map(|(index, case)| {
        let (places, progress, interrupted) = (Rc::clone(&places), Rc::clone(&progress), interrupted.clone());
        async move {
            let _place = places.acquire().await;
            if *interrupted.borrow() {
                return Ok(None);
            }
            progress.started(index, &case);
            let mut record = Record::open(options.record_dir.as_deref(), &case)?;
            run_real(index, case, &mut record, &*progress, interrupted).await;
            let result = judge(&record.events);
            progress.finished(index, &result);
            Ok(Some(result))
        }
    });
    let results = futures_util::future::join_all(runs).await;
    results.into_iter().filter_map(Result::transpose).collect()
}

/// Runs one case in a lab process of its own on the real clock.
async fn run_real(
    index: usize,
    case: Case,
    record: &mut Record,
    progress: &dyn Progress,
    mut interrupted: watch::Receiver<bool>,
) {
    let limit = case.lab.duration + case.lab.drain + GRACE;
    let job = LabJob { labs: vec![case.lab.clone()], gather_events: false };
    let mut begun = Some(case);
    let mut lab = match LabProcess::start(real::command(), &job).await {
        Ok(lab) => lab,
        Err(error) => {
            record.begin(begun.take(), ClockName::Real, String::new(), None);
            record.rig_error(format!("failed to start the lab process: {error}"));
            return;
        }
    };
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    let trouble = loop {
        tokio::select! {
            message = lab.next() => match message {
                Ok(Some(FromLab::Kernel { release, hz })) => {
                    record.begin(begun.take(), ClockName::Real, release, hz);
                }
                Ok(Some(FromLab::Event { event, .. })) => {
                    progress.observed(index, &event);
                    record.push(event);
                }
                Ok(None) => break lab.last_words().await,
                Err(error) => break Some(format!("failed to read from the lab process: {error}")),
            },
            () = &mut deadline => {
                break Some(format!("the lab was still running {} s after its case's end", GRACE.as_secs()));
            }
            _ = interrupted.wait_for(|i| *i) => break Some("interrupted".to_owned()),
        }
    };
    lab.kill().await;
    record.begin(begun.take(), ClockName::Real, String::new(), None);
    if !record.is_whole() {
        record.rig_error(trouble.unwrap_or_else(|| "the lab process ended before its case did".to_owned()));
    }
}

/// A running lab process.
struct LabProcess {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl LabProcess {
    async fn start(command: io::Result<std::process::Command>, job: &LabJob) -> io::Result<Self> {
        let mut command = Command::from(command?);
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("it has no pipes"));
        };
        // A lab that dies before it has read its job says why on its standard error.
        let _ = stdin.write_all(&serde_json::to_vec(job)?).await;
        drop(stdin);
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    async fn next(&mut self) -> io::Result<Option<FromLab>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }

    /// Why it ended, if not in good order.
    async fn last_words(&mut self) -> Option<String> {
        let mut text = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(LAST_WORDS as u64).read_to_end(&mut text).await;
        }
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) if text.is_empty() => Some(format!("the lab process was ended from outside ({status})")),
            Ok(_) => Some(text),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// A case's record: in memory to be judged, and in a file if one was asked for.
struct Record {
    events: Vec<Event>,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Record {
    fn open(dir: Option<&Path>, case: &Case) -> Result<Self, RunError> {
        let file = dir.map(|dir| {
            let path = dir.join(format!("{}.ndjson", file_name(&case.scenario, &case.name)));
            match File::create(&path) {
                Ok(file) => Ok((path, BufWriter::new(file))),
                Err(source) => Err(RunError::Record { path, source }),
            }
        });
        Ok(Self { events: Vec::new(), file: file.transpose()? })
    }

    /// Writes the record's first event, once.
    fn begin(&mut self, case: Option<Case>, clock: ClockName, kernel: String, hz: Option<u32>) {
        if let Some(case) = case {
            let case = Box::new(case);
            let what = Observation::CaseStarted { record_version: RECORD_VERSION, clock, kernel, hz, case };
            self.push(Event { t_ns: 0, what });
        }
    }

    fn push(&mut self, event: Event) {
        if let Some((path, file)) = &mut self.file {
            let line = serde_json::to_vec(&event).unwrap_or_default();
            let written = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
            // The record in memory still counts; a full disk must not end a run of hours.
            if let Err(error) = written.and_then(|()| file.flush()) {
                let text = format!("the record file {} is incomplete: {error}", path.display());
                self.file = None;
                self.events.push(Event { t_ns: event.t_ns, what: Observation::Warning { text } });
            }
        }
        self.events.push(event);
    }

    fn rig_error(&mut self, text: String) {
        let t_ns = self.events.last().map_or(0, |e| e.t_ns);
        self.push(Event { t_ns, what: Observation::RigError { text, location: None } });
    }

    fn is_whole(&self) -> bool {
        self.events.iter().any(|e| {
            matches!(
                e.what,
                Observation::CaseEnded {} | Observation::RigError { .. } | Observation::Skipped { .. }
            )
        })
    }
}

/// A file name that says which case it is: what a file system might not like becomes `_`.
fn file_name(scenario: &str, case: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "-_.=,".contains(c) { c } else { '_' };
    format!("{scenario}--{case}").chars().map(keep).take(180).collect()
}
