//! What a record says of a client: as a whole, and what each fault of several did to it.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::{Case, Client, Phase, Protocol, Work, Workload};

use super::availability;
use super::cause;
use super::chain;
use super::client_record::ClientRecord;
use super::connections::{self, Connection};
use super::evidence::{Archive, tcp_sysctls};
use super::index::Index;
use super::outages::{Detection, Outage, Outages, WorkloadRecord};
use super::parts;
use super::programs;
use super::requests::{Requests, Stretch};
use super::retransmissions;
use super::standing::{self, Standing};
use super::struck::{gone, led_to_dead, phase};
use super::timeline::{Injected, Moment, Timeline};
use crate::result::{ClientResult, ConnectionResult, OfFault, OutageResult, WorkloadResult};

/// What a record says of a client.
pub(super) fn measure_client(client: &Client, index: &Index) -> ClientResult {
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
    let own = client.workloads.iter().zip(&own_requests);
    let workloads: Vec<_> = own
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
            (work, workload)
        })
        .collect();
    let outages: Vec<_> = workloads.iter().map(|(_, own)| own.outages()).collect();
    let whole = Whole {
        record,
        gone_at,
        workloads: &workloads,
        outages: &outages,
    };
    let injected = index.timeline.faults.iter();
    let asked = injected.filter(|fault| whole.tells_of(fault));
    let by_fault = asked.map(|fault| OfFault {
        fault: fault.index,
        client: whole.measure(Some(fault.index)),
    });
    let by_fault: Vec<_> = by_fault.collect();
    ClientResult {
        outages: all_outages(index.case, &by_fault),
        by_fault,
        ..whole.measure(None)
    }
}

/// The outages of a client whom several faults may have struck, in order of time.
fn all_outages(case: &Case, of_faults: &[OfFault]) -> Vec<OutageResult> {
    let struck = of_faults.iter();
    let struck = struck.filter(|of| of.client.affected != Some(false) && !of.client.gone);
    let mut well_from = Some(Duration::ZERO);
    let mut all: Vec<OutageResult> = Vec::new();
    for OfFault { fault, client } in struck {
        let at = client.fault_at.unwrap_or_default();
        let recovered = client.recovered_after.map(|after| at + after);
        let during_another = well_from.is_none_or(|well| well > at);
        well_from = well_from.zip(recovered).map(|(a, b)| a.max(b));
        let name = case.lab.faults.get(*fault).and_then(|f| f.name.clone());
        all.push(OutageResult {
            fault: *fault,
            name,
            during_another,
            fault_at: client.fault_at,
            phase: client.phase,
            cause: client.cause,
            evidence: client.evidence.clone(),
            detected_after: client.detected_after,
            detection_unknown: client.detection_unknown,
            recovered_after: client.recovered_after,
            requests_failed: client.requests_failed,
            dials: client.dials,
            longest_without_response: client.longest_without_response,
            parts: client.parts.clone(),
            unexplained: client.unexplained,
            predicted: None,
            predicted_given_phase: None,
        });
    }
    all
}

/// All of a client's record.
struct Whole<'r, 't, 'a> {
    record: ClientRecord<'t, 'a>,
    gone_at: Option<Duration>,
    workloads: &'r [(&'r Work, WorkloadRecord<'t, 'a>)],
    outages: &'r [Outages<'r, 't, 'a>],
}

