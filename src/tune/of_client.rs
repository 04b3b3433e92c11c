//! Which of a client's settings are run: what decides, what is recommended, and samples of the rest.

use std::collections::HashSet;
use std::time::Duration;

use super::foreseen::Foreseen;
use super::front::{Pair, front};
use super::measure::{Bench, Measured, Sends, ToMeasure};
use super::setting::{AS_IT_IS, Setting};
use super::trial::{Subject, Unanswered};
use super::tuner::Options;
use crate::plan::units::{self, between};
use crate::plan::{Cause, word};
use crate::runner::RunError;
use crate::timeout_model::Kernel;

/// Settings that are run to check the model, of those that nothing else makes run.
const SAMPLES: usize = 4;
/// Settings of the front that are run.
const OF_FRONT: usize = 6;
/// Times that what decides is looked at again, since what was run may have changed it.
const ROUNDS: usize = 3;
/// Answers that are run before one is given.
const ANSWERS: usize = 3;
/// Settings that are measured side by side, for each job: who interrupts loses no more than these.
const AT_ONCE: usize = 4;

/// Settings that the model can't tell apart.
pub(super) struct Class {
    /// By their place among all.
    pub(super) settings: Vec<usize>,
    pub(super) foreseen: Option<Foreseen>,
    /// Whether the model knows all that its settings change; else what is foreseen is where the search begins.
    pub(super) modelled: bool,
    pub(super) measured: Option<Result<Measured, Unanswered>>,
    /// Whether it was measured draw by draw and with loss.
    pub(super) thoroughly: bool,
}

/// The tuning of one client.
pub(super) struct OfClient<'a> {
    pub(super) settings: &'a [Setting],
    pub(super) client: &'a str,
    pub(super) options: &'a Options,
    pub(super) classes: Vec<Class>,
    pub(super) findings: Vec<String>,
    /// Timers of which the model was wrong, and the knobs that were set then.
    pub(super) distrusted: HashSet<(Cause, Vec<String>)>,
}

impl<'a> OfClient<'a> {
    pub(super) fn new(
        settings: &'a [Setting],
        client: &'a str,
        options: &'a Options,
        kernel: Kernel,
    ) -> Self {
        let mut classes: Vec<Class> = Vec::new();
        for (number, setting) in settings.iter().enumerate() {
            let subject = Subject::of(&setting.case, client);
            let foreseen = subject.and_then(|subject| Foreseen::of(&subject, kernel));
            let modelled =
                foreseen.is_some() && setting.values.iter().all(|(knob, _)| knob.is_modelled());
            // Of those that the model does not know each has to be run.
            let same = |class: &&mut Class| {
                class.modelled
                    && modelled
                    && class.foreseen == foreseen
                    && costs_the_same(settings, class, setting, client)
            };
            match classes.iter_mut().find(same) {
                Some(class) => class.settings.push(number),
                None => classes.push(Class {
                    settings: vec![number],
                    foreseen,
                    modelled,
                    measured: None,
                    thoroughly: false,
                }),
            }
        }
        Self {
            settings,
            client,
            options,
            classes,
            findings: Vec::new(),
            distrusted: HashSet::new(),
        }
    }

    /// Runs what decides, until that is all run, or the user has interrupted it.
    pub(super) async fn run(&mut self, bench: &mut Bench<'_>) -> Result<(), RunError> {
        let mut next = self.unknown();
        next.extend(self.some_of(self.on_front(), OF_FRONT));
        next.extend(self.recommended());
        next.extend(self.samples(&next));
        for _ in 0..=ROUNDS {
            if self.options.run_all {
                next.extend(0..self.classes.len());
            }
            next.retain(|class| self.classes[*class].measured.is_none());
            // What is answered must hold, and what it is compared with.
            let mut thoroughly = self.answers();
            thoroughly.extend(self.as_it_is());
            thoroughly.retain(|class| !self.classes[*class].thoroughly);
            next.retain(|class| !thoroughly.contains(class));
            next.sort_unstable();
            next.dedup();
            let whole = |class: usize| self.options.run_all || !self.classes[class].modelled;
            let all = next.drain(..).map(|class| (class, whole(class)));
            let all = all.chain(thoroughly.into_iter().map(|class| (class, true)));
            let all: Vec<(usize, bool)> = all.collect();
            if all.is_empty() {
                break;
            }
            for some in all.chunks(AT_ONCE * bench.options.jobs.max(1)) {
                if !self.measure(bench, some).await? {
                    return Ok(());
                }
            }
            next.extend(self.resting_on_distrusted());
        }
        Ok(())
    }

