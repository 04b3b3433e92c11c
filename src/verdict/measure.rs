//! What happened to each client, by the record.

use std::time::Duration;

use crate::plan::{Cause, Client, Keepalive, Location, Phase, Place};
use crate::record::{EndedBy, Event, Observation, RequestError};
use crate::timeout_model::TcpSysctls;

use super::cause::{self, Circumstances, Found};
use super::connections::{self, Connection};
use super::programs;
use super::requests::Requests;
use super::retransmissions::{self, Retransmissions};
use super::timeline::{Injected, Moment, Timeline};
use super::units;
use super::untested::untested;

/// What a record says, before anything is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How the case came to its end.
    pub outcome: Outcome,
    /// How long the record goes, from the case's start.
    pub duration: Duration,
    /// When each of the case's faults came into force; `None` = it did not.
    pub faults: Vec<Option<Duration>>,
    /// The case's clients, in its order.
    pub clients: Vec<ClientMeasured>,
}

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
    /// Whether a connection it held at the fault led to a node that died; `None` if the record does not say.
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
    /// Dials after the fault.
    pub dials: u32,
    /// The first dial after the fault that led to a node without power: its place in `connections`.
    pub dialled_dead: Option<usize>,
    /// Its connections, and its attempts at one.
    pub connections: Vec<ConnectionMeasured>,
    /// Requests whose response no server's record has, by number. They count as not answered.
    pub claimed: Vec<u32>,
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
}

/// Reads a record; `None` if it does not say which case it is of.
#[must_use]
pub fn measure(record: &[Event]) -> Option<Measured> {
    let timeline = Timeline::new(record)?;
    let clients = timeline.case.lab.clients.iter();
    let faults = 0..timeline.case.lab.faults.len();
    let injected = |index| timeline.faults.iter().find(|fault| fault.index == index);
    Some(Measured {
        outcome: outcome(&timeline),
        duration: timeline.last(),
        faults: faults
            .map(|index| injected(index).map(|fault| fault.at.at))
            .collect(),
        clients: clients
            .map(|client| measure_client(client, &timeline))
            .collect(),
    })
}

fn outcome(timeline: &Timeline) -> Outcome {
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

fn measure_client(client: &Client, timeline: &Timeline) -> ClientMeasured {
    let connections = connections::of(client, timeline);
    let requests = match client.program() {
        Some(_) => programs::requests_of(client, timeline, &connections),
        None => Requests::of(client, timeline, &connections),
    };
    let struck = struck(client, timeline, &connections, &requests);
    let fault = struck.fault;
    let from = fault.map_or(Moment::START, |fault| fault.at);
    let gone_at = gone(client, timeline);
    let found = |connection: &Connection| found(client, timeline, connection);
    let dead = struck.dead;
    let dials = connections
        .iter()
        .filter(|c| c.dialled.is_some_and(|at| at > from));
    ClientMeasured {
        name: client.name.clone(),
        gone_at,
        fault_at: fault.map(|fault| fault.at.at),
        phase: fault.and_then(|fault| phase(&client.name, fault)),
        untested: fault
            .filter(|_| gone_at.is_none())
            .and_then(|fault| untested(client, fault, struck.affected, &connections, &requests))
            .map(str::to_owned),
        affected: struck.affected,
        detection: match (struck.affected, dead) {
            _ if gone_at.is_some() => Detection::NotAffected,
            (Some(false), _) => Detection::NotAffected,
            (Some(true), Some(dead)) => detection(dead, from),
            _ => Detection::Unknown,
        },
        cause: match struck.affected {
            _ if gone_at.is_some() => None,
            Some(false) => None,
            Some(true) => dead.map(found),
            None => Some(Found {
                cause: Cause::Unknown,
                evidence: String::from("the record does not say where its connection led"),
            }),
        },
        recovered_after: recovered(&connections, &requests, from)
            .filter(|_| gone_at.is_none() && fault.is_some()),
        last_good_at: requests.last_good_before(from).map(|at| at.at),
        first_failure: requests.first_failure_after(from),
        requests_failed: client
            .program()
            .is_none()
            .then(|| count(requests.failed_after(from))),
        dials: count(dials.count()),
        claimed: requests.claimed().collect(),
        dialled_dead: connections.iter().position(|c| {
            c.dialled
                .is_some_and(|at| at > from && led_to_dead(c, at, timeline))
        }),
        connections: connections
            .iter()
            .map(|connection| measure_connection(client, timeline, connection))
            .collect(),
    }
}

fn measure_connection(
    client: &Client,
    timeline: &Timeline,
    connection: &Connection,
) -> ConnectionMeasured {
    let cause = found(client, timeline, connection);
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
    }
}

