//! Runs settings: what is asked of each, read from the results.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use super::bisection::Bisection;
use super::foreseen::{Foreseen, open_end};
use super::result::Killed;
use super::share::Share;
use super::trial::{self, LOSSES, Question, Subject, Unanswered};
use crate::plan::{Case, Client, Keepalive, Phase, Ping, Window};
use crate::runner::{self, Progress, RunError};
use crate::timeout_model::{Kernel, longest_blip_by_kernel};
use crate::verdict::CaseResult;

/// No longer silence is tried, in seconds.
const LONGEST_BLIP: u64 = 1000;

/// Runs cases.
pub(super) struct Bench<'a> {
    pub(super) options: &'a runner::Options,
    pub(super) progress: Rc<dyn Progress>,
    pub(super) interrupted: watch::Receiver<bool>,
    /// Runs with each percentage of loss.
    pub(super) loss_runs: u32,
    /// Losses of power in each phase, where chance has a part in what follows.
    pub(super) draws: u32,
    /// How long a partition lasts.
    pub(super) partition: Duration,
    /// Cases run so far.
    pub(super) runs: usize,
    /// The kernel, once one has said its name.
    pub(super) kernel: Option<String>,
    /// What an hour of an idle connection has cost, by what makes it send anything.
    pub(super) idle: Vec<(Sends, Option<u64>)>,
}

/// What makes a connection send anything while nobody asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sends {
    client: String,
    keepalive: Option<Keepalive>,
    ping: Option<Ping>,
    idle_timeout: Option<Duration>,
}

impl Sends {
    /// A client's; `None` of a program, whose pace is its own.
    pub(super) fn of(client: &Client) -> Option<Self> {
        let t = &client.transport;
        client.program().is_none().then(|| Self {
            client: client.name.clone(),
            keepalive: t.keepalive,
            ping: t.ping,
            idle_timeout: t.idle_timeout,
        })
    }
}

/// What was measured of a client with a setting.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measured {
    /// From each loss of power until it works again, with the phase it came in.
    pub(super) recovery: Vec<(Phase, Option<Duration>)>,
    /// The longest silence survived, in seconds, and whether nothing longer was tried.
    pub(super) survives: (u64, bool),
    pub(super) killed: Vec<Killed>,
    pub(super) packets_per_hour: Option<u64>,
    /// From a partition's end until it works again, phase by phase; `None` = never.
    pub(super) works_again: Vec<Option<Duration>>,
}

/// A client of a setting that is to be measured.
pub(super) struct ToMeasure<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) foreseen: Option<&'a Foreseen>,
    /// Draw by draw and with loss, or only so far as to hold it against the model.
    pub(super) thoroughly: bool,
}

/// One of them, as far as it has come.
struct Under<'a> {
    subject: Subject<'a>,
    phases: Vec<Phase>,
    /// By when a silence's whole effect has shown.
    within: Duration,
    bisection: Bisection,
    measured: Measured,
    killed: Vec<u32>,
    idle: [Option<u64>; 2],
    loss_runs: u32,
    failed: Option<Unanswered>,
}

