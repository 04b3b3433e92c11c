//! What is said of one client, by itself and by the servers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::plan::{Keepalive, Protocol};
use crate::record::{ConnectionEnd, OutputStream, Progress, RequestError, RequestId};
use crate::verdict::timeline::Moment;

/// What is said of a client, in order of time.
#[derive(Debug, Default)]
pub(in crate::verdict) struct ClientEvents<'a> {
    /// Beginnings and ends of its connections, by their numbers.
    pub connections: Vec<(Moment, u32, ConnectionEvent<'a>)>,
    /// What it says of its requests.
    pub requests: Vec<(Moment, &'a RequestId, RequestEvent<'a>)>,
    /// PINGs on a connection; whether each is the answer to one.
    pub pings: HashMap<u32, Vec<(Moment, bool)>>,
    /// Keepalive and TCP_USER_TIMEOUT of a program's connections, as last read.
    pub options: HashMap<u32, (Option<Keepalive>, Option<Duration>)>,
    /// Its requests that servers received: number and server.
    pub received: Vec<(Moment, u32, &'a str)>,
    /// Servers that answered a request.
    pub answered: HashMap<u32, Vec<&'a str>>,
    /// Of responses that go on: when, by which server, and how much had been sent.
    pub parts: HashMap<u32, Vec<(Moment, &'a str, Progress)>>,
    /// Whether the servers judged its node ready.
    pub ready: Vec<(Moment, bool)>,
    /// What its program wrote, and where to.
    pub output: Vec<(OutputStream, &'a str)>,
    /// When its program said how its work went, and whether well.
    pub said: Vec<(Duration, bool)>,
    /// When its program ended by itself, with which exit code, or by which signal.
    pub exited: Option<(Duration, Option<i32>, Option<i32>)>,
    /// It was started again since.
    pub runs_again: bool,
    /// When it was no more.
    pub gone: Option<Moment>,
}

/// A connection's beginning or end.
#[derive(Debug, Clone, Copy)]
pub(in crate::verdict) enum ConnectionEvent<'a> {
    Dialled {
        target: SocketAddr,
        local: Option<SocketAddr>,
    },
    Opened {
        target: SocketAddr,
        local: SocketAddr,
        protocol: Option<Protocol>,
    },
    DialFailed(&'a ConnectionEnd),
    Closed(&'a ConnectionEnd),
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(in crate::verdict) enum RequestEvent<'a> {
    /// It was handed to a connection.
    Sent(u32),
    /// A response began that is to go on.
    Began,
    /// Another part of it came.
    Part(&'a Progress),
    /// The whole response came, on a connection, from a server by its own word.
    Response(u32, Option<&'a str>),
    Failed(Option<u32>, RequestError),
    /// It was still waiting when the case ended.
    Unfinished,
}

impl<'a> ClientEvents<'a> {
    pub(super) fn connection(&mut self, at: Moment, id: u32, event: ConnectionEvent<'a>) {
        self.connections.push((at, id, event));
    }

    pub(super) fn ping(&mut self, at: Moment, connection: u32, acknowledged: bool) {
        let pings = self.pings.entry(connection).or_default();
        pings.push((at, acknowledged));
    }
}