/// What a fault did to a client's connections.
struct Struck<'t, 'a> {
    fault: Option<&'t Injected<'a>>,
    affected: Option<bool>,
    /// The connection its requests wait on.
    dead: Option<&'t Connection<'a>>,
}

/// The first fault that struck the client, else the first of all.
fn struck<'t, 'a>(
    client: &Client,
    timeline: &'t Timeline<'a>,
    connections: &'t [Connection<'a>],
    requests: &Requests,
) -> Struck<'t, 'a> {
    let by = |fault| struck_by(fault, connections, requests);
    let own = timeline
        .faults
        .iter()
        .find(|fault| fault.dead_node() == Some(&client.node));
    let strikes = timeline.faults.iter().map(by);
    let first = strikes
        .into_iter()
        .find(|struck| struck.affected != Some(false));
    first
        .or_else(|| own.or(timeline.faults.first()).map(by))
        .unwrap_or(Struck {
            fault: None,
            affected: Some(false),
            dead: None,
        })
}

fn struck_by<'t, 'a>(
    fault: &'t Injected<'a>,
    connections: &'t [Connection<'a>],
    requests: &Requests,
) -> Struck<'t, 'a> {
    let held = connections
        .iter()
        .filter(|connection| connection.held_at(fault.at));
    // Those whose endpoint the record does not name may be dead as well.
    let suspects = held.filter(|connection| match &connection.endpoint {
        Some(endpoint) => fault.dead_node() == Some(endpoint.node),
        None => true,
    });
    let suspects: Vec<_> = suspects.collect();
    let dead = waited_on(&suspects, fault.at, requests);
    Struck {
        fault: Some(fault),
        affected: match dead {
            None => Some(false),
            Some(connection) => connection.endpoint.as_ref().map(|_| true),
        },
        dead,
    }
}

/// Which of the dead connections the client's requests wait on: that of the request under way, else the one the next
/// request goes to, else the one being dialled, else the one used last.
fn waited_on<'t, 'a>(
    dead: &[&'t Connection<'a>],
    fault: Moment,
    requests: &Requests,
) -> Option<&'t Connection<'a>> {
    let numbered = |id: u32| dead.iter().find(|connection| connection.id == id).copied();
    let sendings = requests.sendings();
    let next = || {
        sendings
            .iter()
            .filter(|(at, _)| *at > fault)
            .find_map(|(_, id)| numbered(*id))
    };
    let dialling = || {
        dead.iter()
            .find(|connection| connection.opened.is_none_or(|at| at > fault))
            .copied()
    };
    let last = || sendings.iter().rev().find_map(|(_, id)| numbered(*id));
    let waiting = requests.waiting_on(fault).and_then(numbered);
    waiting
        .or_else(next)
        .or_else(dialling)
        .or_else(last)
        .or_else(|| dead.last().copied())
}

/// Whether a connection's endpoint had no power when it was dialled.
fn led_to_dead(connection: &Connection, dialled: Moment, timeline: &Timeline) -> bool {
    let endpoint = connection.endpoint.as_ref();
    endpoint.is_some_and(|endpoint| !timeline.alive(endpoint.node, dialled))
}

fn phase(client: &str, fault: &Injected) -> Option<Phase> {
    let phase = fault.phases.iter().find(|(name, _)| name == client);
    phase.map(|(_, phase)| *phase)
}

