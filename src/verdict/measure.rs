//! What happened to each client, by the record.

use std::time::Duration;

use crate::plan::{Client, Phase, Work, Workload};
use crate::record::Event;

use super::cause::Found;
use super::chain::{self, Step};
use super::connections::{self, Connection};
use super::evidence::{Archive, tcp_sysctls};
use super::outcome::{Outcome, outcome};
use super::parts::{self, Known, Outage};
use super::programs;
use super::requests::Requests;
use super::retransmissions::{self, Retransmissions};
use super::standing::{self, Standing};
use super::struck::{Struck, gone, led_to_dead, phase};
use super::timeline::{Moment, Timeline};
use super::workloads::{self, WorkloadMeasured};

/// What a record says, before anything is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How the case came to its end.
    pub outcome: Outcome,
    /// How long the record goes, from the case's start.
    pub duration: Duration,
    /// When each of the case's faults came into force; `None` = it did not.
    pub faults: Vec<Option<FaultMeasured>>,
    /// The case's clients, in its order.
    pub clients: Vec<ClientMeasured>,
}

/// When a client gave up the dead connection its requests waited on. Times are counted from the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// There was no dead connection.
    NotAffected,
    /// It was given up after this time.
    After(Duration),
    /// It was still there when the case ended.
    Never,
    /// The record does not say.
    Unknown,
}

/// What happened to a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMeasured {
    /// Its name.
    pub name: String,
    /// When its own node lost power, from the case's start.
    pub gone_at: Option<Duration>,
    /// The fault that its times are counted from, from the case's start: the first that struck it, else the first of all.
    pub fault_at: Option<Duration>,
    /// What it was doing at the fault.
    pub phase: Option<Phase>,
    /// Whether a connection it held at the fault was struck; `None` if the record does not say.
    pub affected: Option<bool>,
    /// When it gave up the connection its requests waited on.
    pub detection: Detection,
    /// Why the fault tested nothing of it, as a sentence; `None` if it did.
    pub untested: Option<String>,
    /// What ended the wait on that connection, and the evidence; `None` if it was not affected.
    pub cause: Option<Found>,
    /// From the fault until the first response from a live endpoint after which it stayed well.
    pub recovered_after: Option<Duration>,
    /// The last response that a live server gave it before the fault, from the case's start.
    pub last_good_at: Option<Duration>,
    /// The first request that failed after the fault: when it was first sent, if it was, and when it failed.
    pub first_failure: Option<(Option<Duration>, Duration)>,
    /// Requests that ended without a response after the fault, and those that were still waiting at the case's end
    /// though there had been time to answer them; `None` for a program: what it asked for in vain nobody else has seen.
    pub requests_failed: Option<u32>,
    /// Responses that went on and were well when the client's own timeout ended them, after the fault.
    pub healthy_cuts: u32,
    /// The longest time without a response, or a part of one, after the fault: from one to the next, or to the case's end.
    /// `None` for one who does not ask all the time, so that there need be none.
    pub longest_without_response: Option<Duration>,
    /// Dials after the fault.
    pub dials: u32,
    /// The first dial after the fault that led to a node without power: its place in `connections`.
    pub dialled_dead: Option<usize>,
    /// Its outage in its parts; `None` if no fault struck it.
    pub outage: Option<Outage>,
    /// Its connections, and its attempts at one.
    pub connections: Vec<ConnectionMeasured>,
    /// Requests whose response no server's record has, by number. They count as not answered.
    pub claimed: Vec<u32>,
    /// What others say of it.
    pub standing: Standing,
    /// What happened to each of its workloads. Its own detection, cause and recovery are those of the worst of them.
    pub workloads: Vec<WorkloadMeasured>,
}

/// A connection, or an attempt at one. Times are from the case's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionMeasured {
    /// Its number in the client.
    pub id: u32,
    /// When its SYN went out.
    pub dialled_at: Option<Duration>,
    /// When it was established and shaken hands; `None` = never.
    pub opened_at: Option<Duration>,
    /// When the client gave it up; `None` = not within the case.
    pub closed_at: Option<Duration>,
    /// The server it led to, or the address where no server listens; `None` if the record does not say.
    pub endpoint: Option<String>,
    /// What ended it.
    pub cause: Found,
    /// Its unanswered segment, sent again and again; `None` if none was sent twice.
    pub retransmissions: Option<Retransmissions>,
    /// What became of it, step by step, if it lived at the fault or after it.
    pub chain: Vec<Step>,
}

/// A fault that came into force, from the case's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultMeasured {
    /// When.
    pub at: Duration,
    /// When it was over; `None` = not within the case, or it was done at once.
    pub until: Option<Duration>,
}

/// Reads a record; `None` if it does not say which case it is of.
#[must_use]
pub fn measure(record: &[Event]) -> Option<Measured> {
    let timeline = Timeline::new(record)?;
    let archive = Archive::of(&timeline);
    let clients = timeline.case.lab.clients.iter();
    let faults = 0..timeline.case.lab.faults.len();
    let injected = |index| timeline.faults.iter().find(|fault| fault.index == index);
    Some(Measured {
        outcome: outcome(&timeline),
        duration: timeline.last(),
        faults: faults
            .map(|index| {
                injected(index).map(|fault| FaultMeasured {
                    at: fault.at.at,
                    until: fault.until.map(|until| until.at),
                })
            })
            .collect(),
        clients: clients
            .map(|client| measure_client(client, &timeline, &archive))
            .collect(),
    })
}

