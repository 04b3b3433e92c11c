//! What the timeout model says of a setting.

use std::time::Duration;

use super::trial::{LOSS_LASTS, LOSSES, Subject};
use crate::plan::{Cause, LabPlan, Phase, Prediction, Window};
use crate::timeout_model::{
    Kernel, Seen, foresee, killed_by_loss, longest_blip, longest_wait, predict_seen,
};

/// As long as nothing that the model does not know of ends a wait: kernels' own limits are shorter, but for keepalive's.
pub(super) const ENDLESS: Duration = Duration::from_secs(1200);

/// What the model says of a client with a setting, phase by phase.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Foreseen {
    pub(super) phases: Vec<ForeseenPhase>,
    /// How likely ten minutes of each loss are to end its connection.
    pub(super) killed: Vec<f64>,
}

/// Of a fault that strikes in a phase.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ForeseenPhase {
    pub(super) phase: Phase,
    /// From a loss of power until it works again, or gives up where nobody can answer it; `None` = never.
    pub(super) recovery: Option<Window>,
    /// By when half of all runs have.
    pub(super) half: Option<Window>,
    /// Whether chance has a part in it: where its dials lead.
    pub(super) dice: bool,
    /// What ends its wait.
    pub(super) cause: Cause,
    /// When that is at the latest; `None` = never.
    pub(super) detected: Option<Duration>,
    /// The longest silence that its connection survives; `None` of one that dials.
    pub(super) blip: Option<Window>,
}

impl Foreseen {
    /// `None` where the model does not know the client, or not everything of it.
    pub(super) fn of(subject: &Subject<'_>, kernel: Kernel) -> Option<Self> {
        let connected = subject.connected().into_iter();
        let phases: Option<Vec<_>> = connected
            .map(|phase| of_phase(subject, phase, kernel))
            .collect();
        let mut phases = phases?;
        phases.extend(dialling(subject, kernel));
        let fault = subject.loses_power(Phase::RequestUnacknowledged);
        let losses = (LOSSES.as_slice(), LOSS_LASTS);
        let killed = killed_by_loss(subject.client, &subject.case.lab, &fault, losses, kernel);
        Some(Self {
            phases,
            killed: killed.unwrap_or_default(),
        })
    }

    /// The longest silence that it survives whenever that begins.
    pub(super) fn worst_blip(&self) -> Window {
        let blips = self.phases.iter().filter_map(|phase| phase.blip);
        let worst = blips.reduce(|a, b| Window {
            min: a.min.min(b.min),
            max: a.max.min(b.max),
        });
        worst.unwrap_or(Window {
            min: Duration::ZERO,
            max: Duration::ZERO,
        })
    }

    /// The phases in which a silence may be survived for the shortest time.
    pub(super) fn decisive(&self) -> Vec<Phase> {
        let most = self.worst_blip().max + Duration::from_secs(1);
        let own = self
            .phases
            .iter()
            .filter(|phase| phase.blip.is_some_and(|blip| blip.min <= most));
        own.map(|phase| phase.phase).collect()
    }

    /// The phase's own.
    pub(super) fn of_phase(&self, phase: Phase) -> Option<&ForeseenPhase> {
        self.phases.iter().find(|known| known.phase == phase)
    }
}

impl ForeseenPhase {
    /// By when all is over.
    pub(super) fn within(&self) -> Duration {
        let recovered = self.recovery.map(|window| window.max);
        match (recovered, self.detected) {
            (None, None) => ENDLESS,
            (recovered, detected) => recovered.max(detected).unwrap_or_default(),
        }
    }
}

fn of_phase(subject: &Subject<'_>, phase: Phase, kernel: Kernel) -> Option<ForeseenPhase> {
    let (plan, prediction) = predicted(subject, phase, kernel)?;
    if prediction.cause == Cause::Unknown && prediction.detection.is_none() {
        return None;
    }
    let client = plan.client(&subject.client.name)?;
    let blip = longest_blip(client, &plan, plan.faults.first()?, phase, kernel)?;
    Some(ForeseenPhase {
        phase,
        recovery: prediction.recovery.or(prediction.detection),
        half: half(&prediction),
        dice: !prediction.odds.is_empty(),
        cause: prediction.cause,
        detected: prediction.detection.map(|window| window.max),
        blip: Some(blip),
    })
}

/// Of a client whose first dial meets the loss; `None` where the model can't say when it works again.
fn dialling(subject: &Subject<'_>, kernel: Kernel) -> Option<ForeseenPhase> {
    let phase = Phase::Connecting;
    let (_, prediction) = predicted(subject, phase, kernel)?;
    Some(ForeseenPhase {
        phase,
        recovery: Some(prediction.recovery?),
        half: half(&prediction),
        dice: !prediction.odds.is_empty(),
        cause: Cause::DialTimeout,
        detected: prediction.detection.map(|window| window.max),
        blip: None,
    })
}

/// The plan with the loss of power in a phase alone, and what the model says of it.
fn predicted(subject: &Subject<'_>, phase: Phase, kernel: Kernel) -> Option<(LabPlan, Prediction)> {
    let mut plan = subject.case.lab.clone();
    plan.faults = vec![subject.loses_power(phase)];
    let client = plan.client(&subject.client.name)?;
    foresee(client, &plan)?;
    let seen = Seen {
        kernel,
        ..Seen::default()
    };
    let prediction = predict_seen(client, &plan, &seen);
    Some((plan, prediction))
}

fn half(prediction: &Prediction) -> Option<Window> {
    let half = prediction
        .quantiles
        .iter()
        .find(|q| (q.share - 0.5).abs() < 0.01);
    half.map(|half| half.time)
        .or(prediction.recovery)
        .or(prediction.detection)
}

/// How long a client may go on that the model does not know.
pub(super) fn open_end(subject: &Subject<'_>) -> Duration {
    match subject.client.program() {
        // What its kernel does not end in that time, nothing does, but for keepalive.
        Some(_) => longest_wait(subject.client, &subject.case.lab) + Duration::from_secs(60),
        None => longest_wait(subject.client, &subject.case.lab).max(ENDLESS),
    }
}
