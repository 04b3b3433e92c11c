//! What ends a connection whose conntrack entry runs out.

use std::time::Duration;

use super::conntrack::{CLOSE, Entry, Next};
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
        let entry = conntrack.after(self.silence(quiet));
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
        let ping = t.ping.map(|ping| ping.idle);
        let limits = [t.request_timeout, t.read_timeout].into_iter().flatten();
        let limits = limits.filter(|_| t.protocol == Protocol::H2);
        let mut others = ping.into_iter().chain(limits).map(late);
        let lost_before = self.rhythm.may_have_rested
            && (!conntrack.loose || conntrack.service.endpoints.len() > 1)
            && conntrack.after(self.silence(self.cycle.pause)) != Entry::Kept;
        lost_before
            || self
                .probes()
                .is_some_and(|probes| conntrack.after_probe(probes) != Entry::Kept)
            || others.any(|time| conntrack.after(time) != Entry::Kept)
    }

    /// Whether nothing may pass for so long that the connection is forgotten where it is not foretold what becomes of it.
    pub(super) fn may_be_forgotten(&self) -> bool {
        let Some(remembered) = self.remembered else {
            return false;
        };
        let t = self.transport;
        let limits = [t.request_timeout, t.read_timeout].into_iter().flatten();
        let limits = limits.filter(|_| t.protocol == Protocol::H2);
        let rto_max = Duration::from_millis(self.sysctls.rto_max_ms);
        let others = limits.chain([rto_max]).map(late).chain(self.probes());
        let mut all = others.chain([self.silence(self.cycle.pause)]);
        all.any(|time| time.max + CLOSE >= remembered)
    }

    /// The longest time in which nothing passes on a connection that carries no request for `quiet`.
    pub(super) fn silence(&self, quiet: Window) -> Window {
        let t = self.transport;
        let ping = t
            .ping
            .filter(|p| p.while_idle && t.protocol == Protocol::H2);
        let ping = ping.map(|ping| late(ping.idle));
        let all = self.probes().into_iter().chain(ping);
        all.fold(quiet, Window::or_sooner)
    }

    /// From one packet of TCP keepalive to the next, or from the last other one to the first of it.
    fn probes(&self) -> Option<Window> {
        let keepalive = self.transport.keepalive?;
        Some(late(keepalive.idle.max(keepalive.interval)))
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

/// As long as a timer may take that was armed for `time`: the wheel lengthens it by an eighth at most.
fn late(time: Duration) -> Window {
    Window::of(time, time + time / 7)
}
