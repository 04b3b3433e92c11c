//! One case: its lab process or guest, and what that says.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::record_file::RecordFile;
use super::{Clock, Cpus, Options, Progress, judging};
use crate::clock::guest::{Guest, GuestOptions};
use crate::clock::kernel::Kernel;
use crate::clock::real::LabProcess;
use crate::clock::{FromLab, LabJob, Running, Shell};
use crate::lab::process::TIMER_PERIOD;
use crate::plan::Case;
use crate::record::{ClockName, Event, Observation};
use crate::result::{Verdict, Wall};
use crate::verdict::CaseResult;

/// Wall time a lab on the real clock may take beyond its case's duration before it counts as stuck.
const GRACE: Duration = Duration::from_secs(60);

/// How long no lab must have waited for the processor before another one is started. They say so four times a second.
const QUIET: Duration = Duration::from_millis(600);

/// A guest's memory, in MiB: for itself and its lab, and for each client that is a program. What is not used is not taken
/// from the machine.
const GUEST_MEMORY: u32 = 208;
const PROGRAM_MEMORY: u32 = 128;
/// What a guest with a program has at least: ten thousand connections, with their servers, take about so much. With less its
/// kernel would drop pages of programs and read them anew without end.
const MANY_CONNECTIONS: u32 = 720;

/// A guest that says nothing and does not compute is waited for so many times as long as one that does: it may only be
/// waiting for its turn on the processor.
const RESTS: u32 = 10;

/// How often a silent guest is looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why a case that the user interrupts has no end.
const INTERRUPTED: &str = "interrupted";

/// Programs named when virtual time stands still.
const NAMED: usize = 5;

/// What cases that run side by side share.
pub(super) struct Places {
    /// Places for cases.
    pub(super) jobs: Semaphore,
    /// How many of them a case takes, at each attempt on the real clock.
    pub(super) attempts: [u32; 3],
    /// Places for lab processes that set up, on the real clock.
    pub(super) set_ups: Semaphore,
    /// The processors of guests.
    pub(super) cpus: Cpus,
    /// Whether running labs wait for the processor.
    pub(super) busy: Busy,
    /// Since when the run is interrupted.
    pub(super) interrupted_since: judging::Since,
}

/// Whether this machine has time for one more lab.
#[derive(Default)]
pub(super) struct Busy {
    told: Cell<Option<Instant>>,
}

impl Busy {
    /// A lab waits for its turns on the processor.
    fn hear(&self) {
        self.told.set(Some(Instant::now()));
    }

    /// Waits until no lab has said for a while that it waits. Labs end, so there is an end of this.
    async fn over(&self) {
        while let Some(told) = self.told.get() {
            let quiet = told + QUIET;
            if Instant::now() >= quiet {
                return;
            }
            sleep_until(quiet).await;
        }
    }
}

/// A case and its growing record.
pub(super) struct CaseRun<'a> {
    /// Place among all cases.
    pub(super) index: usize,
    pub(super) case: Case,
    pub(super) record: RecordFile,
    pub(super) options: &'a Options,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupted: watch::Receiver<bool>,
}