impl Whole<'_, '_, '_> {
    /// Whether what a fault did is told by itself: where there are several, if it struck, or if something is expected of it.
    fn tells_of(&self, fault: &Injected) -> bool {
        let case = self.record.index.case;
        let name = &fault.fault.name;
        let mut expected = case.expectations.iter();
        let expected = expected.any(|e| e.fault.is_some() && e.fault == *name);
        let mut strikes = self.outages.iter().flat_map(Outages::strikes);
        expected || (case.lab.faults.len() > 1 && strikes.any(|index| index == fault.index))
    }

    fn asks_all_the_time(&self) -> bool {
        let mut works = self.record.client.workloads.iter();
        works.all(asks_all_the_time)
    }

    /// What a fault did to the client, until another struck it that had recovered; of no fault, what the first that struck it did, and
    /// what came of the whole case.
    fn measure(&self, of: Option<usize>) -> ClientResult {
        let record = &self.record;
        let &ClientRecord {
            client,
            index,
            connections,
            requests,
            ..
        } = record;
        let gone_at = self.gone_at;
        let each = self.workloads.iter().zip(self.outages);
        let workloads: Vec<_> = each
            .map(|((work, record), outages)| {
                let outage = match of {
                    None => outages.first(),
                    Some(fault) => outages.of(fault),
                };
                let until = match (of, &outage) {
                    (Some(_), Some(outage)) => outage.until,
                    (None, _) | (_, None) => Moment::END,
                };
                let result = measure_workload(record, work, outage.as_ref(), until);
                (record.own, outage, result)
            })
            .collect();
        let worst = worst(&workloads);
        let outage = worst.and_then(|(_, outage, _)| outage.as_ref());
        let own = worst.map(|(.., result)| result);
        let fault = outage.map(|outage| outage.fault);
        let from = fault.map_or(Moment::START, |fault| fault.at);
        let until = match (of, outage) {
            (Some(_), Some(outage)) => outage.until,
            (None, _) | (_, None) => Moment::END,
        };
        let doing = fault.and_then(|fault| phase(&client.name, fault));
        // A client is well when all of it is.
        let well = workloads
            .iter()
            .all(|(.., own)| own.recovered_after.is_some());
        let recovered_after = outage.and_then(|outage| outage.recovered_after);
        let recovered_after = recovered_after.filter(|_| well);
        let dials = connections
            .iter()
            .filter(|c| c.dialled.is_some_and(|at| at > from && at <= until));
        let standing = match gone_at {
            Some(_) => Standing::default(),
            None => standing::of(&client.name, index, from),
        };
        let dialled_dead = connections
            .iter()
            .filter(|c| c.dialled.is_some_and(|at| at <= until))
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
        let within = |after: &Duration| from.at.saturating_add(*after) <= until.at;
        ClientResult {
            name: client.name.clone(),
            gone: gone_at.is_some(),
            gone_at,
            fault_at: fault.map(|fault| fault.at.at),
            phase: doing,
            phase_since: doing
                .and_then(|phase| since(phase, requests, connections, from))
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
            requests_failed: failed(client, requests, from, until),
            healthy_cuts: count(requests.healthy_cuts_between(from, until)),
            held_up: own
                .filter(|own| own.affected == Some(false))
                .and_then(|_| requests.held_up_between((from, until), client, index.case)),
            longest_without_response: match self.asks_all_the_time() {
                true => requests.longest_gap(from, until.at.min(index.case.lab.duration)),
                false => None,
            },
            dials: count(dials.count()),
            protocol: spoken(connections),
            claimed: requests.claimed().collect(),
            dialled_dead: dialled_dead.map(|c| c.id),
            connections: connections
                .iter()
                .filter(|c| c.began().is_none_or(|at| at <= until))
                .map(|connection| ConnectionResult {
                    chain: match gone_at {
                        Some(_) => Vec::new(),
                        None => chain::of(record, outage, connection),
                    },
                    ..measure_connection(record, connection)
                })
                .collect(),
            leads_after: standing.leads_after.filter(within),
            two_leaders_after: standing.two_leaders_after.filter(within),
            not_ready_after: standing.not_ready_after.filter(within),
            ready_again_after: standing.ready_again_after.filter(within),
            workloads: workloads.into_iter().map(|(.., own)| own).collect(),
            predicted: None,
            predicted_given_phase: None,
            outside_prediction: false,
            findings: Vec::new(),
            published: None,
            program: None,
            outages: Vec::new(),
            by_fault: Vec::new(),
            availability: match gone_at.is_none() && self.asks_all_the_time() {
                true => availability::of(client, requests, &index.timeline),
                false => None,
            },
        }
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
    until: Moment,
) -> WorkloadResult {
    let (client, requests) = (workload.own.client, workload.own.requests);
    let from = outage.map_or(Moment::START, |outage| outage.fault.at);
    let detection = outage.map_or(Detection::NotAffected, |outage| outage.detection);
    let diagnosis = outage.and_then(|outage| outage.diagnosis.clone());
    let without_fault = || {
        workload
            .recovered(from, None, Stretch::WHOLE)
            .filter(|_| !workload.gone)
            .map(|at| at.since(from))
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
        requests_failed: failed(client, requests, from, until),
        healthy_cuts: count(requests.healthy_cuts_between(from, until)),
        longest_without_response: match asks_all_the_time(work) {
            true => {
                let end = workload.own.index.case.lab.duration;
                requests.longest_gap(from, until.at.min(end))
            }
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
fn failed(client: &Client, requests: &Requests, from: Moment, until: Moment) -> Option<u32> {
    let counted = client.program().is_none();
    counted.then(|| count(requests.failed_between(from, until)))
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
