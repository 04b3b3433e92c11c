//! What happened to each of a client's workloads, by the record.
//!
//! A client is as well as its worst workload: its own figures are those of the workload that was struck and recovered
//! last. What no workload can be blamed for alone (dials, connections) is the client's.

use std::time::Duration;

use crate::plan::{Cause, Protocol, Work};
use crate::record::EndedBy;

use super::cause::Found;
use super::connections::Connection;
use super::measure::Detection;
use super::parts::Known;
use super::requests::Requests;
use super::struck::{Struck, struck};
use super::timeline::{Injected, Moment};
use super::units::measured as shown;
use super::untested::untested;

/// What happened to a workload of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadMeasured {
    /// Its name.
    pub name: String,
    /// Its kind, as in YAML.
    pub kind: &'static str,
    /// The fault that its times are counted from, from the case's start.
    pub fault_at: Option<Duration>,
    /// Whether a connection it used was struck; `None` if the record does not say.
    pub affected: Option<bool>,
    /// When the client gave up the connection it waited on.
    pub detection: Detection,
    /// Why the fault tested nothing of it; `None` if it did.
    pub untested: Option<String>,
    /// What ended the wait on that connection; `None` if it was not affected.
    pub cause: Option<Found>,
    /// From the fault until the first response, or the first part of one, from a live endpoint after which it stayed well.
    pub recovered_after: Option<Duration>,
    /// Its requests after the fault that had no response, or not the whole of it; `None` for a program.
    pub requests_failed: Option<u32>,
    /// Responses that went on and were well when the client's own timeout ended them, after the fault.
    pub healthy_cuts: u32,
}

/// A workload's figures, and what they come from.
pub(super) struct OfWorkload<'t, 'a> {
    pub measured: WorkloadMeasured,
    pub struck: Struck<'t, 'a>,
}

/// What happened to each of a client's workloads, in its order.
pub(super) fn of<'t, 'a>(known: &Known<'t, 'a>, gone: bool) -> Vec<OfWorkload<'t, 'a>> {
    let workloads = &known.client.workloads;
    let each = workloads.iter().map(|work| {
        let measured = |requests: &Requests| {
            let one = One {
                known,
                work,
                requests,
                several: workloads.several(),
                gone,
            };
            one.measure()
        };
        match workloads.several() {
            false => measured(known.requests),
            true => measured(&known.requests.of_workload(&work.name)),
        }
    });
    each.collect()
}

/// The workload whose figures are its client's: struck rather than not, and of those the one that recovered last.
pub(super) fn worst<'w, 't, 'a>(
    workloads: &'w [OfWorkload<'t, 'a>],
) -> Option<&'w OfWorkload<'t, 'a>> {
    let rank = |of: &OfWorkload| {
        let struck = match of.measured.affected {
            Some(true) => 2,
            None => 1,
            Some(false) => 0,
        };
        let fault = of.measured.fault_at.unwrap_or_default();
        let recovered = of.measured.recovered_after;
        (struck, recovered.map_or(Duration::MAX, |r| fault + r))
    };
    // Of equals the first.
    workloads.iter().rev().max_by_key(|of| rank(of))
}

/// What tells a connection that lived from one that was given up.
struct Lived<'l> {
    /// Whether one lived through the fault, and was closed afterwards in good order.
    through: &'l dyn Fn(&Connection) -> bool,
    fault: Moment,
    recovered_after: Option<Duration>,
}

/// One workload of a client, and all there is to judge it by.
struct One<'o, 't, 'a> {
    known: &'o Known<'t, 'a>,
    work: &'o Work,
    /// Its own.
    requests: &'o Requests,
    /// It shares the client's connections with others.
    several: bool,
    gone: bool,
}

