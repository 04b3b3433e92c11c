//! Runs cases on a clock, side by side, and keeps what their labs say.
//!
//! Each case's events go to its record as they come, and are judged when the case is over; a case whose lab broke
//! ends with a rig error that says why, so nothing that was recorded is lost.

mod batch;
mod capture;
mod marks;
mod pcapng;
mod record_file;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::clock::kernel::Kernel;
use crate::plan::{self, Case};
use crate::record::{ClockName, Event};
use crate::verdict::{CaseResult, judge};
use batch::{Batch, Member};
use record_file::{RecordFile, file_name};

/// Labs in one guest at most: they share its memory and its one processor.
const LABS_PER_GUEST: usize = 50;
/// The same where programs run in them: each needs memory of its own, and one that never rests takes all labs of its
/// guest along.
const LABS_WITH_PROGRAMS: usize = 8;

/// How cases are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// On what.
    pub clock: Clock,
    /// Lab processes side by side: cases on the real clock, guests on the virtual one.
    pub jobs: usize,
    /// Folder for records, one NDJSON file a case, and one pcapng file beside it if packets are kept.
    pub record_dir: Option<PathBuf>,
    /// Seed of a guest kernel's randomness.
    pub seed: u64,
    /// Wall time after which a guest that has said nothing counts as standing still. It says that it is alive every ten
    /// seconds of its own time, which take milliseconds.
    pub standstill: Duration,
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

/// Runs all `cases`; results come in their order. When `interrupted` turns true, running cases end as they are, and
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
        fs::create_dir_all(dir).map_err(|source| RunError::Record {
            path: dir.clone(),
            source,
        })?;
    }
    let members = members(cases, options)?;
    let size = match options.clock {
        Clock::Real => 1,
        Clock::Virtual(_) => {
            let with_programs = members
                .iter()
                .any(|member| programs_of(&member.case).next().is_some());
            let most = if with_programs {
                LABS_WITH_PROGRAMS
            } else {
                LABS_PER_GUEST
            };
            members.len().div_ceil(options.jobs.max(1)).clamp(1, most)
        }
    };
    let batches = split(members, size);
    let (places, cpus) = (Semaphore::new(options.jobs.max(1)), Cpus::default());
    let set_ups = Semaphore::new(set_ups_at_once());
    let runs = batches.into_iter().map(|members| async {
        let mut batch = Batch {
            members,
            options,
            progress: &*progress,
            interrupted: interrupted.clone(),
            set_ups: &set_ups,
        };
        let _place = places.acquire().await;
        if *interrupted.borrow() {
            return Vec::new();
        }
        batch.run(&cpus).await;
        batch.members
    });
    let members = futures_util::future::join_all(runs)
        .await
        .into_iter()
        .flatten();
    Ok(members
        .map(|member| judge(member.record.events()))
        .collect())
}

/// The programs among a case's clients.
fn programs_of(case: &Case) -> impl Iterator<Item = (&plan::Client, &plan::Program)> {
    case.lab
        .clients
        .iter()
        .filter_map(|client| Some((client, client.program()?)))
}

/// Lab processes that set up at once on the real clock: one processor less than there are, so that those that run
/// already are not late. Set-up is all work, running nearly all waiting.
fn set_ups_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (usize::from(cores) - 1).max(1))
}

/// Opens every case's record. Names that two cases share get a number.
fn members(cases: Vec<Case>, options: &Options) -> Result<Vec<Member>, RunError> {
    let mut taken = HashSet::new();
    let member = |(index, mut case): (usize, Case)| {
        if options.record_dir.is_none() {
            // There is no place for packets.
            case.lab.probes.packets.clear();
        }
        let mut name = file_name(&case.scenario, &case.name);
        if !taken.insert(name.clone()) {
            name = format!("{name}--{index}");
            taken.insert(name.clone());
        }
        let path = options
            .record_dir
            .as_ref()
            .map(|dir| dir.join(format!("{name}.ndjson")));
        let record = RecordFile::new(case.clone(), options.clock.name(), path.as_deref())?;
        Ok(Member {
            index,
            case,
            record,
        })
    };
    cases.into_iter().enumerate().map(member).collect()
}

fn split(members: Vec<Member>, size: usize) -> Vec<Vec<Member>> {
    let mut batches: Vec<Vec<Member>> = Vec::new();
    for member in members {
        match batches.last_mut() {
            Some(last) if last.len() < size => last.push(member),
            _ => batches.push(vec![member]),
        }
    }
    batches
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