impl Bench<'_> {
    /// Measures each; what could not be, says why. `None` if the user has interrupted it.
    pub(super) async fn measure(
        &mut self,
        all: &[ToMeasure<'_>],
    ) -> Result<Option<Vec<Result<Measured, Unanswered>>>, RunError> {
        let under = all.iter().map(|one| Under::of(one, self.loss_runs));
        let mut under: Vec<Under<'_>> = under.collect();
        let mut asked: Vec<(usize, Question)> = Vec::new();
        for (number, one) in under.iter().enumerate() {
            let questions = one.first_questions(self, &all[number]);
            asked.extend(questions.into_iter().map(|question| (number, question)));
        }
        loop {
            for (number, one) in under.iter().enumerate() {
                let next = one.next_blip();
                asked.extend(next.into_iter().map(|question| (number, question)));
            }
            if asked.is_empty() {
                break;
            }
            let questions = std::mem::take(&mut asked);
            let cases = questions
                .iter()
                .map(|(number, q)| under[*number].subject.ask(*q));
            let Some(results) = self.run(cases.collect()).await? else {
                return Ok(None);
            };
            // A silence is survived if it is whenever it begins.
            let mut blips: BTreeMap<(usize, u64), bool> = BTreeMap::new();
            for ((number, question), result) in questions.into_iter().zip(&results) {
                let one = &mut under[number];
                match one.hear(question, result, self.partition) {
                    Ok(None) => {}
                    Ok(Some((seconds, held))) => {
                        let all = blips.entry((number, seconds)).or_insert(true);
                        *all &= held;
                    }
                    Err(why) => {
                        one.failed.get_or_insert(why);
                    }
                }
            }
            for ((number, seconds), held) in blips {
                under[number].bisection.tell(seconds, held);
            }
        }
        for one in &under {
            let Some(sends) = Sends::of(one.subject.client) else {
                continue;
            };
            let known = self.idle.iter_mut().find(|(known, _)| *known == sends);
            if let (Some((_, cost)), [Some(before), Some(after)]) = (known, one.idle) {
                *cost = Some(after.saturating_sub(before));
            }
        }
        let idle = &self.idle;
        Ok(Some(
            under.into_iter().map(|one| one.finish(idle)).collect(),
        ))
    }

    async fn run(&mut self, cases: Vec<Case>) -> Result<Option<Vec<CaseResult>>, RunError> {
        let planned = cases.len();
        let progress = Rc::clone(&self.progress);
        let run = runner::run(
            runner::planned(cases),
            self.options,
            progress,
            self.interrupted.clone(),
        );
        let results = run.await?.results;
        self.runs += results.len();
        if self.kernel.is_none() {
            self.kernel = results.iter().find_map(|result| result.kernel.clone());
        }
        let whole = results.len() == planned && !*self.interrupted.borrow();
        Ok(whole.then_some(results))
    }
}

