//! What the servers that a client asks do to its connection themselves.

use std::time::Duration;

use crate::plan::{Client, LabPlan, ServerLimits, Window};

/// How exactly a server keeps its idle timeout: of HTTP/2 it waits for its goodbye to be heard.
const LATE: Duration = Duration::from_millis(50);

/// Of all servers that a client may be connected to, the strictest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerSide {
    /// After how long it closes a connection without an open request.
    pub(super) idle_timeout: Option<Duration>,
    /// How often the client reads something at the least, on HTTP/2.
    pub(super) pings_every: Option<Duration>,
    /// The soonest at which it may end the connection of a client of which it hears nothing.
    gives_up: Option<Duration>,
}

/// Whether a client in a pause still has its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Nobody knows.
    Perhaps,
}

impl ServerSide {
    pub(super) fn of(client: &Client, plan: &LabPlan) -> Self {
        let limits = || plan.servers_of(client).map(|server| &server.limits);
        Self {
            idle_timeout: limits().filter_map(|of| of.idle_timeout).min(),
            pings_every: limits().filter_map(|of| Some(of.ping?.idle)).max(),
            gives_up: limits().filter_map(gives_up).min(),
        }
    }

    /// Whether a client that has rested for so long has its connection.
    pub(super) fn left(&self, rested: Window) -> Has {
        match self.idle_timeout {
            Some(limit) if rested.min > limit + LATE => Has::No,
            Some(limit) if rested.max + LATE > limit => Has::Perhaps,
            Some(_) | None => Has::Yes,
        }
    }

    /// Whether a server may have ended a connection after such a silence.
    pub(super) fn may_give_up_within(&self, silence: Duration) -> bool {
        self.gives_up
            .is_some_and(|soonest| soonest <= silence + LATE)
    }
}

/// The soonest at which these end a connection on which nothing is heard, whenever something was last.
fn gives_up(limits: &ServerLimits) -> Option<Duration> {
    let keepalive = limits.keepalive.map(|of| of.interval * of.count);
    let ping = limits.ping.map(|of| of.timeout);
    [
        keepalive,
        limits.user_timeout,
        limits.idle_timeout.map(|_| Duration::ZERO),
        ping,
    ]
    .into_iter()
    .flatten()
    .min()
}
