//! How a case came to its end: as planned, or not.

use crate::plan::Location;

use super::index::Index;
use super::timeline::Timeline;
use crate::plan::units;

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

pub(super) fn outcome(index: &Index) -> Outcome {
    let broken = index.rig_error.map(|(text, location)| Outcome::Broken {
        // A rig that broke before the case began has nothing more to tell.
        text: match index.begun && !index.whole {
            true => format!("{text} ({})", recorded(index)),
            false => text.to_owned(),
        },
        location: location.cloned(),
    });
    let skipped = index.skipped.map(|(missing, location)| Outcome::Skipped {
        missing: missing.to_owned(),
        location: location.cloned(),
    });
    broken
        .or(skipped)
        .or_else(|| cut_off(index))
        .or_else(|| not_injected(&index.timeline))
        .unwrap_or(Outcome::Whole)
}

fn cut_off(index: &Index) -> Option<Outcome> {
    let cut_off = || Outcome::Broken {
        text: format!("the record is cut off ({})", recorded(index)),
        location: None,
    };
    (!index.whole).then(cut_off)
}

/// What a partial record has.
fn recorded(index: &Index) -> String {
    let lab = &index.case.lab;
    format!(
        "recorded: {} of {}, {} of {} faults, {} requests sent, {} responses",
        units::measured(index.last),
        units::exact(lab.duration),
        index.timeline.faults.len(),
        lab.faults.len(),
        index.requests_sent,
        index.responses,
    )
}

/// A fault that did not come into force: nothing was tested.
fn not_injected(timeline: &Timeline) -> Option<Outcome> {
    let planned = timeline.case.lab.faults.iter().enumerate();
    // What lies idle for long enough, if anything does, is to be seen.
    let planned = planned.filter(|(_, fault)| fault.trigger.is_certain());
    let missing =
        planned.map(|(index, fault)| (timeline.faults.iter().any(|f| f.index == index), fault));
    let (_, fault) = missing.into_iter().find(|(injected, _)| !injected)?;
    let text = format!("{fault} never came into force");
    let location = Some(fault.location.clone());
    Some(Outcome::Broken { text, location })
}