/// A search that begins with a window.
fn guessed(window: Window) -> Bisection {
    let longest = u64::try_from(window.max.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
    Bisection::new(
        window.min.as_secs(),
        longest.saturating_add(1),
        LONGEST_BLIP,
    )
}

impl<'a> Under<'a> {
    fn of(one: &ToMeasure<'a>, loss_runs: u32) -> Self {
        let subject = one.subject;
        let open = open_end(&subject);
        let of_phase = |phase| one.foreseen.and_then(|f| f.of_phase(phase));
        let phases = one
            .foreseen
            .map_or_else(|| subject.connected(), Foreseen::decisive);
        let connected = subject.connected().into_iter();
        let within = connected.map(|phase| match of_phase(phase) {
            // What it comes to where the model errs must show as well.
            Some(foreseen) => foreseen.within() + foreseen.within() / 4,
            None => open,
        });
        let within = within.max().unwrap_or(open);
        let bisection = match one.foreseen.map(Foreseen::worst_blip) {
            Some(blip) => guessed(blip),
            None => {
                let (client, lab) = (subject.client, &subject.case.lab);
                guessed(longest_blip_by_kernel(client, lab, Kernel::default()))
            }
        };
        let bisection = match one.thoroughly {
            true => bisection,
            false => bisection.of_guesses(),
        };
        Self {
            subject,
            phases,
            within,
            bisection,
            measured: Measured::default(),
            killed: vec![0; LOSSES.len()],
            idle: [None; 2],
            loss_runs: if one.thoroughly { loss_runs } else { 0 },
            failed: None,
        }
    }

    /// All but the bisection's.
    fn first_questions(&self, bench: &mut Bench<'_>, one: &ToMeasure<'_>) -> Vec<Question> {
        let (foreseen, mut all) = (one.foreseen, Vec::new());
        let phases = match foreseen {
            Some(foreseen) => foreseen.phases.iter().map(|known| known.phase).collect(),
            None => [self.phases.as_slice(), &[Phase::Connecting]].concat(),
        };
        let asked = |phase: &Phase| one.thoroughly || *phase != Phase::Connecting;
        for phase in phases.into_iter().filter(asked) {
            let known = foreseen.and_then(|f| f.of_phase(phase));
            let within = known.map_or_else(
                || open_end(&self.subject),
                |known| known.within() + known.within() / 4,
            );
            let dice = known.map_or_else(|| self.subject.has_a_choice(), |known| known.dice);
            let draws = if dice && one.thoroughly {
                bench.draws
            } else {
                1
            };
            all.extend((0..draws.into()).map(|draw| Question::PowerLoss {
                phase,
                draw,
                within,
            }));
        }
        let partitions = self.subject.connected().into_iter();
        all.extend(partitions.map(|phase| self.blip(phase, bench.partition)));
        for percent in LOSSES {
            all.extend((0..self.loss_runs).map(|draw| Question::Loss {
                percent,
                draw: draw.into(),
            }));
        }
        let sends = Sends::of(self.subject.client);
        if let Some(sends) = sends.filter(|s| bench.idle.iter().all(|(known, _)| known != s)) {
            all.extend(Question::IDLE);
            bench.idle.push((sends, None));
        }
        all
    }

    /// The silence to try next, in each phase.
    fn next_blip(&self) -> Vec<Question> {
        if self.failed.is_some() {
            return Vec::new();
        }
        let Some(seconds) = self.bisection.next() else {
            return Vec::new();
        };
        let lasts = Duration::from_secs(seconds);
        self.phases
            .iter()
            .map(|phase| self.blip(*phase, lasts))
            .collect()
    }

    fn blip(&self, phase: Phase, lasts: Duration) -> Question {
        Question::Blip {
            phase,
            lasts,
            within: self.within,
        }
    }

    /// Takes an answer; of a silence of the bisection it gives how long it was, and whether it was survived.
    fn hear(
        &mut self,
        question: Question,
        result: &CaseResult,
        partition: Duration,
    ) -> Result<Option<(u64, bool)>, Unanswered> {
        let client = trial::answered(result, &self.subject.client.name)?;
        match question {
            Question::PowerLoss { phase, .. } => {
                self.measured
                    .recovery
                    .push((phase, trial::recovery(client, phase)?));
            }
            Question::Blip { lasts, .. } => {
                if lasts == partition {
                    let after = client.recovered_after.map(|at| at.saturating_sub(lasts));
                    self.measured.works_again.push(after);
                }
                return Ok(Some((lasts.as_secs(), trial::survived(client)?)));
            }
            Question::Loss { percent, .. } => {
                let at = LOSSES.iter().position(|known| *known == percent);
                if let (Some(at), false) = (at, trial::survived(client)?) {
                    self.killed[at] += 1;
                }
            }
            Question::Idle { .. } => {
                let at = usize::from(question != Question::IDLE[0]);
                self.idle[at] = trial::packets(result);
            }
        }
        Ok(None)
    }

    fn finish(mut self, idle: &[(Sends, Option<u64>)]) -> Result<Measured, Unanswered> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        self.measured.survives = self.bisection.found().unwrap_or_default();
        let sends = Sends::of(self.subject.client);
        let known = sends.and_then(|sends| idle.iter().find(|(known, _)| *known == sends));
        self.measured.packets_per_hour = known.and_then(|(_, cost)| *cost);
        let killed = LOSSES
            .iter()
            .zip(&self.killed)
            .map(|(percent, killed)| Killed {
                percent: *percent,
                share: Share::of(*killed, self.loss_runs),
            });
        self.measured.killed = killed.filter(|_| self.loss_runs > 0).collect();
        Ok(self.measured)
    }
}
