//! The cases of one lab process.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::record_file::RecordFile;
use super::{Clock, Cpus, Options, Progress, programs_of};
use crate::clock::guest::{Guest, GuestOptions};
use crate::clock::kernel::Kernel;
use crate::clock::real::LabProcess;
use crate::clock::{FromLab, LabJob, Running, Shell};
use crate::plan::Case;
use crate::record::{Event, Observation};
use crate::verdict::judge;

/// Wall time a lab on the real clock may take beyond its case's duration before it counts as stuck.
const GRACE: Duration = Duration::from_secs(60);

/// A guest's memory, in MiB: for itself, for each lab, and for each client that is a program. What is not used is not
/// taken from the machine.
const GUEST_MEMORY: u32 = 192;
const LAB_MEMORY: u32 = 16;
const PROGRAM_MEMORY: u32 = 128;

/// Programs named when virtual time stands still.
const NAMED: usize = 5;

/// A case and its growing record.
pub(super) struct Member {
    /// Place among all cases.
    pub(super) index: usize,
    pub(super) case: Case,
    pub(super) record: RecordFile,
}

/// The cases of one lab process, run together.
pub(super) struct Batch<'a> {
    pub(super) members: Vec<Member>,
    pub(super) options: &'a Options,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupted: watch::Receiver<bool>,
    /// Places for lab processes that set up, on the real clock.
    pub(super) set_ups: &'a Semaphore,
}

