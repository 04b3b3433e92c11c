//! What a case can be about.

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Cut before a request is written: retransmission, or TCP_USER_TIMEOUT.
    Unacknowledged,
    /// Cut at a time, whatever the client is doing.
    AtATime,
    /// Cut while a request is acknowledged and its response awaited: keepalive, or TCP_USER_TIMEOUT with it.
    Waiting,
    /// Cut in a pause that is longer than keepalive takes.
    Idle,
    /// The client's own limits on a request.
    Limits,
    /// HTTP/2's health check.
    Ping,
    /// A service with endpoints that live on: dials that chance sends to the dead one.
    Service,
    /// Dials of a node that is dead already: the kernel's timers of SYNs.
    Dial,
    /// The dead node's link-layer address does not resolve: ICMP undoes back-off, or (IPv6) does not.
    NeighbourDead,
    /// A pool closes what lies idle, a stream's connection too.
    Pool,
    /// A service's entry in conntrack runs out in a pause, or between two retransmissions.
    Conntrack,
    /// A client that dials for each request, with a dead endpoint that stays for some time or for ever.
    EachDials,
    /// Two services over the same servers, a client of each.
    TwoServices,
    /// A path that is dead for a time.
    Healed,
    /// A node whose power is back after a time.
    PowerBack,
    /// A response that goes on: a watch, a download, messages.
    Reading,
    /// Several workloads on one connection of HTTP/2.
    Several,
    /// Several workloads over HTTP/1.1, a connection each.
    SideBySide,
    /// A node's heartbeats, by themselves or beside a watch.
    Heartbeats,
    /// Faults one after the other.
    Sequence,
}

impl Kind {
    /// Those of faults that last.
    pub(crate) const ALL: [Self; 13] = [
        Self::Unacknowledged,
        Self::AtATime,
        Self::Waiting,
        Self::Idle,
        Self::Limits,
        Self::Ping,
        Self::Service,
        Self::Dial,
        Self::NeighbourDead,
        Self::Pool,
        Self::Conntrack,
        Self::EachDials,
        Self::TwoServices,
    ];

    /// Its name in the summary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unacknowledged => "request unacknowledged",
            Self::AtATime => "at a time",
            Self::Waiting => "waiting for the response",
            Self::Idle => "idle, keepalive",
            Self::Limits => "request and read timeouts",
            Self::Ping => "HTTP/2 PING",
            Self::Service => "service with live endpoints",
            Self::Dial => "dials of a dead node",
            Self::NeighbourDead => "neighbour dead",
            Self::Pool => "idle timeout of a pool",
            Self::Conntrack => "conntrack forgets",
            Self::EachDials => "a dial for each request",
            Self::TwoServices => "two services",
            Self::Healed => "a path that heals",
            Self::PowerBack => "power that comes back",
            Self::Reading => "responses that go on",
            Self::Several => "several workloads",
            Self::SideBySide => "several workloads over HTTP/1.1",
            Self::Heartbeats => "heartbeats",
            Self::Sequence => "one fault after the other",
        }
    }

    /// Of all shares together.
    pub(super) fn share(self) -> u64 {
        match self {
            Self::Unacknowledged => 5,
            Self::AtATime => 4,
            Self::Waiting | Self::Idle | Self::Limits | Self::Ping | Self::Service => 2,
            Self::NeighbourDead => 3,
            Self::Pool | Self::Conntrack | Self::EachDials => 2,
            Self::TwoServices | Self::Dial | Self::Healed | Self::PowerBack | Self::Several => 1,
            Self::Reading => 3,
            Self::SideBySide | Self::Heartbeats | Self::Sequence => 1,
        }
    }
}
