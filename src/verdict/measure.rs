//! What happened to each client, by the record.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::{Case, Client, Phase, Protocol, Work, Workload};
use crate::record::Event;

use super::cause;
use super::chain;
use super::client_record::ClientRecord;
use super::connections::{self, Connection};
use super::evidence::{Archive, tcp_sysctls};
use super::index::Index;
use super::outages::{Detection, Outage, WorkloadRecord};
use super::outcome::{Outcome, outcome};
use super::parts;
use super::predictions::Predicted;
use super::program_end;
use super::programs;
use super::published;
use super::requests::Requests;
use super::retransmissions;
use super::standing::{self, Standing};
use super::struck::{gone, led_to_dead, phase};
use super::timeline::{Injected, Moment, Timeline};
use crate::result::{ClientResult, ConnectionResult, FaultResult, WorkloadResult};

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
        let result = measure_client(client, index);
        let predicted = Predicted::of(&result, index);
        let findings = match outcome {
            Outcome::Whole => predicted.findings(&result, index.last),
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

fn measure_client(client: &Client, index: &Index) -> ClientResult {
    let connections = connections::of(client, index);
    let requests = match client.program() {
        Some(_) => programs::requests_of(client, index, &connections),
        None => Requests::of(client, index, &connections),
    };
    let archive = Archive::of(client, index, &requests);
    let diagnoses: Vec<_> = connections
        .iter()
        .map(|c| cause::of(archive.evidence(c)))
        .collect();
    let mut first_from = HashMap::new();
    for connection in &connections {
        if let Some(local) = connection.local {
            first_from.entry(local).or_insert(connection.id);
        }
    }
    let record = ClientRecord {
        client,
        index,
        connections: &connections,
        diagnoses: &diagnoses,
        requests: &requests,
        sysctls: tcp_sysctls(client, index),
        first_from: &first_from,
    };
    let gone_at = gone(client, index);
    let several = client.workloads.several();
    let own_requests: Vec<_> = client
        .workloads
        .iter()
        .map(|work| several.then(|| requests.of_workload(&work.name)))
        .collect();
    let workloads: Vec<_> = client
        .workloads
        .iter()
        .zip(&own_requests)
        .map(|(work, own)| {
            let own = ClientRecord {
                requests: own.as_ref().unwrap_or(&requests),
                ..record
            };
            let workload = WorkloadRecord {
                own,
                of_client: &requests,
                gone: gone_at.is_some(),
            };
            let outage = workload.outages().into_iter().next();
            let result = measure_workload(&workload, work, outage.as_ref());
            (own, outage, result)
        })
        .collect();
    let worst = worst(&workloads);
    let outage = worst.and_then(|(_, outage, _)| outage.as_ref());
    let own = worst.map(|(.., result)| result);
    let fault = outage.map(|outage| outage.fault);
    let from = fault.map_or(Moment::START, |fault| fault.at);
    let doing = fault.and_then(|fault| phase(&client.name, fault));
    // A client is well when all of it is.
    let well = workloads
        .iter()
        .all(|(.., own)| own.recovered_after.is_some());
    let recovered_after = outage.and_then(|outage| outage.recovered_after);
    let recovered_after = recovered_after.filter(|_| well);
    let dials = connections
        .iter()
        .filter(|c| c.dialled.is_some_and(|at| at > from));
    let standing = match gone_at {
        Some(_) => Standing::default(),
        None => standing::of(&client.name, index, from),
    };
    let dialled_dead = connections
        .iter()
        .find(|c| led_to_dead_after(c, from, &index.timeline));
    // It had an outage if it held a dead connection, or may have, or dialled a dead endpoint later.
    let was_out = |outage: &Outage| outage.affected != Some(false) || dialled_dead.is_some();
    let (parts, unexplained) = worst
        .and_then(|(own, outage, _)| {
            let outage = outage.as_ref()?;
            let until = recovered_after.map_or(index.last, |after| from.at + after);
            // Of several workloads the worst one's outage is the client's.
            (gone_at.is_none() && was_out(outage)).then(|| parts::of(own, outage, until))
        })
        .map(|found| (found.parts, found.unexplained))
        .unzip();
    ClientResult {
        name: client.name.clone(),
        gone: gone_at.is_some(),
        gone_at,
        fault_at: fault.map(|fault| fault.at.at),
        phase: doing,
        phase_since: doing
            .and_then(|phase| since(phase, &requests, &connections, from))
            .map(|at| at.at),
        untested: own.and_then(|own| own.untested.clone()),
        affected: own.map_or(Some(false), |own| own.affected),
        detected_after: own.and_then(|own| own.detected_after),
        detection_unknown: own.is_some_and(|own| own.detection_unknown),
        cause: own.and_then(|own| own.cause),
        evidence: own.and_then(|own| own.evidence.clone()),
        recovered_after,
        parts: parts.unwrap_or_default(),
        unexplained,
        last_good_at: requests.last_good_before(from).map(|at| at.at),
        first_failure: requests.first_failure_after(from),
        requests_failed: failed(client, &requests, from),
        healthy_cuts: count(requests.healthy_cuts_after(from)),
        held_up: own
            .filter(|own| own.affected == Some(false))
            .and_then(|_| requests.held_up_after(from, client, index.case)),
        longest_without_response: match client.workloads.iter().all(asks_all_the_time) {
            true => requests.longest_gap(from, index.case.lab.duration),
            false => None,
        },
        dials: count(dials.count()),
        protocol: spoken(&connections),
        claimed: requests.claimed().collect(),
        dialled_dead: dialled_dead.map(|c| c.id),
        connections: connections
            .iter()
            .map(|connection| ConnectionResult {
                chain: match gone_at {
                    Some(_) => Vec::new(),
                    None => chain::of(&record, outage, connection),
                },
                ..measure_connection(&record, connection)
            })
            .collect(),
        leads_after: standing.leads_after,
        two_leaders_after: standing.two_leaders_after,
        not_ready_after: standing.not_ready_after,
        ready_again_after: standing.ready_again_after,
        workloads: workloads.into_iter().map(|(.., own)| own).collect(),
        predicted: None,
        predicted_given_phase: None,
        outside_prediction: false,
        findings: Vec::new(),
        published: None,
        program: None,
    }
}

/// When a client had begun with what it was doing at a moment.
fn since(
    phase: Phase,
    requests: &Requests,
    connections: &[Connection],
    at: Moment,
) -> Option<Moment> {
    match phase {
        Phase::Idle => requests.last_good_before(at),
        Phase::RequestUnacknowledged | Phase::WaitingForResponse => only(requests.open_at(at)),
        Phase::Connecting => only(connections.iter().filter_map(|c| c.dialling_at(at))),
        Phase::Streaming => None,
    }
}

/// The one of several, if there is but one.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}

/// The workload whose figures are its client's: struck rather than not, and of those the one that recovered last.
fn worst<T, U>(workloads: &[(T, U, WorkloadResult)]) -> Option<&(T, U, WorkloadResult)> {
    let rank = |(_, _, own): &(T, U, WorkloadResult)| {
        let struck = match own.affected {
            Some(true) => 2,
            None => 1,
            Some(false) => 0,
        };
        let fault = own.fault_at.unwrap_or_default();
        let recovered = own.recovered_after;
        (struck, recovered.map_or(Duration::MAX, |r| fault + r))
    };
    // Of equals the first.
    workloads.iter().rev().max_by_key(|of| rank(of))
}

fn measure_workload(
    workload: &WorkloadRecord,
    work: &Work,
    outage: Option<&Outage>,
) -> WorkloadResult {
    let (client, requests) = (workload.own.client, workload.own.requests);
    let from = outage.map_or(Moment::START, |outage| outage.fault.at);
    let detection = outage.map_or(Detection::NotAffected, |outage| outage.detection);
    let diagnosis = outage.and_then(|outage| outage.diagnosis.clone());
    let without_fault = || {
        workload
            .recovered_after(from, None)
            .filter(|_| !workload.gone)
    };
    WorkloadResult {
        name: work.name.clone(),
        kind: work.kind.name().to_owned(),
        fault_at: outage.map(|outage| outage.fault.at.at),
        affected: outage.map_or(Some(false), |outage| outage.affected),
        detected_after: match detection {
            Detection::After(time) => Some(time),
            Detection::NotAffected | Detection::Never | Detection::Unknown => None,
        },
        detection_unknown: detection == Detection::Unknown,
        untested: outage.and_then(|outage| outage.untested.map(str::to_owned)),
        cause: diagnosis.as_ref().map(|found| found.cause),
        evidence: diagnosis.map(|found| found.evidence),
        recovered_after: outage.map_or_else(without_fault, |outage| outage.recovered_after),
        requests_failed: failed(client, requests, from),
        healthy_cuts: count(requests.healthy_cuts_after(from)),
        longest_without_response: match asks_all_the_time(work) {
            true => requests.longest_gap(from, workload.own.index.case.lab.duration),
            false => None,
        },
    }
}

fn measure_connection(record: &ClientRecord, connection: &Connection) -> ConnectionResult {
    let diagnosis = record.diagnosis(connection);
    let endpoint = connection.endpoint.as_ref();
    ConnectionResult {
        id: connection.id,
        dialled_at: connection.dialled.map(|at| at.at),
        opened_at: connection.opened.map(|at| at.at),
        closed_at: connection.ended().map(|at| at.at),
        target: connection.target.map(|target| target.to_string()),
        endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
        protocol: connection.protocol,
        retransmissions: retransmissions::of(record, connection),
        cause: record.cause(connection),
        evidence: diagnosis.map_or_else(String::new, |found| found.evidence.clone()),
        chain: Vec::new(),
    }
}

/// What a client's connections speak, if all that were opened speak the same.
fn spoken(connections: &[Connection]) -> Option<Protocol> {
    let mut all = connections.iter().filter_map(|c| c.protocol);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Requests without a response; a program's own nobody has all seen.
fn failed(client: &Client, requests: &Requests, from: Moment) -> Option<u32> {
    let counted = client.program().is_none();
    counted.then(|| count(requests.failed_after(from)))
}

/// Whether a connection was dialled after a fault, and led to an endpoint that could not answer.
fn led_to_dead_after(connection: &Connection, fault: Moment, timeline: &Timeline) -> bool {
    let dialled = connection.dialled.filter(|at| *at > fault);
    dialled.is_some_and(|at| led_to_dead(connection, at, timeline))
}

/// Whether responses, or parts of them, come all the time while all is well.
fn asks_all_the_time(work: &Work) -> bool {
    !matches!(work.kind, Workload::Watch { push: None, .. })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