/// When the client was no more: by its own event, else by its node's.
fn gone(client: &Client, timeline: &Timeline) -> Option<Duration> {
    let event = timeline.events.iter().find_map(|(at, what)| match what {
        Observation::ClientGone { client: c } if *c == client.name => Some(at.at),
        _ => None,
    });
    event.or_else(|| timeline.power_lost(&client.node).map(|at| at.at))
}

fn detection(dead: &Connection, fault: Moment) -> Detection {
    match dead.end {
        Some((_, end)) if end.by == EndedBy::CaseEnd => Detection::Never,
        Some((at, _)) => Detection::After(at.since(fault)),
        None => Detection::Unknown,
    }
}

/// The first response by a live server after which the client stayed well.
fn recovered(connections: &[Connection], requests: &Requests, fault: Moment) -> Option<Duration> {
    let good = requests.good_responses();
    // A dial that led to nothing, and after which no response came, was for a request that had none.
    let last_good = good.last().copied()?;
    let vain = connections
        .iter()
        .filter(|c| c.opened.is_none() && !c.cut_short())
        .filter_map(Connection::began);
    if vain.into_iter().any(|dialled| dialled > last_good) {
        return None;
    }
    let from = requests
        .last_unwell()
        .map_or(fault, |unwell| unwell.max(fault));
    let first = good.into_iter().find(|at| *at > from)?;
    Some(first.since(fault))
}

/// What ended a connection.
fn found(client: &Client, timeline: &Timeline, connection: &Connection) -> Found {
    let Some((at, end)) = connection.end else {
        return Found {
            cause: Cause::Unknown,
            evidence: String::from("its end was not recorded"),
        };
    };
    let (keepalive, user_timeout) = options(client, timeline, connection);
    let known = Circumstances {
        opened: connection.opened.is_some() || !connection.dial_failed,
        tls: client.target.tls,
        keepalive,
        user_timeout,
        gives_up_after: tcp_sysctls(client, timeline).retransmission_bound(),
        request_timed_out: timed_out_during(client, timeline, connection, at),
    };
    cause::of_end(end, &known)
}

/// A socket's keepalive and TCP_USER_TIMEOUT: ours has what the plan says, a program's what was read from it, if it
/// was.
fn options(
    client: &Client,
    timeline: &Timeline,
    connection: &Connection,
) -> (Option<Keepalive>, Option<Duration>) {
    if client.program().is_none() {
        let transport = &client.transport;
        return (transport.keepalive, transport.user_timeout);
    }
    let read = timeline
        .events
        .iter()
        .rev()
        .find_map(|(_, what)| match what {
            Observation::SocketOptions {
                client: c,
                connection: id,
                keepalive,
                user_timeout,
            } if *c == client.name && *id == connection.id => Some((*keepalive, *user_timeout)),
            _ => None,
        });
    read.unwrap_or_default()
}

/// The sysctls in the client's namespace: by what was read back there, else by what was asked for, else the kernel's
/// defaults.
fn tcp_sysctls(client: &Client, timeline: &Timeline) -> TcpSysctls {
    let lab = &timeline.case.lab;
    let (place, planned) = match &client.place {
        Place::Node(name) => {
            let node = lab.nodes.iter().find(|node| node.name == *name);
            (name, node.map(|node| &node.sysctls))
        }
        Place::Pod(name) => {
            let pod = lab.pods.iter().find(|pod| pod.name == *name);
            (name, pod.map(|pod| &pod.sysctls))
        }
    };
    let mut sysctls = planned.cloned().unwrap_or_default();
    sysctls.extend(timeline.sysctls(place));
    TcpSysctls::with(&sysctls)
}

fn timed_out_during(
    client: &Client,
    timeline: &Timeline,
    connection: &Connection,
    ended: Moment,
) -> bool {
    let began = connection.began().unwrap_or(Moment::START);
    timeline.events.iter().any(|(at, what)| match what {
        Observation::RequestFailed {
            request,
            error: RequestError::Timeout,
            ..
        } => {
            // The request fails and its dial is cancelled at one instant, in either order.
            request.client == client.name && *at > began && at.at <= ended.at
        }
        _ => false,
    })
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
