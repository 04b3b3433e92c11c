//! Outages: what a fault did to a client's workload, when the client gave up what it waited on, and when all was well again.
//!
//! A client is as well as its worst workload: its own outage is that of the workload that was struck and recovered
//! last. What no workload can be blamed for alone (dials, connections) is the client's.

use std::time::Duration;

use crate::plan::units::measured;
use crate::plan::{Cause, Protocol};
use crate::record::EndedBy;

use crate::result::WORKED_AGAIN;

use super::cause::Diagnosis;
use super::client_record::ClientRecord;
use super::connections::Connection;
use super::pace::{Pace, may_come_again};
use super::requests::{Requests, Stretch};
use super::struck::{Struck, first_of, struck};
use super::timeline::{Injected, Moment};
use super::untested::untested;

/// What a fault did to a workload of a client. Times are counted from the fault.
#[derive(Clone)]
pub(super) struct Outage<'t, 'a> {
    pub fault: &'t Injected<'a>,
    /// Whether it struck a connection that the workload used; `None` if the record does not say.
    pub affected: Option<bool>,
    /// The connection that its requests waited on.
    pub waited_on: Option<&'t Connection<'a>>,
    pub detection: Detection,
    /// What ended the wait on that connection; `None` if it was not affected.
    pub diagnosis: Option<Diagnosis>,
    /// Until the first response, or the first part of one, from a live endpoint after which it stayed well.
    pub recovered_after: Option<Duration>,
    /// Until when it is looked at: the next fault that struck once it had recovered, else the case's end.
    pub until: Moment,
    /// Why the fault tested nothing of it; `None` if it did.
    pub untested: Option<&'static str>,
}

/// What each fault of a case did to a workload of a client.
pub(super) struct Outages<'r, 't, 'a> {
    record: &'r WorkloadRecord<'t, 'a>,
    struck: Vec<Struck<'t, 'a>>,
}

impl<'t, 'a> Outages<'_, 't, 'a> {
    /// The faults that struck it, or may have, by their place in the plan and in order of time.
    pub(super) fn strikes(&self) -> impl Iterator<Item = usize> {
        let strikes = self.struck.iter().filter(|s| s.affected != Some(false));
        strikes.map(|struck| struck.fault.index)
    }

    /// The one that the first fault caused that struck it; else what the first of all faults did, which is nothing.
    pub(super) fn first(&self) -> Option<Outage<'t, 'a>> {
        let timeline = &self.record.own.index.timeline;
        let first = first_of(self.record.own.client, timeline, &self.struck)?;
        Some(self.by(first))
    }

    /// What a fault did; `None` if it never came into force.
    pub(super) fn of(&self, fault: usize) -> Option<Outage<'t, 'a>> {
        let mut all = self.struck.iter();
        let struck = all.find(|struck| struck.fault.index == fault)?;
        Some(self.by(struck))
    }

    fn by(&self, struck: &Struck<'t, 'a>) -> Outage<'t, 'a> {
        let later = self.struck.iter().filter(|s| s.affected != Some(false));
        let later = later.map(|s| s.fault.at).filter(|at| *at > struck.fault.at);
        self.record.outage(struck, later)
    }
}

/// When a client gave up the dead connection its requests waited on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detection {
    /// There was no dead connection.
    NotAffected,
    /// It was given up after this time.
    After(Duration),
    /// It was still there when the case ended.
    Never,
    /// The record does not say.
    Unknown,
}

/// What a record has on a workload of a client.
#[derive(Clone, Copy)]
pub(super) struct WorkloadRecord<'t, 'a> {
    /// With the requests of this workload alone.
    pub own: ClientRecord<'t, 'a>,
    /// All requests of the client.
    pub of_client: &'t Requests<'a>,
    /// The client is no more.
    pub gone: bool,
}

