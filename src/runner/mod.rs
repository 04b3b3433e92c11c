//! Runs cases on a clock, side by side, and keeps what their labs say.
//!
//! Each case's events go to its record as they come, and are judged when the case is over; a case whose lab broke
//! ends with a rig error that says why, so nothing that was recorded is lost.

mod capture;
mod case_run;
mod judging;
mod marks;
mod pcapng;
mod record_file;
mod run_file;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::clock::guest::{Orphans, addresses_can_be_fixed};
use crate::clock::kernel::Kernel;
use crate::plan::Case;
use crate::record::{ClockName, Event};
use crate::verdict::CaseResult;
use case_run::{Busy, CaseRun, Places};
use record_file::{RecordFile, Started, file_name};
pub use run_file::{CasePlace, RunFile, RunFileError, RunId};

/// How cases are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// On what.
    pub clock: Clock,
    /// Cases side by side, each in a lab process or a guest of its own.
    pub jobs: usize,
    /// Folder for records, one NDJSON file a case, and one pcapng file beside it if packets are kept.
    pub record_dir: Option<PathBuf>,
    /// Seed of a guest kernel's randomness.
    pub seed: u64,
    /// Processor time after which a guest that has said nothing counts as standing still. It says that it is alive every
    /// ten seconds of its own time, which take milliseconds.
    pub standstill: Duration,
    /// Keep with each result what happened by time, for a report that shows it.
    pub history: bool,
}

/// What cases are run on.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The host's kernel.
    Real,
    /// A guest's kernel.
    Virtual(Kernel),
}

impl Clock {
    /// Its name in records and reports.
    #[must_use]
    pub fn name(&self) -> ClockName {
        match self {
            Self::Real => ClockName::Real,
            Self::Virtual(_) => ClockName::Virtual,
        }
    }
}

/// A case that is to be run.
#[derive(Debug, Clone)]
pub struct Planned {
    /// It.
    pub case: Case,
    /// Its record's file, where records are kept: one of its own in its run.
    pub record: String,
}

/// The cases of a run. Names that two of them share get a number.
#[must_use]
pub fn planned(cases: Vec<Case>) -> Vec<Planned> {
    let mut taken = HashSet::new();
    let named = |(index, case): (usize, Case)| {
        let mut name = file_name(&case.scenario, &case.name);
        if !taken.insert(name.clone()) {
            name = format!("{name}--{index}");
            taken.insert(name.clone());
        }
        let record = format!("{name}.ndjson");
        Planned { case, record }
    };
    cases.into_iter().enumerate().map(named).collect()
}

