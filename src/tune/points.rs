//! What is told of a client's settings.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use super::advice;
use super::front::front;
use super::knob::Knob;
use super::of_client::{Class, OfClient, bound, worst};
use super::result::{By, ClientTuning, PhaseRecovery, Point};
use super::trial::Unanswered;
use super::tuner::TuneError;
use crate::plan::Phase;
use crate::yaml::tree::Node;

impl OfClient<'_> {
    pub(super) fn finish(self) -> Result<ClientTuning, TuneError> {
        let all_failed = self
            .classes
            .iter()
            .all(|class| matches!(&class.measured, None | Some(Err(_))));
        if all_failed {
            let why = self.classes.iter().find_map(|class| match &class.measured {
                Some(Err(Unanswered::Skipped(why) | Unanswered::Broken(why))) => Some(why.clone()),
                Some(Ok(_)) | None => None,
            });
            let why = why.unwrap_or_else(|| String::from("nothing was run"));
            return Err(TuneError::Nothing(format!("{}: {why}", self.client)));
        }
        let on_front = front(
            &self
                .classes
                .iter()
                .map(|c| self.pair(c))
                .collect::<Vec<_>>(),
        );
        let mut points: Vec<Point> = Vec::new();
        for (class, on_front) in self.classes.iter().zip(on_front) {
            for number in &class.settings {
                points.push(self.point(class, *number, on_front));
            }
        }
        points.sort_by_key(|point| {
            let slowest = point.compared.unwrap_or(Duration::MAX);
            (slowest, std::cmp::Reverse(point.survives))
        });
        let advice = advice::of(&points, self.options);
        let write = advice
            .answers
            .first()
            .map_or_else(Vec::new, |first| self.write(&points[*first].setting));
        Ok(ClientTuning {
            client: self.client.to_owned(),
            points,
            answers: advice.answers,
            sentence: advice.sentence,
            write,
            findings: self.findings,
        })
    }

    /// What to write for a setting.
    fn write(&self, name: &str) -> Vec<String> {
        let setting = self.settings.iter().find(|setting| setting.name == name);
        let Some(setting) = setting else {
            return Vec::new();
        };
        let client = setting.case.lab.client(self.client);
        let values = setting.values.iter();
        let values = values.filter(|(knob, _)| client.is_some_and(|c| knob.reaches(c)));
        let lines = values.flat_map(|(knob, value)| {
            client.map_or_else(Vec::new, |client| knob.advice(&value.flow(), client))
        });
        lines.collect()
    }

    fn point(&self, class: &Class, number: usize, on_front: bool) -> Point {
        let setting = &self.settings[number];
        let first = &self.settings[class.settings[0]];
        let (compared_by, survives) = self.pair(class);
        let measured = class.measured.as_ref().and_then(|m| m.as_ref().ok());
        let unmeasured = match &class.measured {
            Some(Err(Unanswered::Skipped(why) | Unanswered::Broken(why))) => Some(why.clone()),
            Some(Ok(_)) | None => None,
        };
        let recovery: Vec<PhaseRecovery> = match (measured, &class.foreseen) {
            (Some(measured), _) => by_phase(&measured.recovery),
            (None, Some(foreseen)) => {
                let each = foreseen.phases.iter();
                each.map(|known| PhaseRecovery {
                    phase: known.phase,
                    runs: 0,
                    after: known.recovery.map(|window| window.max),
                })
                .collect()
            }
            (None, None) => Vec::new(),
        };
        let recovery_worst =
            worst(recovery.iter().map(|one| one.after)).filter(|_| !recovery.is_empty());
        let middles: Vec<Option<Duration>> = match (measured, &class.foreseen) {
            (None, Some(foreseen)) => {
                let each = foreseen.phases.iter();
                each.map(|known| known.half.map(|w| (w.min + w.max) / 2))
                    .collect()
            }
            (Some(measured), _) => measured.recovery.iter().map(|(_, after)| *after).collect(),
            (None, None) => Vec::new(),
        };
        let value = |(knob, value): &(Knob, Rc<Node>)| (knob.name().to_owned(), value.flow());
        Point {
            setting: setting.name.clone(),
            set: setting.values.iter().map(value).collect(),
            source: setting.source.clone(),
            left_out: setting.left_out.clone(),
            by: match measured {
                None => By::Model,
                Some(_) if number == class.settings[0] => By::Run,
                Some(_) => By::SameAs(first.name.clone()),
            },
            shared: setting.values.iter().any(|(knob, _)| knob.is_shared()),
            on_front: on_front && unmeasured.is_none(),
            compared: compared_by,
            recovery_worst,
            recovery_median: median(middles),
            recovery_bound: bound(class),
            recovery,
            survives,
            survives_at_least: measured.is_some_and(|measured| measured.survives.1),
            killed: measured.map_or_else(Vec::new, |measured| measured.killed.clone()),
            killed_by_model: class
                .foreseen
                .as_ref()
                .filter(|_| class.modelled)
                .map_or_else(Vec::new, |f| f.killed.clone()),
            packets_per_hour: measured.and_then(|measured| measured.packets_per_hour),
            works_again_after: measured
                .and_then(|measured| worst(measured.works_again.iter().copied())),
            unmeasured,
        }
    }
}

/// Each phase's slowest.
fn by_phase(all: &[(Phase, Option<Duration>)]) -> Vec<PhaseRecovery> {
    let mut phases: Vec<Phase> = all.iter().map(|(phase, _)| *phase).collect();
    let mut seen = HashSet::new();
    phases.retain(|phase| seen.insert(*phase));
    let each = phases.into_iter().map(|phase| {
        let own = all.iter().filter(|(of, _)| *of == phase);
        PhaseRecovery {
            phase,
            runs: u32::try_from(own.clone().count()).unwrap_or(u32::MAX),
            after: worst(own.map(|(_, after)| *after)),
        }
    });
    each.collect()
}

/// The one in the middle; of an even number the later one.
fn median(mut all: Vec<Option<Duration>>) -> Option<Duration> {
    all.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    all.get(all.len() / 2).copied().flatten()
}