impl CaseRun<'_> {
    /// Runs the case to its end when there is a place for it; `None` if the run was interrupted before. With the result
    /// comes what of its record could not be written.
    ///
    /// What a machine that was too slow made of it is no result. On the real clock it is then run again, with fewer cases
    /// beside it, and at last with none.
    pub(super) async fn run(mut self, places: &Places) -> Option<(CaseResult, Option<String>)> {
        let (mut result, mut late) = (None, Duration::ZERO);
        for needed in places.attempts {
            let place = places.jobs.acquire_many(needed).await;
            if *self.interrupted.borrow() {
                break;
            }
            if result.is_some()
                && let Err(error) = self.record.start_again(&again(late))
            {
                return result.map(|result| (result, Some(with_source(&error))));
            }
            let attempted = result.insert(self.attempt(places).await);
            drop(place);
            if attempted.verdict != Verdict::Error {
                break;
            }
            let Some(longest) = self.record.lateness() else {
                break;
            };
            late = longest;
            self.progress.put_off(self.index);
        }
        let mut result = result?;
        let unwritten = self.record.finish(&mut result);
        self.progress.finished(self.index, &result);
        Some((result, unwritten))
    }

    /// Runs and judges the case, once.
    async fn attempt(&mut self, places: &Places) -> CaseResult {
        self.progress.started(self.index, &self.case);
        let (started, began) = (SystemTime::now(), Instant::now());
        let trouble = match self.options.clock.clone() {
            Clock::Real => self.run_process(places).await,
            Clock::Virtual(kernel) => {
                let cpu = places.cpus.take();
                let trouble = self.run_guest(&kernel, cpu).await;
                places.cpus.give_back(cpu);
                trouble
            }
        };
        if !self.record.is_whole() {
            let why = "the lab process ended before its case did";
            self.record.break_off(trouble.as_deref().unwrap_or(why));
        }
        let result = judging::judged(
            &self.case,
            self.options.clock.name(),
            &self.record,
            self.options.history,
            self.interrupted.clone(),
            &places.interrupted_since,
        )
        .await;
        let took = began.elapsed();
        let wall = Some(Wall { started, took });
        CaseResult { wall, ..result }
    }

    /// Runs the case in a lab process on this machine's kernel. Says what went wrong, if anything did.
    async fn run_process(&mut self, places: &Places) -> Option<String> {
        let job = self.job(ClockName::Real);
        let limit = Limit::End(job.lab.duration + job.lab.longest_end() + GRACE);
        let place = places.set_ups.acquire().await.ok();
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            () = places.busy.over() => {}
            _ = interrupted.wait_for(|i| *i) => return Some(INTERRUPTED.to_owned()),
        }
        match LabProcess::start(&job).await {
            Ok(lab) => {
                let lab = Running::Process(lab);
                self.follow(lab, limit, None, place, &places.busy).await
            }
            Err(error) => Some(format!("failed to start the lab process: {error}")),
        }
    }

    /// Runs the case in a guest. Says what went wrong, if anything did.
    async fn run_guest(&mut self, kernel: &Kernel, cpu: usize) -> Option<String> {
        let memory_mib = self.guest_memory();
        let options = GuestOptions {
            memory_mib,
            seed: self.guest_seed(),
            cpu,
        };
        match Guest::start(kernel, &self.job(ClockName::Virtual), &options) {
            Ok(guest) => {
                let hz = kernel.about.as_ref().map(|about| about.hz);
                let limit = Limit::Silence(self.options.standstill);
                let guest = Running::Guest(guest);
                self.follow(guest, limit, hz, None, &Busy::default()).await
            }
            Err(error) => Some(with_source(&error)),
        }
    }

    /// In MiB.
    fn guest_memory(&self) -> u32 {
        let mut programs = self.case.lab.programs().peekable();
        if programs.peek().is_none() {
            return GUEST_MEMORY;
        }
        let mib = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let each = programs.map(|(_, exec)| {
            let own = exec.limits.memory.map_or(PROGRAM_MEMORY, mib);
            // A server's own folder lies on a tmpfs that may take half of the memory.
            let written = exec.limits.tmpfs.map_or(0, mib).saturating_mul(2);
            own.max(PROGRAM_MEMORY).saturating_add(written)
        });
        each.fold(GUEST_MEMORY, u32::saturating_add)
            .max(MANY_CONNECTIONS)
    }

    fn job(&self, clock: ClockName) -> LabJob {
        LabJob {
            lab: self.case.lab.clone(),
            clock,
            shell: self.shell(clock),
            later_ticks: self.later_ticks(),
        }
    }

    /// Where on the timer wheel the case begins: repetitions begin anywhere.
    fn later_ticks(&self) -> u32 {
        match self.case.repetition {
            None => 0,
            Some(_) => StdRng::seed_from_u64(self.guest_seed()).random_range(0..TIMER_PERIOD),
        }
    }

    /// What of the shell the lab has to know. In a guest that is part of what the case depends on, so it is told no more
    /// than it needs: where programs are found.
    fn shell(&self, clock: ClockName) -> Shell {
        let needed = clock == ClockName::Real || self.case.lab.programs().next().is_some();
        match needed {
            true => Shell::current(),
            false => Shell::default(),
        }
    }

    /// The seed of a guest's kernel. Repetitions throw other dice each, or they would repeat one another to the packet.
    fn guest_seed(&self) -> u64 {
        let number = self.case.repetition.as_ref().map_or(0, |r| r.number);
        self.options.seed.wrapping_add(u64::from(number) << 32)
    }

    /// Reads what the lab says until it ends, or has to be ended. Gives back its place among those that set up when it is
    /// ready.
    async fn follow(
        &mut self,
        mut lab: Running,
        limit: Limit,
        hz: Option<u32>,
        mut place: Option<SemaphorePermit<'_>>,
        busy: &Busy,
    ) -> Option<String> {
        let mut deadline = Instant::now() + limit.first_look();
        let mut silence = None;
        let mut interrupted = self.interrupted.clone();
        let trouble = loop {
            tokio::select! {
                messages = lab.next() => match messages {
                    Ok(Some(messages)) => {
                        for message in messages {
                            if matches!(&message, FromLab::Event(event) if is_ready(event)) {
                                drop(place.take());
                            }
                            if matches!(&message, FromLab::Busy {}) {
                                busy.hear();
                            }
                            self.hear(message, hz);
                        }
                        // A guest has nothing more to say, and nothing to leave behind.
                        if matches!(lab, Running::Guest(_)) && self.record.has_ended() {
                            break None;
                        }
                        if let Limit::Silence(_) = limit {
                            silence = None;
                            deadline = Instant::now() + limit.first_look();
                        }
                    }
                    Ok(None) => break lab.last_words().await,
                    Err(error) => break Some(format!("failed to read what the lab says: {error}")),
                },
                () = sleep_until(deadline) => match limit.overdue(&lab, &mut silence) {
                    Ok(why) => break Some(self.overdue(why)),
                    Err(look_again) => deadline = Instant::now() + look_again,
                },
                _ = interrupted.wait_for(|i| *i) => break Some(INTERRUPTED.to_owned()),
            }
        };
        lab.end().await;
        trouble
    }

    /// Why a lab is not waited for any longer.
    fn overdue(&self, why: Overdue) -> String {
        let still = match why {
            Overdue::NotEnded => {
                return format!(
                    "the lab was still running {} s after its case's end",
                    GRACE.as_secs()
                );
            }
            Overdue::Computes(limit) => format!(
                "virtual time has stood still for {} s of processor time",
                limit.as_secs()
            ),
            Overdue::Rests(waited) => {
                return format!(
                    "the guest has said nothing for {} s, and did not compute either",
                    waited.as_secs()
                );
            }
        };
        let mut suspects: Vec<String> = Vec::new();
        for (name, exec) in self.case.lab.programs() {
            let suspect = format!("{name} (`{}`)", exec.command.join(" "));
            if !suspects.contains(&suspect) {
                suspects.push(suspect);
            }
        }
        let more = suspects.len().saturating_sub(NAMED);
        suspects.truncate(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        match suspects.is_empty() {
            true => still,
            false => format!(
                "{still}: time passes only while nothing computes, and a program here never rests: {}{more}",
                suspects.join(", ")
            ),
        }
    }

    fn hear(&mut self, message: FromLab, known_hz: Option<u32>) {
        match message {
            FromLab::Kernel { release, hz } => self.record.begin(&release, hz.or(known_hz)),
            FromLab::Event(event) => {
                self.progress.observed(self.index, &event);
                self.record.push(event);
            }
            FromLab::Frames(frames) => self.record.hear(&frames),
            FromLab::Alive {} | FromLab::Busy {} => {}
        }
    }
}