/// What a run tells while it goes on.
pub trait Progress {
    /// A case begins.
    fn started(&self, index: usize, case: &Case);
    /// Something was observed in it.
    fn observed(&self, index: usize, event: &Event);
    /// This machine was too slow to tell what it came to: it begins again, with fewer beside it.
    fn put_off(&self, index: usize);
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
    /// The kernel of the virtual clock can't be read.
    #[error("failed to read the kernel {}", path.display())]
    Kernel {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Finished {
    /// The results of the cases that were begun, in the order of all cases.
    pub results: Vec<CaseResult>,
    /// Records and packets that were to be kept and could not be written, or not to their end: a sentence each.
    pub unwritten: Vec<String>,
}

/// Runs all `cases`; results come in their order. When `interrupted` turns true, running cases end as they are, and
/// those not begun yet are left out.
///
/// # Errors
/// See [`RunError`]. What goes wrong within a case is in its result instead.
pub async fn run(
    cases: Vec<Planned>,
    options: &Options,
    progress: Rc<dyn Progress>,
    interrupted: watch::Receiver<bool>,
) -> Result<Finished, RunError> {
    if let Some(dir) = &options.record_dir {
        fs::create_dir_all(dir).map_err(|source| RunError::Record {
            path: dir.clone(),
            source,
        })?;
    }
    // A place that no case can need would only stand in the way of one that wants all of them.
    let jobs = options
        .jobs
        .clamp(1, cases.len().clamp(1, Semaphore::MAX_PERMITS));
    let places = Places {
        jobs: Semaphore::new(jobs),
        attempts: attempts(jobs),
        set_ups: Semaphore::new(set_ups_at_once()),
        cpus: Cpus::default(),
        busy: Busy::default(),
        interrupted_since: judging::Since::new(),
    };
    let runs = records(cases, options)?
        .into_iter()
        .enumerate()
        .map(|(index, (case, record))| CaseRun {
            index,
            case,
            record,
            options,
            progress: &*progress,
            interrupted: interrupted.clone(),
        });
    // Refused, processes of labs and guests may be seen for a moment after this process.
    let orphans = Orphans::take_in().ok();
    let runs = runs.map(|run| run.run(&places));
    let ended = futures_util::future::join_all(runs).await;
    if let Some(orphans) = orphans {
        orphans.gone().await;
    }
    let mut finished = Finished::default();
    for (result, unwritten) in ended.into_iter().flatten() {
        finished.results.push(result);
        finished.unwritten.extend(unwritten);
    }
    Ok(finished)
}

/// The places that a case takes on the real clock at its first attempt, and at those that follow as long as the machine was
/// too slow for it: an eighth of all, so that it has few beside it, and then all, so that it has none.
fn attempts(jobs: usize) -> [u32; 3] {
    let all = u32::try_from(jobs).unwrap_or(u32::MAX);
    [1, all.div_ceil(8), all]
}

/// Lab processes that set up at once on the real clock: one processor less than there are, so that those that run
/// already are not late. Set-up is all work, running nearly all waiting.
fn set_ups_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (usize::from(cores) - 1).max(1))
}

/// Opens every case's record.
fn records(cases: Vec<Planned>, options: &Options) -> Result<Vec<(Case, RecordFile)>, RunError> {
    let started = match &options.clock {
        Clock::Real => Started {
            clock: ClockName::Real,
            kernel_sha256: None,
            random_addresses: false,
        },
        Clock::Virtual(kernel) => Started {
            clock: ClockName::Virtual,
            kernel_sha256: Some(kernel.sha256().map_err(|source| RunError::Kernel {
                path: kernel.path.clone(),
                source,
            })?),
            random_addresses: !addresses_can_be_fixed(),
        },
    };
    let record = |Planned {
                      mut case,
                      record: name,
                  }| {
        if options.record_dir.is_none() && started.clock == ClockName::Real {
            // There is no place for packets. (In a guest they are watched all the same: the same case is the same run.)
            case.lab.probes.packets.clear();
        }
        let path = options.record_dir.as_ref().map(|dir| dir.join(name));
        let record = RecordFile::new(case.clone(), started.clone(), path.as_deref())?;
        Ok((case, record))
    };
    cases.into_iter().map(record).collect()
}

/// Which processor each running guest has: the one with the fewest.
#[derive(Default)]
struct Cpus {
    guests: std::cell::RefCell<Vec<usize>>,
}

impl Cpus {
    fn take(&self) -> usize {
        let mut guests = self.guests.borrow_mut();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        guests.resize(cores, 0);
        // Another run on this machine knows nothing of ours: not both begin with the first processor.
        let first = std::process::id() as usize;
        let least = (0..cores)
            .map(|offset| (first + offset) % cores)
            .min_by_key(|cpu| guests[*cpu])
            .unwrap_or(0);
        guests[least] += 1;
        least
    }

    fn give_back(&self, cpu: usize) {
        self.guests.borrow_mut()[cpu] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_last_attempt_a_case_has_none_beside_it() {
        assert_eq!(attempts(1), [1, 1, 1]);
        assert_eq!(attempts(2), [1, 1, 2]);
        assert_eq!(attempts(100), [1, 13, 100]);
    }
}
