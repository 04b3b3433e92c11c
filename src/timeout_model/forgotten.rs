//! What ends a connection whose conntrack entry runs out.

use super::conntrack::{Entry, Next};
use super::neighbour::Limit;
use super::situation::Situation;
use super::window::{Candidate, earliest, either};
use crate::plan::{Cause, Protocol, Window};

impl Situation<'_> {
    /// What ends a connection that lay `quiet` before its next packet goes out within `at` after the fault, if conntrack may
    /// have forgotten it by then; `else_by` is what ends it otherwise.
    pub(super) fn by_conntrack(
        &self,
        quiet: Window,
        at: Window,
        else_by: impl Fn(&Self) -> Option<Candidate>,
    ) -> Option<Candidate> {
        let ordinary = || else_by(self);
        let Some(conntrack) = &self.conntrack else {
            return ordinary();
        };
        let entry = conntrack.after(quiet);
        if entry == Entry::Kept {
            return ordinary();
        }
        // What ends it before the packet goes out does so still.
        let reset = || {
            let reset = (at.then(Window::exactly(self.cycle.rtt)), Cause::Reset);
            let all = ordinary().into_iter().chain([reset]).collect();
            earliest(all).unwrap_or(reset)
        };
        let forgotten = match conntrack.next(at) {
            Next::Reset => Some(reset()),
            Next::Dead => ordinary(),
            Next::Either => ordinary().map(|other| either(reset(), other)),
            Next::Untranslated => else_by(&self.untranslated()),
        };
        match (entry, forgotten, ordinary()) {
            (Entry::Perhaps, Some(one), Some(other)) => Some(either(one, other)),
            (_, forgotten, _) => forgotten,
        }
    }

    /// What ends a series of retransmissions that began within `sent` after the fault and would end by `ordinary`, both
    /// counted from the sending, if conntrack forgets its connection meanwhile; `first` is the first retransmission.
    pub(super) fn resent_by_conntrack(
        &self,
        since_fault: Window,
        first: Window,
        ordinary: Candidate,
        limit: &Limit,
    ) -> Candidate {
        let Some(conntrack) = &self.conntrack else {
            return ordinary;
        };
        let Some((again, each)) = conntrack.forgotten_within(limit) else {
            return ordinary;
        };
        let again = first.then(again);
        let reset = (again.then(Window::exactly(self.cycle.rtt)), Cause::Reset);
        match conntrack.next(since_fault.then(again)) {
            Next::Reset if each => reset,
            Next::Reset | Next::Either => either(reset, ordinary),
            Next::Dead => ordinary,
            // From then on ICMP undoes the back-off, if it comes before the end.
            Next::Untranslated => {
                let least = Window::exactly(first.min + limit.least);
                (ordinary.0.around(least), Cause::Unknown)
            }
        }
    }

    /// Whether what conntrack forgets leaves no more to be said: where something else than requests keeps an entry alive, or
    /// where connections were lost before the fault already.
    pub(super) fn conntrack_leaves_open(&self) -> bool {
        let Some(conntrack) = &self.conntrack else {
            return false;
        };
        let t = self.transport;
        let keepalive = t.keepalive.map(|k| k.idle.max(k.interval));
        let ping = t.ping.map(|ping| ping.idle);
        let limits = [t.request_timeout, t.read_timeout].into_iter().flatten();
        let limits = limits.filter(|_| t.protocol == Protocol::H2);
        let mut others = keepalive.into_iter().chain(ping).chain(limits);
        let lost_before = self.rhythm.may_have_rested
            && (!conntrack.loose || conntrack.service.endpoints.len() > 1)
            && conntrack.after(self.cycle.pause) != Entry::Kept;
        lost_before
            || others.any(|time| conntrack.after(Window::exactly(time + time / 7)) != Entry::Kept)
    }

    /// Its packets go to the service's own address, which nobody answers for.
    fn untranslated(&self) -> Self {
        Self {
            unresolved: Some(self.nobody),
            conntrack: None,
            ..self.clone()
        }
    }
}
