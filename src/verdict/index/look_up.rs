//! What can be looked up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    ClientEvents, Exchange, Filed, Index, STAMP_SLACK, SocketOptions, Unreachable, canonical,
};
use crate::contract::GOODBYE;
use crate::plan::Sysctl;
use crate::record::{EndedBy, Segment, Socket};
use crate::verdict::timeline::Moment;

/// A server that closes a connection waits for its goodbye to be heard before it says that it has; and it may be late.
const TOLD_WITHIN: Duration = GOODBYE.saturating_add(Duration::from_millis(100));

impl<'a> Index<'a> {
    /// What clients and servers say of a client; `None` if nobody says anything.
    pub(in crate::verdict) fn client(&self, name: &str) -> Option<&ClientEvents<'a>> {
        self.clients.get(name)
    }

    /// The servers that accepted connections from an address, and when.
    pub(in crate::verdict) fn accepted(&self, peer: SocketAddr) -> &[(Moment, &'a str)] {
        filed(&self.accepted, &canonical(peer))
    }

    /// When servers' connections from an address ended.
    pub(in crate::verdict) fn closed(&self, peer: SocketAddr) -> &[Moment] {
        filed(&self.closed, &canonical(peer))
    }

    /// Which limit of its server's ended a connection from an address at a moment, if one did.
    pub(in crate::verdict) fn closed_by(&self, peer: SocketAddr, at: Duration) -> Option<EndedBy> {
        let all = filed(&self.closed_by, &canonical(peer)).iter();
        let near = |(closed, _): &&(Moment, EndedBy)| closed.at.abs_diff(at) <= TOLD_WITHIN;
        all.filter(near).map(|(_, by)| *by).next_back()
    }

    /// What a server's program has set the socket of its connection with a peer to, if that was read.
    pub(in crate::verdict) fn server_options(
        &self,
        server: &'a str,
        peer: SocketAddr,
    ) -> Option<SocketOptions> {
        let found = self.server_options.get(&(server, canonical(peer)));
        found.copied()
    }

    /// Responses to an address that bear no request's number, and the servers that gave them.
    pub(in crate::verdict) fn unnumbered_responses(
        &self,
        peer: SocketAddr,
    ) -> &[(Moment, &'a str)] {
        filed(&self.unnumbered, &canonical(peer))
    }

    /// What servers received from some hosts and answered them, in order of time.
    pub(in crate::verdict) fn exchanges(&self, peers: &[IpAddr]) -> Vec<Exchange<'a>> {
        let lists = peers.iter().map(|peer| filed(&self.exchanges, peer));
        let mut all = lists.collect::<Vec<_>>().concat();
        all.sort_by_key(|exchange| exchange.at);
        all
    }

    /// When payload reached a program at one of its addresses.
    pub(in crate::verdict) fn arrivals(&self, local: SocketAddr) -> &[Moment] {
        self.arrivals.of(local)
    }

    /// What was sent from an address within a time, in the order of the packets' own stamps.
    pub(in crate::verdict) fn sent_from(
        &self,
        local: SocketAddr,
        from: Duration,
        to: Duration,
    ) -> &[(Moment, &'a Segment)] {
        within(filed(&self.sent, &canonical(local)), from, to)
    }

    /// What was sent to an address within a time, in the order of the packets' own stamps.
    pub(in crate::verdict) fn sent_to(
        &self,
        local: SocketAddr,
        from: Duration,
        to: Duration,
    ) -> &[(Moment, &'a Segment)] {
        within(filed(&self.received, &canonical(local)), from, to)
    }

    /// SYNs that a host sent, as its node's link carried them, within a time.
    pub(in crate::verdict) fn syns_from(
        &self,
        host: IpAddr,
        from: Duration,
        to: Duration,
    ) -> &[(Moment, &'a Segment)] {
        within(filed(&self.syns, &host), from, to)
    }

    /// SYNs that were sent from an address, as its node's link carried them: behind DNAT.
    pub(in crate::verdict) fn syns_of(
        &self,
        local: SocketAddr,
        from: Duration,
        to: Duration,
    ) -> &[(Moment, &'a Segment)] {
        within(filed(&self.syns_of, &canonical(local)), from, to)
    }

    /// A socket of a node or pod through time, as the kernel showed it.
    pub(in crate::verdict) fn socket(
        &self,
        place: &'a str,
        local: SocketAddr,
    ) -> &[(Moment, &'a Socket)] {
        filed(&self.sockets, &(place, canonical(local)))
    }

    /// ICMP errors that say of a connection that its peer can't be reached, in order of time.
    pub(in crate::verdict) fn unreachable(
        &self,
        local: SocketAddr,
        node: &'a str,
    ) -> &[Unreachable] {
        self.icmp.about(canonical(local), node)
    }

    /// When an endpoint left a service's rules on a node: the last time, if it is out of them at `at`, else the next time.
    pub(in crate::verdict) fn removal(
        &self,
        service: &str,
        endpoint: &str,
        node: &str,
        at: Duration,
    ) -> Option<Duration> {
        let removed = self.removed.get(&(service, endpoint))?.iter();
        let mut there = removed.filter(|(of, _)| of.is_none_or(|of| of == node));
        let ends_later = there.find(|(_, (_, back))| back.is_none_or(|back| back > at));
        ends_later.map(|(_, (from, _))| *from)
    }

    /// Sysctls as the kernel returned them in a namespace, in the order they were written.
    pub(in crate::verdict) fn sysctls(&self, place: &str) -> &[Sysctl] {
        self.sysctls.get(place).map_or(&[], Vec::as_slice)
    }

    /// What a counter of a namespace grew by while the case lasted.
    pub(in crate::verdict) fn grown(&self, place: &str, counter: &str) -> u64 {
        let of_place = self.grown.get(place);
        let grown = of_place.and_then(|counters| counters.get(counter));
        grown.copied().unwrap_or_default()
    }
}

/// What `key` has.
pub(super) fn filed<'i, K: std::hash::Hash + Eq, V>(lists: &'i Filed<K, V>, key: &K) -> &'i [V] {
    lists.get(key).map_or(&[], Vec::as_slice)
}

fn within<'s, 'a>(
    segments: &'s [(Moment, &'a Segment)],
    from: Duration,
    to: Duration,
) -> &'s [(Moment, &'a Segment)] {
    let stamp = |(_, segment): &(Moment, &Segment)| Duration::from_nanos(segment.stamp_ns);
    let from = from.saturating_sub(STAMP_SLACK);
    let begin = segments.partition_point(|segment| stamp(segment) < from);
    let end = segments.partition_point(|segment| stamp(segment) <= to);
    &segments[begin..end.max(begin)]
}