/// Whether set-up is over with this event.
fn is_ready(event: &Event) -> bool {
    matches!(event.what, Observation::LabReady { .. })
}

/// How long a lab process is waited for.
#[derive(Clone, Copy)]
enum Limit {
    /// Altogether, in wall time.
    End(Duration),
    /// From one message to the next, in the guest's processor time: how long that takes on the wall depends on what else
    /// the machine does, and a case must not.
    Silence(Duration),
}

/// Why a lab is not waited for any longer.
enum Overdue {
    /// Its case should have ended.
    NotEnded,
    /// It has computed so long without a word.
    Computes(Duration),
    /// It has not said a word for so long, in wall time, and does nothing.
    Rests(Duration),
}

/// A guest that says nothing: since when it is watched, and the processor time it had used by then.
struct Silence {
    since: Instant,
    used: Duration,
}

impl Limit {
    /// When to look for the first time. A guest's silence is watched when it has lasted a little.
    fn first_look(self) -> Duration {
        match self {
            Self::End(duration) => duration,
            Self::Silence(limit) => limit / 4,
        }
    }

    /// Why the lab is not waited for any longer, or when to look again.
    fn overdue(self, lab: &Running, silence: &mut Option<Silence>) -> Result<Overdue, Duration> {
        let (Self::Silence(limit), Running::Guest(guest)) = (self, lab) else {
            return Ok(Overdue::NotEnded);
        };
        let watched = limit - self.first_look();
        let (now, used) = (Instant::now(), guest.processor_time());
        let begun = silence.get_or_insert(Silence { since: now, used });
        let computed = used.saturating_sub(begun.used);
        if computed >= watched {
            Ok(Overdue::Computes(limit))
        } else if now - begun.since >= limit * RESTS {
            Ok(Overdue::Rests(now - begun.since))
        } else {
            Err((watched - computed).max(LOOK_AGAIN))
        }
    }
}

/// Why a case is run again.
fn again(late: Duration) -> String {
    format!(
        "run again with fewer cases beside it: before, this machine was too slow to tell what it came to (the lab waited {} ms of \
         two seconds for its turns on the processor)",
        late.as_millis()
    )
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