impl<'t, 'a> WorkloadRecord<'t, 'a> {
    /// What each fault did to it.
    pub(super) fn outages(&self) -> Outages<'_, 't, 'a> {
        let uses = |connection: &Connection, fault: Moment| self.uses(connection, fault);
        Outages {
            record: self,
            struck: struck(&self.own, &uses),
        }
    }

    /// What a fault did; `later` ones struck after it, in order of time.
    fn outage(
        &self,
        struck: &Struck<'t, 'a>,
        later: impl Iterator<Item = Moment>,
    ) -> Outage<'t, 'a> {
        let &Struck {
            fault,
            affected,
            dead,
            ref taken,
        } = struck;
        let outage = Outage {
            fault,
            affected,
            waited_on: dead,
            detection: Detection::NotAffected,
            diagnosis: None,
            recovered_after: None,
            until: Moment::END,
            untested: None,
        };
        if self.gone {
            return outage;
        }
        // One that is not over when another fault strikes goes on.
        let mut bounds = later.chain([Moment::END]);
        let recovery = bounds.find_map(|until| {
            let lost = taken.iter().copied();
            let lost: Vec<u32> = lost
                .filter(|id| !self.outlived(*id, fault, until))
                .collect();
            let within = Stretch {
                until,
                taken: &lost,
            };
            let recovered = self.recovered(fault.at, affected, within)?;
            Some((recovered.since(fault.at), until))
        });
        let (recovered_after, until) = recovery.unzip();
        let own = &self.own;
        let until = until.unwrap_or(Moment::END);
        Outage {
            detection: match (affected, dead) {
                (Some(false), _) => Detection::NotAffected,
                (Some(true), Some(dead)) => self.detection(dead, fault, until),
                (Some(true), None) | (None, _) => Detection::Unknown,
            },
            diagnosis: match affected {
                Some(false) => None,
                Some(true) => dead.map(|dead| self.diagnosis(dead, fault, recovered_after, until)),
                None => Some(Diagnosis::unknown(
                    "the record does not say where its connection led",
                )),
            },
            recovered_after,
            until,
            untested: untested(own.client, fault, affected, own.connections, own.requests),
            ..outage
        }
    }

    fn several(&self) -> bool {
        self.own.client.workloads.several()
    }

    /// Whether a connection was this workload's at the fault: one that carried something of it and was not taken by
    /// another (on HTTP/2 all share it), or one that was being opened for it.
    fn uses(&self, connection: &Connection, fault: Moment) -> bool {
        if !self.several() {
            return true;
        }
        let own = self.own.requests;
        let carried = |after: Moment| own.handed_to(connection.id).any(|at| at >= after);
        let shared = self.own.client.transport.protocol == Protocol::H2;
        let taken = !shared
            && self.of_client.occupies(connection.id, fault)
            && !own.occupies(connection.id, fault);
        let opening = connection.opened.is_none_or(|opened| opened > fault);
        match taken {
            true => carried(fault),
            false => carried(Moment::START) || (opening && self.dialled_for(connection, fault)),
        }
    }

    /// Whether a dial that was under way at the fault was for a request of this workload that never got its connection.
    ///
    /// No event says so. But who waits for a dial in vain ends right after it; on HTTP/2, where all wait for the same one, or
    /// before it.
    fn dialled_for(&self, dial: &Connection, fault: Moment) -> bool {
        let shared = self.own.client.transport.protocol == Protocol::H2;
        let requests = self.own.requests;
        let Some(ended) = dial.ended() else {
            let mut until = requests.dialling_until(fault);
            return until.any(|at| shared || at == Moment::END);
        };
        let first = requests.dialling_until(fault).next();
        if shared && first.is_some_and(|at| at <= ended) {
            return true;
        }
        // It is another dial's if that ended in between.
        let next = requests.dialling_until(fault.max(ended)).next();
        next.is_some_and(|at| {
            let mut ends = self.own.connections.iter().filter_map(Connection::ended);
            at != Moment::END && !ends.any(|end| end > ended && end <= at)
        })
    }

    /// Whether a connection lived through the fault: it was answered afterwards, or the fault was over, and then its pool
    /// closed it in good order since nobody needed it. That is no detection.
    fn lived(&self, connection: &Connection, fault: &Injected) -> bool {
        let Some(ended) = connection.ended() else {
            return false;
        };
        let over = fault.until.is_some_and(|until| until <= ended);
        let heard = || self.own.requests.heard_on(connection.id, fault.at);
        self.own.cause(connection) == Cause::IdleTimeout && (over || heard())
    }

    /// Whether a connection that a fault took was answered on again before another one struck, at `until`: what comes of it then is
    /// that one's doing.
    fn outlived(&self, connection: u32, fault: &Injected, until: Moment) -> bool {
        until != Moment::END && self.own.requests.answered_again(connection, fault, until)
    }

    /// Whether it is so with one that ended after that.
    fn ended_later(&self, dead: &Connection, fault: &Injected, until: Moment) -> bool {
        let later = dead.ended().is_some_and(|ended| ended > until);
        later && self.outlived(dead.id, fault, until)
    }

    fn detection(&self, dead: &Connection, fault: &Injected, until: Moment) -> Detection {
        match dead.end {
            _ if self.lived(dead, fault) => Detection::Never,
            Some(_) if self.ended_later(dead, fault, until) => Detection::Never,
            Some((_, end)) if end.by == EndedBy::CaseEnd => Detection::Never,
            Some((at, _)) => Detection::After(at.since(fault.at)),
            None => Detection::Unknown,
        }
    }

    /// What ended the wait on a connection that was struck.
    fn diagnosis(
        &self,
        dead: &Connection,
        fault: &Injected,
        recovered_after: Option<Duration>,
        until: Moment,
    ) -> Diagnosis {
        let found = self.own.diagnosis(dead).cloned();
        let found = found.unwrap_or_else(|| Diagnosis::unknown("it is none of the client's"));
        if self.lived(dead, fault) {
            let (cause, evidence) = (Cause::Never, found.evidence);
            let evidence =
                format!("it lived through the fault, and was closed when idle: {evidence}");
            return Diagnosis { cause, evidence };
        }
        let found = match self.ended_later(dead, fault, until) {
            true => Diagnosis {
                cause: Cause::Never,
                evidence: String::from("it lived through the fault"),
            },
            false => found,
        };
        let again = recovered_after
            .filter(|after| found.cause == Cause::Never && self.carried(dead, fault.at, *after));
        match again {
            Some(after) => Diagnosis {
                evidence: format!("{WORKED_AGAIN} after {}", measured(after)),
                ..found
            },
            None => found,
        }
    }

    /// Whether a connection carried the response, or the part of one, with which the workload recovered.
    fn carried(&self, connection: &Connection, fault: Moment, recovered_after: Duration) -> bool {
        let mut own = self.own.requests.last_on(connection.id);
        let recovery = |at: Moment| at > fault && at.since(fault) == recovered_after;
        own.any(|(_, request)| request.good().any(recovery))
    }

    /// The first response by a live server, or part of one, after which the workload stayed well for a part of the case; at once
    /// if its response goes on, is silent, and was never anything but well.
    pub(super) fn recovered(
        &self,
        fault: Moment,
        affected: Option<bool>,
        within: Stretch<'_>,
    ) -> Option<Moment> {
        let requests = self.own.requests;
        let until = within.until;
        let unwell = requests.last_unwell(within);
        let untroubled = unwell.is_none_or(|unwell| unwell < fault);
        let silent = || untroubled && requests.goes_on_since(fault, within);
        let good = requests.good_until(until);
        let last_good = good.last().copied();
        // A dial that led to nothing, and after which no response came, was for a request that had none. With several
        // workloads nobody knows whose, but the request itself then tells.
        let vain = self
            .own
            .connections
            .iter()
            .filter(|c| !self.several() && c.opened.is_none() && !c.cut_short())
            .filter(|c| until == Moment::END || c.ended().is_some_and(|end| end <= until))
            .filter_map(Connection::began);
        if vain.max() > last_good {
            return None;
        }
        let program = self.own.client.program().is_some();
        let index = self.own.index;
        let events = index.client(&self.own.client.name);
        // One that had ended was neither well nor unwell.
        let ran = events.is_some_and(|events| {
            events.runs_again || events.exited.is_none_or(|(at, ..)| at > fault.at)
        });
        if program && ran && untroubled && affected == Some(false) {
            // It may only listen, or have nothing more to ask.
            let next = good.iter().find(|at| **at > fault);
            return Some(next.copied().unwrap_or(fault));
        }
        last_good?;
        let from = unwell.map_or(fault, |unwell| unwell.max(fault));
        let first = requests.first_good_after(from);
        match first.filter(|at| *at <= until) {
            Some(first) if program => {
                let well = self.at_its_pace(fault, first, within);
                well.filter(|at| *at <= until)
            }
            Some(first) => Some(first),
            None => silent().then_some(fault),
        }
    }

    /// The first good answer of a program, from `first` on, after which nothing of it still waits on what is dead. Where it is
    /// answered less often than before as long as a connection is kept on which it asked in vain, one of its threads waits there.
    fn at_its_pace(&self, fault: Moment, first: Moment, within: Stretch<'_>) -> Option<Moment> {
        let requests = self.own.requests;
        let last = self.own.index.last.min(within.until.at);
        let pace = Pace::of(&requests.good, fault);
        let ends = self.own.connections.iter().filter_map(|c| {
            let end = self.waits_until(c)?;
            let own = end <= within.until || within.taken.contains(&c.id);
            own.then_some(end)
        });
        let mut ends: Vec<Moment> = ends.collect();
        ends.sort_unstable();
        let mut well = first;
        for end in ends {
            if end > well && pace.is_kept(well, end.at.min(last)) == Some(false) {
                well = requests.first_good_after(end)?;
            }
        }
        let well_for = last.saturating_sub(well.at);
        let failures = self.failures(fault).into_iter();
        let failures = failures.filter(|at| *at <= last);
        (!may_come_again(&mut failures.collect::<Vec<_>>(), well_for)).then_some(well)
    }

    /// When something of a program failed, as far as that is seen: its requests, and what it asked on connections that it keeps.
    fn failures(&self, fault: Moment) -> Vec<Duration> {
        let requests = self.own.requests.by_number.values();
        let lost = requests
            .filter(|request| request.is_lost())
            .map(|request| request.first);
        let kept = self
            .own
            .connections
            .iter()
            .filter(|c| self.waits_until(c) == Some(Moment::END));
        let (index, place) = (self.own.index, self.own.client.place.name());
        let grown = kept.filter_map(|c| c.local).flat_map(|local| {
            let shown = index.socket(place, local).windows(2);
            let more = shown.filter(|pair| pair[1].1.has_more_than(pair[0].1));
            more.map(|pair| pair[1].0)
        });
        let all = lost
            .chain(grown)
            .filter(|at| *at > fault && *at != Moment::END);
        all.map(|at| at.at).collect()
    }

    /// Until when somebody may wait for a connection: one on which something was asked in vain, until its end; a dial that is under
    /// way when the case ends, until then.
    fn waits_until(&self, connection: &Connection) -> Option<Moment> {
        let mut own = self.own.requests.last_on(connection.id);
        let in_vain = own.any(|(_, request)| request.is_lost());
        let dials = connection.opened.is_none() && connection.ended().is_none();
        (in_vain || dials).then(|| connection.ended().unwrap_or(Moment::END))
    }
}
