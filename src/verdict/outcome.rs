//! How a case came to its end: as planned, or not.

use crate::plan::Location;
use crate::record::Observation;

use super::timeline::Timeline;
use super::units;

/// How a case came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It went as planned.
    Whole,
    /// It can't be run on this machine.
    Skipped {
        /// What is missing.
        missing: String,
        /// Where it was asked for.
        location: Option<Location>,
    },
    /// The harness could not do its work.
    Broken {
        /// What went wrong.
        text: String,
        /// Where the thing was asked for.
        location: Option<Location>,
    },
}

pub(super) fn outcome(timeline: &Timeline) -> Outcome {
    broken(timeline)
        .or_else(|| skipped(timeline))
        .or_else(|| cut_off(timeline))
        .or_else(|| not_injected(timeline))
        .unwrap_or(Outcome::Whole)
}

fn broken(timeline: &Timeline) -> Option<Outcome> {
    let (text, location) = timeline.events.iter().find_map(|(_, what)| match what {
        Observation::RigError { text, location } => Some((text, location)),
        _ => None,
    })?;
    // A rig that broke before the case began has nothing more to tell.
    let begun = timeline
        .events
        .iter()
        .any(|(_, what)| matches!(what, Observation::LabReady { .. }));
    let text = match begun && !timeline.is_whole() {
        true => format!("{text} ({})", recorded(timeline)),
        false => text.clone(),
    };
    let location = location.clone();
    Some(Outcome::Broken { text, location })
}

fn skipped(timeline: &Timeline) -> Option<Outcome> {
    timeline.events.iter().find_map(|(_, what)| match what {
        Observation::Skipped { missing, location } => Some(Outcome::Skipped {
            missing: missing.clone(),
            location: location.clone(),
        }),
        _ => None,
    })
}

fn cut_off(timeline: &Timeline) -> Option<Outcome> {
    let text = format!("the record is cut off ({})", recorded(timeline));
    let cut_off = Outcome::Broken {
        text,
        location: None,
    };
    (!timeline.is_whole()).then_some(cut_off)
}

/// What a partial record has.
fn recorded(timeline: &Timeline) -> String {
    let lab = &timeline.case.lab;
    let count = |wanted: fn(&Observation) -> bool| {
        timeline
            .events
            .iter()
            .filter(|(_, what)| wanted(what))
            .count()
    };
    format!(
        "recorded: {} of {}, {} of {} faults, {} requests sent, {} responses",
        units::measured(timeline.last()),
        units::exact(lab.duration),
        timeline.faults.len(),
        lab.faults.len(),
        count(|what| matches!(what, Observation::RequestSent { .. })),
        count(|what| matches!(what, Observation::Response { .. })),
    )
}

/// A fault that did not come into force: nothing was tested.
fn not_injected(timeline: &Timeline) -> Option<Outcome> {
    let planned = timeline.case.lab.faults.iter().enumerate();
    let missing =
        planned.map(|(index, fault)| (timeline.faults.iter().any(|f| f.index == index), fault));
    let (_, fault) = missing.into_iter().find(|(injected, _)| !injected)?;
    let text = format!(
        "{} of {} never came into force",
        fault.kind.name(),
        fault.kind.target()
    );
    let location = Some(fault.location.clone());
    Some(Outcome::Broken { text, location })
}
