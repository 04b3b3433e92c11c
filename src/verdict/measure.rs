//! What happened to each client, by the record.

use std::time::Duration;

use crate::plan::Case;
use crate::record::Event;

use super::index::Index;
use super::measure_client::measure_client;
use super::outcome::{Outcome, outcome};
use super::predictions::{self, Predicted};
use super::program_end;
use super::published;
use super::timeline::Injected;
use crate::result::{ClientResult, FaultResult};

/// What a record says, before anything is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How the case came to its end.
    pub outcome: Outcome,
    /// How long the record goes, from the case's start.
    pub duration: Duration,
    /// The case's faults.
    pub faults: Vec<FaultResult>,
    /// The case's clients, in its order.
    pub clients: Vec<ClientResult>,
}

/// Reads a record; `None` if it does not say which case it is of.
#[must_use]
pub fn measure(record: &[Event]) -> Option<Measured> {
    Index::of(record).map(|index| of(&index))
}

pub(super) fn of(index: &Index) -> Measured {
    let outcome = outcome(index);
    let clients = index.case.lab.clients.iter();
    let clients = clients.map(|client| {
        let mut result = measure_client(client, index);
        let predicted = Predicted::of(&result, index);
        let of_outages = predictions::add_to_outages(client, &mut result, index);
        let findings = match outcome {
            Outcome::Whole => {
                let own = predicted
                    .findings(&result.name, &result, index.last)
                    .into_iter();
                own.chain(of_outages).collect()
            }
            Outcome::Skipped { .. } | Outcome::Broken { .. } => Vec::new(),
        };
        ClientResult {
            published: published::of(index.case, &result),
            program: program_end::of(client, index, &result),
            predicted: predicted.beforehand.map(Into::into),
            predicted_given_phase: predicted.given_phase.as_ref().map(Into::into),
            outside_prediction: !findings.is_empty(),
            findings,
            ..result
        }
    });
    Measured {
        clients: clients.collect(),
        outcome,
        duration: index.last,
        faults: faults(index.case, &index.timeline.faults),
    }
}

/// A case's faults, and when they came into force.
pub(super) fn faults(case: &Case, injected: &[Injected]) -> Vec<FaultResult> {
    let planned = case.lab.faults.iter().enumerate();
    let each = planned.map(|(index, fault)| {
        let in_force = injected.iter().find(|injected| injected.index == index);
        FaultResult {
            name: fault.name.clone(),
            kind: fault.kind.clone(),
            target: fault.target.clone(),
            at: in_force.map(|fault| fault.at.at),
            ends_at: in_force.and_then(|fault| Some(fault.until?.at)),
            lasts: fault.lasts,
            detail: fault.detail.clone(),
        }
    });
    each.collect()
}