fn measure_client<'a>(
    client: &'a Client,
    timeline: &Timeline<'a>,
    archive: &Archive<'_, 'a>,
) -> ClientMeasured {
    let connections = connections::of(client, timeline);
    let requests = match client.program() {
        Some(_) => programs::requests_of(client, timeline, &connections),
        None => Requests::of(client, timeline, &connections),
    };
    let gone_at = gone(client, timeline);
    // Asked for again and again, and not cheap.
    let causes: Vec<Found> = connections
        .iter()
        .map(|connection| archive.found(client, connection))
        .collect();
    let known = Known {
        client,
        timeline,
        archive,
        connections: &connections,
        causes: &causes,
        requests: &requests,
    };
    let workloads = workloads::of(&known, gone_at.is_some());
    let worst = workloads::worst(&workloads);
    let nothing = Struck::nothing();
    let struck = worst.map_or(&nothing, |of| &of.struck);
    let fault = struck.fault;
    let from = fault.map_or(Moment::START, |fault| fault.at);
    // A client is well when all of it is.
    let well = workloads
        .iter()
        .all(|of| of.measured.recovered_after.is_some());
    let own = worst.map(|of| &of.measured);
    let recovered_after = own
        .and_then(|own| own.recovered_after)
        .filter(|_| well && fault.is_some());
    let dials = connections
        .iter()
        .filter(|c| c.dialled.is_some_and(|at| at > from));
    ClientMeasured {
        name: client.name.clone(),
        gone_at,
        fault_at: fault.map(|fault| fault.at.at),
        phase: fault.and_then(|fault| phase(&client.name, fault)),
        untested: own.and_then(|own| own.untested.clone()),
        affected: own.map_or(Some(false), |own| own.affected),
        detection: own.map_or(Detection::NotAffected, |own| own.detection),
        cause: own.and_then(|own| own.cause.clone()),
        recovered_after,
        outage: (gone_at.is_none() && was_out(struck, &connections, timeline, from))
            .then(|| {
                let until = recovered_after.map_or(timeline.last(), |after| from.at + after);
                // Of several workloads the worst one's outage is the client's.
                let own = own.filter(|_| client.workloads.several());
                let own = own.map(|own| requests.of_workload(&own.name));
                let requests = own.as_ref().unwrap_or(&requests);
                parts::of(&Known { requests, ..known }, struck, until)
            })
            .flatten(),
        last_good_at: requests.last_good_before(from).map(|at| at.at),
        first_failure: requests.first_failure_after(from),
        requests_failed: client
            .program()
            .is_none()
            .then(|| count(requests.failed_after(from))),
        healthy_cuts: count(requests.healthy_cuts_after(from)),
        longest_without_response: asks_all_the_time(client)
            .then(|| requests.longest_gap(from, timeline.case.lab.duration))
            .flatten(),
        dials: count(dials.count()),
        claimed: requests.claimed().collect(),
        dialled_dead: connections.iter().position(|c| {
            c.dialled
                .is_some_and(|at| at > from && led_to_dead(c, at, timeline))
        }),
        connections: connections
            .iter()
            .map(|connection| ConnectionMeasured {
                chain: match gone_at {
                    Some(_) => Vec::new(),
                    None => chain::of(&known, struck, connection),
                },
                ..measure_connection(&known, connection)
            })
            .collect(),
        standing: match gone_at {
            Some(_) => Standing::default(),
            None => standing::of(&client.name, timeline, from),
        },
        workloads: workloads.into_iter().map(|of| of.measured).collect(),
    }
}

fn measure_connection(known: &Known, connection: &Connection) -> ConnectionMeasured {
    let (client, timeline) = (known.client, known.timeline);
    let cause = known.cause_of(connection);
    let kernel = retransmissions::Kernel {
        hz: timeline.hz,
        sysctls: tcp_sysctls(client, timeline),
        user_timeout: client.transport.user_timeout,
    };
    let endpoint = connection.endpoint.as_ref();
    ConnectionMeasured {
        id: connection.id,
        dialled_at: connection.dialled.map(|at| at.at),
        opened_at: connection.opened.map(|at| at.at),
        closed_at: connection.ended().map(|at| at.at),
        endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
        retransmissions: retransmissions::of(connection, timeline, cause.cause, &kernel),
        cause,
        chain: Vec::new(),
    }
}

/// Whether a client had an outage: it held a dead connection, or may have, or dialled a dead endpoint later.
fn was_out(struck: &Struck, connections: &[Connection], timeline: &Timeline, from: Moment) -> bool {
    let dialled_dead = connections.iter().any(|c| {
        c.dialled
            .is_some_and(|at| at > from && led_to_dead(c, at, timeline))
    });
    struck.affected != Some(false) || dialled_dead
}

/// Whether responses, or parts of them, come to a client all the time while all is well.
fn asks_all_the_time(client: &Client) -> bool {
    let silent = |work: &Work| matches!(work.kind, Workload::Watch { push: None, .. });
    client.program().is_none() && !client.workloads.iter().any(silent)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl ClientMeasured {
    /// The time from the fault until detection, if there was one.
    #[must_use]
    pub fn detected_after(&self) -> Option<Duration> {
        match self.detection {
            Detection::After(time) => Some(time),
            _ => None,
        }
    }
}