    /// Measures classes, each thoroughly or not; false if the user has interrupted it, and then of these nothing is known.
    async fn measure(
        &mut self,
        bench: &mut Bench<'_>,
        all: &[(usize, bool)],
    ) -> Result<bool, RunError> {
        let to_measure = all.iter().filter_map(|(class, thoroughly)| {
            let class = &self.classes[*class];
            let setting = &self.settings[class.settings[0]];
            Some(ToMeasure {
                subject: Subject::of(&setting.case, self.client)?,
                foreseen: class.foreseen.as_ref(),
                thoroughly: *thoroughly,
            })
        });
        let to_measure: Vec<ToMeasure<'_>> = to_measure.collect();
        let Some(results) = bench.measure(&to_measure).await? else {
            return Ok(false);
        };
        for ((class, thoroughly), measured) in all.iter().zip(results) {
            self.classes[*class].measured = Some(measured);
            self.classes[*class].thoroughly = *thoroughly;
            self.hold_against_the_model(*class);
        }
        Ok(true)
    }

    /// Some of them, from the quickest to the slowest.
    fn some_of(&self, mut all: Vec<usize>, count: usize) -> Vec<usize> {
        all.sort_by_key(|class| self.pair(&self.classes[*class]));
        let step = all.len().div_ceil(count.max(1)).max(1);
        all.into_iter().step_by(step).collect()
    }

    fn as_it_is(&self) -> Vec<usize> {
        let known = |class: &Class| {
            let mut settings = class.settings.iter();
            settings.any(|number| self.settings[*number].name == AS_IT_IS)
        };
        let all = self.classes.iter().enumerate();
        all.filter(|(_, class)| known(class))
            .map(|(number, _)| number)
            .collect()
    }

    /// Those of which the model says nothing.
    fn unknown(&self) -> Vec<usize> {
        self.those(|class| !class.modelled)
    }

    /// Those that somebody recommends.
    fn recommended(&self) -> Vec<usize> {
        let known = |number: &usize| self.settings[*number].source.is_some();
        self.those(|class| class.settings.iter().any(known))
    }

    fn resting_on_distrusted(&self) -> Vec<usize> {
        self.those(|class| {
            let phases = class.foreseen.iter().flat_map(|foreseen| &foreseen.phases);
            let causes: HashSet<Cause> = phases.map(|phase| phase.cause).collect();
            let own = self.knobs(class);
            // What is wrong of fewer knobs is wrong of more.
            self.distrusted.iter().any(|(cause, knobs)| {
                causes.contains(cause) && knobs.iter().all(|knob| own.contains(knob))
            })
        })
    }

    /// The knobs that a class's first setting sets.
    fn knobs(&self, class: &Class) -> Vec<String> {
        let values = self.settings[class.settings[0]].values.iter();
        values.map(|(knob, _)| knob.name().to_owned()).collect()
    }

    fn those(&self, wanted: impl Fn(&Class) -> bool) -> Vec<usize> {
        let all = self.classes.iter().enumerate();
        let all = all.filter(|(_, class)| class.measured.is_none() && wanted(class));
        all.map(|(number, _)| number).collect()
    }

    /// Those that nothing beats, as far as is known.
    fn on_front(&self) -> Vec<usize> {
        let pairs: Vec<_> = self.classes.iter().map(|class| self.pair(class)).collect();
        let on = front(&pairs);
        let all = on.iter().enumerate().filter(|(_, on)| **on);
        all.map(|(number, _)| number).collect()
    }

    /// Those that hold what is asked for, as far as is known: where a silence must be survived the cheapest first, else the longest
    /// survivors.
    fn answers(&self) -> Vec<usize> {
        let all = self.classes.iter().enumerate();
        let held = all.filter_map(|(number, class)| {
            let (recovery, survives) = self.pair(class);
            let holds = self.options.holds(recovery, survives);
            holds.then_some((number, survives))
        });
        let mut held: Vec<(usize, Duration)> = held.collect();
        match self.options.survive_blip {
            Some(_) => held.sort_by_key(|(number, _)| self.price(&self.classes[*number])),
            None => held.sort_by_key(|(_, survives)| std::cmp::Reverse(*survives)),
        }
        let first = held.into_iter().take(ANSWERS);
        first.map(|(number, _)| number).collect()
    }