impl<'t, 'a> One<'_, 't, 'a> {
    fn measure(&self) -> OfWorkload<'t, 'a> {
        let Known {
            client,
            timeline,
            connections,
            ..
        } = *self.known;
        let uses = |connection: &Connection, fault: Moment| self.uses(connection, fault);
        let struck = struck(client, timeline, connections, self.requests, &uses);
        let Struck {
            fault,
            affected,
            dead,
        } = struck;
        let from = fault.map_or(Moment::START, |fault| fault.at);
        let lived = |dead: &Connection| fault.is_some_and(|fault| self.lived(dead, fault));
        let untested = fault
            .filter(|_| !self.gone)
            .and_then(|fault| untested(client, fault, affected, connections, self.requests))
            .map(str::to_owned);
        let counted = client.program().is_none();
        let recovered_after = self.recovered(from).filter(|_| !self.gone);
        let measured = WorkloadMeasured {
            name: self.work.name.clone(),
            kind: self.work.kind.name(),
            fault_at: fault.map(|fault| fault.at.at),
            affected,
            detection: match (affected, dead) {
                _ if self.gone => Detection::NotAffected,
                (Some(false), _) => Detection::NotAffected,
                (Some(true), Some(dead)) if lived(dead) => Detection::Never,
                (Some(true), Some(dead)) => detection(dead, from),
                _ => Detection::Unknown,
            },
            untested,
            cause: self.cause(
                affected,
                dead,
                &Lived {
                    through: &lived,
                    fault: from,
                    recovered_after,
                },
            ),
            recovered_after,
            requests_failed: counted.then(|| count(self.requests.failed_after(from))),
            healthy_cuts: count(self.requests.healthy_cuts_after(from)),
        };
        OfWorkload { measured, struck }
    }

    /// Whether a connection was this workload's at the fault: one that carried something of it and was not taken by
    /// another (on HTTP/2 all share it), or one that was being opened for it.
    fn uses(&self, connection: &Connection, fault: Moment) -> bool {
        if !self.several {
            return true;
        }
        let of_all = self.known.requests;
        let sendings = self.requests.sendings();
        let carried = |after: Moment| {
            let mut own = sendings.iter().filter(|(_, id)| *id == connection.id);
            own.any(|(at, _)| *at >= after)
        };
        let shared = self.known.client.transport.protocol == Protocol::H2;
        let taken = !shared
            && of_all.occupies(connection.id, fault)
            && !self.requests.occupies(connection.id, fault);
        let opening = connection.opened.is_none_or(|opened| opened > fault);
        match taken {
            true => carried(fault),
            false => carried(Moment::START) || (opening && self.requests.dialling_at(fault)),
        }
    }

    /// Whether a connection lived through the fault: it was answered afterwards, or the fault was over, and then its pool
    /// closed it in good order since nobody needed it. That is no detection.
    fn lived(&self, connection: &Connection, fault: &Injected) -> bool {
        let Some((ended, end)) = connection.end else {
            return false;
        };
        let over = fault.until.is_some_and(|until| until <= ended);
        let heard = || self.requests.heard_on(connection.id, fault.at);
        end.by == EndedBy::IdleTimeout && (over || heard())
    }

    fn cause(
        &self,
        affected: Option<bool>,
        dead: Option<&Connection>,
        lived: &Lived,
    ) -> Option<Found> {
        match affected {
            _ if self.gone => None,
            Some(false) => None,
            Some(true) => dead.map(|dead| {
                let found = self.known.cause_of(dead);
                let again = lived.recovered_after;
                let again = again.filter(|after| self.carried(dead, lived.fault, *after));
                match again.filter(|_| found.cause == Cause::Never) {
                    _ if (lived.through)(dead) => Found {
                        cause: Cause::Never,
                        evidence: format!(
                            "it lived through the fault, and was closed when idle: {}",
                            found.evidence
                        ),
                    },
                    Some(after) => Found {
                        evidence: format!("not given up: it worked again after {}", shown(after)),
                        ..found
                    },
                    None => found,
                }
            }),
            None => Some(Found {
                cause: Cause::Unknown,
                evidence: String::from("the record does not say where its connection led"),
            }),
        }
    }

    /// Whether a connection carried the response, or the part of one, with which the workload recovered.
    fn carried(&self, connection: &Connection, fault: Moment, recovered_after: Duration) -> bool {
        let mut own = self.requests.by_number.values().filter(|request| {
            let last = request.sent.last();
            last.is_some_and(|(_, id)| *id == connection.id)
        });
        let recovery = |at: Moment| at > fault && at.since(fault) == recovered_after;
        own.any(|request| request.good().any(recovery))
    }

    /// The first response by a live server, or part of one, after which the workload stayed well; at once if its response
    /// goes on, is silent, and was never anything but well.
    fn recovered(&self, fault: Moment) -> Option<Duration> {
        let unwell = self.requests.last_unwell();
        let untroubled = unwell.is_none_or(|unwell| unwell < fault);
        let silent = || untroubled && self.requests.goes_on_since(fault);
        let good = self.requests.good_responses();
        let last_good = good.last().copied()?;
        // A dial that led to nothing, and after which no response came, was for a request that had none. With several
        // workloads nobody knows whose, but the request itself then tells.
        let vain = self
            .known
            .connections
            .iter()
            .filter(|c| !self.several && c.opened.is_none() && !c.cut_short())
            .filter_map(Connection::began);
        if vain.into_iter().any(|dialled| dialled > last_good) {
            return None;
        }
        let from = unwell.map_or(fault, |unwell| unwell.max(fault));
        match good.into_iter().find(|at| *at > from) {
            Some(first) => Some(first.since(fault)),
            None => silent().then_some(Duration::ZERO),
        }
    }
}

fn detection(dead: &Connection, fault: Moment) -> Detection {
    match dead.end {
        Some((_, end)) if end.by == EndedBy::CaseEnd => Detection::Never,
        Some((at, _)) => Detection::After(at.since(fault)),
        None => Detection::Unknown,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