impl Batch<'_> {
    /// Runs all its cases to their end. Where one takes the lab process down, the others run again, each by itself.
    pub(super) async fn run(&mut self, cpus: &Cpus) {
        let all: Vec<usize> = (0..self.members.len()).collect();
        for member in &self.members {
            self.progress.started(member.index, &member.case);
        }
        let trouble = self.run_together(&all, cpus).await;
        let left: Vec<usize> = all
            .into_iter()
            .filter(|i| !self.members[*i].record.is_whole())
            .collect();
        let alone = left.len() == 1 && self.members.len() == 1;
        for member in left {
            let again = !alone && !*self.interrupted.borrow();
            let why = if again && self.start_again(member) {
                self.run_together(&[member], cpus).await
            } else {
                trouble.clone()
            };
            let why = why.unwrap_or_else(|| "the lab process ended before its case did".to_owned());
            self.members[member].record.break_off(&why);
        }
        for member in &mut self.members {
            let result = judge(member.record.events());
            member.record.finish(&result);
            self.progress.finished(member.index, &result);
        }
    }

    /// Empties a member's record for another run.
    fn start_again(&mut self, member: usize) -> bool {
        self.members[member].record.restart().is_ok()
    }

    /// Runs some members in one lab process. Says what went wrong, if anything did.
    async fn run_together(&mut self, who: &[usize], cpus: &Cpus) -> Option<String> {
        let labs: Vec<_> = who
            .iter()
            .map(|i| self.members[*i].case.lab.clone())
            .collect();
        match self.options.clock.clone() {
            Clock::Real => {
                let longest = labs
                    .iter()
                    .map(|lab| lab.duration + lab.drain)
                    .max()
                    .unwrap_or_default();
                let job = LabJob {
                    labs,
                    gather_events: false,
                    align_start: false,
                    shell: Shell::current(),
                };
                let place = self.set_ups.acquire().await.ok();
                match LabProcess::start(&job).await {
                    Ok(lab) => {
                        self.follow(
                            who,
                            Running::Process(lab),
                            Limit::End(longest + GRACE),
                            None,
                            place,
                        )
                        .await
                    }
                    Err(error) => Some(format!("failed to start the lab process: {error}")),
                }
            }
            Clock::Virtual(kernel) => {
                let cpu = cpus.take();
                let job = LabJob {
                    labs,
                    gather_events: true,
                    align_start: true,
                    shell: Shell::current(),
                };
                let trouble = self.run_guest(who, &kernel, job, cpu).await;
                cpus.give_back(cpu);
                trouble
            }
        }
    }

    /// The seed of a guest's kernel. Guests in which repetitions run throw other dice each, or they would repeat one
    /// another to the packet.
    fn guest_seed(&self, who: &[usize]) -> u64 {
        let seed = self.options.seed;
        let first = who.first().map(|first| &self.members[*first].case);
        match first.and_then(|case| Some((case, case.repetition.as_ref()?))) {
            Some((case, repetition)) => {
                let words = [case.scenario.as_str(), repetition.case.as_str()];
                let bytes = words.iter().flat_map(|word| word.bytes());
                let of_case = bytes.fold(seed, |mixed, byte| {
                    mixed.wrapping_mul(31).wrapping_add(byte.into())
                });
                of_case.wrapping_add(u64::from(repetition.number) << 32)
            }
            None => seed,
        }
    }

    async fn run_guest(
        &mut self,
        who: &[usize],
        kernel: &Kernel,
        job: LabJob,
        cpu: usize,
    ) -> Option<String> {
        let labs = u32::try_from(who.len()).unwrap_or(u32::MAX);
        let programs = who
            .iter()
            .map(|i| programs_of(&self.members[*i].case).count())
            .sum::<usize>();
        let programs = u32::try_from(programs).unwrap_or(u32::MAX);
        let memory_mib = GUEST_MEMORY + LAB_MEMORY * labs + PROGRAM_MEMORY * programs;
        match Guest::start(
            kernel,
            &job,
            &GuestOptions {
                memory_mib,
                seed: self.guest_seed(who),
                cpu,
            },
        ) {
            Ok(guest) => {
                let hz = kernel.about.as_ref().map(|about| about.hz);
                self.follow(
                    who,
                    Running::Guest(guest),
                    Limit::Silence(self.options.standstill),
                    hz,
                    None,
                )
                .await
            }
            Err(error) => Some(with_source(&error)),
        }
    }

    /// Reads what a lab process says until it ends, or has to be ended. Gives back its place among those that set up
    /// when its labs are ready.
    async fn follow(
        &mut self,
        who: &[usize],
        mut lab: Running,
        limit: Limit,
        hz: Option<u32>,
        mut place: Option<SemaphorePermit<'_>>,
    ) -> Option<String> {
        let mut deadline = Instant::now() + limit.duration();
        let mut interrupted = self.interrupted.clone();
        let trouble = loop {
            tokio::select! {
                messages = lab.next() => match messages {
                    Ok(Some(messages)) => {
                        for message in messages {
                            if matches!(&message, FromLab::Event { event, .. } if is_ready(event)) {
                                drop(place.take());
                            }
                            self.hear(who, message, hz);
                        }
                        if let Limit::Silence(limit) = limit {
                            deadline = Instant::now() + limit;
                        }
                    }
                    Ok(None) => break lab.last_words().await,
                    Err(error) => break Some(format!("failed to read what the lab says: {error}")),
                },
                () = sleep_until(deadline) => break Some(self.overdue(who, limit)),
                _ = interrupted.wait_for(|i| *i) => break Some("interrupted".to_owned()),
            }
        };
        lab.end().await;
        trouble
    }

    /// Why a lab process is not waited for any longer.
    fn overdue(&self, who: &[usize], limit: Limit) -> String {
        let Limit::Silence(limit) = limit else {
            return format!(
                "the lab was still running {} s after its case's end",
                GRACE.as_secs()
            );
        };
        let limit = limit.as_secs();
        let mut suspects: Vec<String> = Vec::new();
        for (client, program) in who.iter().flat_map(|i| programs_of(&self.members[*i].case)) {
            let suspect = format!("{} (`{}`)", client.name, program.command.join(" "));
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
            true => format!("virtual time has stood still for {limit} s of wall time"),
            false => format!(
                "virtual time has stood still for {limit} s of wall time: time passes only while nothing computes, and \
                 a program here never rests: {}{more}",
                suspects.join(", ")
            ),
        }
    }

    fn hear(&mut self, who: &[usize], message: FromLab, known_hz: Option<u32>) {
        match message {
            FromLab::Kernel { release, hz } => {
                for member in who {
                    self.members[*member]
                        .record
                        .begin(&release, hz.or(known_hz));
                }
            }
            FromLab::Event { lab, event } => {
                if let Some(member) = who.get(lab) {
                    let member = &mut self.members[*member];
                    self.progress.observed(member.index, &event);
                    member.record.push(event);
                }
            }
            FromLab::Frames { lab, frames } => {
                if let Some(member) = who.get(lab) {
                    self.members[*member].record.hear(&frames);
                }
            }
            FromLab::Alive {} => {}
        }
    }
}

/// Whether set-up is over with this event.
fn is_ready(event: &Event) -> bool {
    matches!(event.what, Observation::LabReady { .. })
}

/// How long a lab process is waited for, in wall time.
#[derive(Clone, Copy)]
enum Limit {
    /// Altogether.
    End(Duration),
    /// From one message to the next.
    Silence(Duration),
}

impl Limit {
    fn duration(self) -> Duration {
        match self {
            Self::End(duration) | Self::Silence(duration) => duration,
        }
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