    /// What a class costs before it is run: how often its idle connection sends something, those of others, and knobs to set.
    fn price(&self, class: &Class) -> (u64, bool, usize) {
        let setting = &self.settings[class.settings[0]];
        let client = setting.case.lab.client(self.client);
        let transport = client.map(|client| &client.transport);
        let keepalive = transport.and_then(|t| t.keepalive).map(|k| k.idle);
        let ping = transport
            .and_then(|t| t.ping)
            .filter(|ping| ping.while_idle);
        let pauses = [keepalive, ping.map(|ping| ping.idle)];
        let hour = Duration::from_secs(3600).as_millis();
        let sends = pauses
            .into_iter()
            .flatten()
            .map(|pause| u64::try_from(hour / pause.as_millis().max(1)).unwrap_or(u64::MAX));
        let shared = setting.values.iter().any(|(knob, _)| knob.is_shared());
        (sends.sum(), shared, setting.values.len())
    }

    /// Some of the rest, from the quickest to the slowest.
    fn samples(&self, chosen: &[usize]) -> Vec<usize> {
        let rest = self.those(|_| true).into_iter();
        self.some_of(
            rest.filter(|class| !chosen.contains(class)).collect(),
            SAMPLES,
        )
    }

    /// A class's recovery and what it survives: as measured, else by the model.
    ///
    /// Where chance has a part in the recovery, what it can make of it at most is compared: who was lucky in a few runs is no
    /// better for it.
    pub(super) fn pair(&self, class: &Class) -> Pair {
        match (&class.measured, &class.foreseen) {
            (Some(Ok(measured)), foreseen) => {
                let recovery = worst(measured.recovery.iter().map(|(_, after)| *after));
                let dice = foreseen
                    .iter()
                    .flat_map(|f| &f.phases)
                    .any(|phase| phase.dice);
                let by_chance = bound(class).filter(|_| dice);
                let recovery = recovery.map(|time| by_chance.map_or(time, |most| time.max(most)));
                (recovery, Duration::from_secs(measured.survives.0))
            }
            (None, Some(foreseen)) => {
                let each = foreseen
                    .phases
                    .iter()
                    .map(|phase| phase.recovery.map(|w| w.max));
                (worst(each), foreseen.worst_blip().min)
            }
            (Some(Err(_)), _) | (None, None) => (None, Duration::ZERO),
        }
    }

    /// Says where what was run lies outside of what the model said, and trusts it no more there.
    fn hold_against_the_model(&mut self, number: usize) {
        let class = &self.classes[number];
        let foreseen = class.foreseen.as_ref().filter(|_| class.modelled);
        let (Some(foreseen), Some(Ok(measured))) = (foreseen, &class.measured) else {
            return;
        };
        let setting = &self.settings[class.settings[0]].name;
        let mut found = Vec::new();
        for (phase, after) in &measured.recovery {
            let Some(known) = foreseen.of_phase(*phase) else {
                continue;
            };
            let agrees = match (known.recovery, after) {
                (None, None) => true,
                (Some(window), Some(after)) => (window.min..=window.max).contains(after),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !agrees {
                let said = known.recovery.map_or_else(
                    || String::from("never"),
                    |window| between(window.min, window.max),
                );
                let was = after.map_or_else(|| String::from("never"), units::measured);
                found.push((
                    known.cause,
                    format!(
                        "{setting}, {}: recovery {was}, by the model {said}",
                        word(phase)
                    ),
                ));
            }
        }
        let blip = foreseen.worst_blip();
        let (survives, at_least) = measured.survives;
        let (least, most) = (blip.min.as_secs(), blip.max.as_secs_f64().ceil());
        if survives < least || (!at_least && survives as f64 > most) {
            let causes = foreseen.phases.iter().filter(|phase| phase.blip.is_some());
            let worst = causes.min_by_key(|phase| phase.blip.map(|blip| blip.min));
            let said = between(blip.min, blip.max);
            found.push((
                worst.map_or(Cause::Unknown, |phase| phase.cause),
                format!("{setting}: survives {survives} s, by the model {said}"),
            ));
        }
        let knobs = self.knobs(class);
        for (cause, text) in found {
            self.distrusted.insert((cause, knobs.clone()));
            self.findings.push(text);
        }
    }
}

/// Whether a setting's connection sends what another one's does while nobody asks.
fn costs_the_same(settings: &[Setting], class: &Class, setting: &Setting, client: &str) -> bool {
    let sends = |setting: &Setting| setting.case.lab.client(client).and_then(Sends::of);
    sends(&settings[class.settings[0]]) == sends(setting)
}

/// What chance can make of the recovery, by the model; `None` where it does not know, or where it is never.
pub(super) fn bound(class: &Class) -> Option<Duration> {
    let phases = &class.foreseen.as_ref().filter(|_| class.modelled)?.phases;
    worst(
        phases
            .iter()
            .map(|phase| phase.recovery.map(|window| window.max)),
    )
}

/// The longest; `None`, which is never, is longest of all.
pub(super) fn worst(all: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    let all: Option<Vec<Duration>> = all.collect();
    all?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plan::Phase;
    use crate::runner::{self, Clock};
    use crate::scenario::Template;
    use crate::tune::setting::{self, Wanted};

    const SCENARIO: &str = "name: tuned\nnodes: [n1, n2]\nservers: { s: { node: n2 } }\n\
         clients:\n  c: { node: n1, url: 'http://s/', profile: bare, workload: { poll: { every: 2s } }, transport: { keepalive: { idle: \
         10s, interval: 5s, count: 3 } } }\nfaults: [{ at: 10s, fault: { power_loss: { node: n2 } } }]\n";

    /// What was measured on Linux 7.3.4 at HZ=250 with `tcp_retries2` of 8 and of 15: from a loss of power while idle and while
    /// unacknowledged.
    const MEASURED: [[f64; 2]; 2] = [[107.726, 107.721], [939.214, 939.209]];

    /// One of these, held against a model of another value and of a kernel; what is found, and how many classes must be run for it.
    fn found([idle, unacknowledged]: [f64; 2], model: u32, hz: u32) -> (Vec<String>, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tuned.yaml");
        fs::write(&file, SCENARIO).expect("written");
        let template = Template::read(&file, None, 0).unwrap_or_else(|_| panic!("it is right"));
        let clients: Vec<_> = template.case.lab.clients.iter().collect();
        let vary = [format!("tcp_retries2={model},3,4,5")];
        let settings = setting::all(
            &template,
            &clients,
            &vary,
            Wanted {
                ranges: false,
                recommended: false,
            },
        );
        let settings = settings.unwrap_or_else(|_| panic!("they are right"));
        let options = Options {
            runner: runner::Options {
                clock: Clock::Real,
                jobs: 1,
                record_dir: None,
                seed: 0,
                standstill: Duration::ZERO,
                history: false,
            },
            vary: Vec::new(),
            recommended: false,
            clients: Vec::new(),
            recover_within: Duration::from_secs(30),
            survive_blip: None,
            draws: 1,
            partition: Duration::from_secs(30),
            loss_runs: 0,
            filter: None,
            run_all: false,
        };
        let kernel = Kernel::of("7.3.4", Some(hz));
        let mut of = OfClient::new(&settings.all, "c", &options, kernel);
        let name = format!("tcp_retries2={model}");
        let named = |class: &Class| {
            let mut all = class
                .settings
                .iter()
                .map(|number| &settings.all[*number].name);
            all.any(|known| *known == name)
        };
        let at = of.classes.iter().position(named).expect("it is there");
        let after = |seconds| Some(Duration::from_secs_f64(seconds));
        of.classes[at].measured = Some(Ok(Measured {
            recovery: vec![
                (Phase::Idle, after(idle)),
                (Phase::RequestUnacknowledged, after(unacknowledged)),
            ],
            survives: (20, false),
            ..Measured::default()
        }));
        of.hold_against_the_model(at);
        let next = of.resting_on_distrusted().len();
        (of.findings, next)
    }

    #[test]
    fn a_model_of_another_kernel_or_with_one_retry_more_is_found_to_be_wrong() {
        let [of_8, of_15] = MEASURED;
        for (measured, model) in [(of_8, 8), (of_15, 15)] {
            assert_eq!(found(measured, model, 250), (Vec::new(), 0));
        }
        let (findings, next) = found(of_8, 9, 250);
        assert!(
            findings.iter().any(|text| text.contains("idle: recovery")),
            "{findings:?}"
        );
        // All that rests on the same timer with the same knob.
        assert_eq!(next, 3);
        assert_eq!(found(of_15, 16, 250).0.len(), 2);
        assert_eq!(found(of_15, 15, 1000).0.len(), 2);
    }
}
