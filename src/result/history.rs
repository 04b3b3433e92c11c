//! What happened in a case by time, for a report that shows it: requests, sockets, rules, counters, output.
//!
//! It is read from the record where such a report was asked for. Nothing of it is in the JSON report; records have it.

use std::path::PathBuf;
use std::time::Duration;

use crate::record::{Socket, TimerKind};

/// What happened in a case, by time. Times are from the case's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The record's file, where it was kept.
    pub record: Option<PathBuf>,
    /// The packets' file, where they were kept.
    pub packets: Option<PathBuf>,
    /// By client, in the order of the case's results.
    pub clients: Vec<ClientHistory>,
    /// Endpoints that left a service's rules, or came back.
    pub endpoints: Vec<Moment>,
    /// The services' rules, by node and in order of time.
    pub rules: Vec<RulesChange>,
    /// Counters that grew after the case's start, by node or pod.
    pub counters: Vec<PlaceCounters>,
    /// What programs wrote, in order of time.
    pub output: Vec<OutputLine>,
    /// Lines of output beyond those that are kept here; the record has them.
    pub output_left_out: usize,
    /// The story in words, as `halfopen explain` tells it.
    pub story: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Duration,
    /// What, as a sentence without its end.
    pub text: String,
}

/// What happened to a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientHistory {
    /// Its name.
    pub name: String,
    /// Who it is, in a line: its profile or command, what it does and where.
    pub who: String,
    /// What became of it, in a line.
    pub outcome: String,
    /// Its requests, in order of their beginning; of a program those that servers saw.
    pub requests: Vec<RequestSpan>,
    /// Its connections and dials, as far as there is more to tell than the result does.
    pub connections: Vec<ConnectionHistory>,
    /// What would have shortened its outage by the timeout model: one change at a time, a line each.
    pub shorter: Vec<String>,
}

/// A request from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSpan {
    /// Its number in the client.
    pub number: u32,
    /// The connection that it was handed to last; `None` if it never had one.
    pub connection: Option<u32>,
    /// When it was first spoken of.
    pub from: Duration,
    /// When it was over; of one that was not, the case's end.
    pub until: Duration,
    /// What came of it.
    pub outcome: RequestOutcome,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered, by a server's own record, or goes on and is well.
    Well,
    /// It had no response.
    Failed,
    /// It still waited at the case's end.
    Waits,
}

/// What packets and the kernel said of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionHistory {
    /// Its number in the client.
    pub id: u32,
    /// When segments of it were sent again, by the packets' own stamps.
    pub sent_again: Vec<Duration>,
    /// Its socket, from one change to the next.
    pub socket: Vec<SocketSpan>,
}

/// A socket from one change to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketSpan {
    /// When it was seen so for the first time.
    pub from: Duration,
    /// When it was seen otherwise, or was no more.
    pub until: Duration,
    /// The timer that ran; `None` = no timer did.
    pub timer: Option<TimerKind>,
    /// The most retransmissions or probes in vain that were seen meanwhile.
    pub count: u8,
    /// The most bytes that were not acknowledged meanwhile.
    pub send_queue: u32,
}

impl SocketSpan {
    /// Of a socket that was seen at a moment.
    #[must_use]
    pub fn seen(at: Duration, socket: &Socket) -> Self {
        Self {
            from: at,
            until: at,
            timer: socket.timer.map(|timer| timer.kind),
            count: socket.timer.map_or(0, |timer| timer.count),
            send_queue: socket.send_queue,
        }
    }
}

/// The services' rules of a node at a moment, beside those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesChange {
    /// Node.
    pub node: String,
    /// When.
    pub at: Duration,
    /// On which occasion.
    pub when: String,
    /// Rules that are new; at the first time all.
    pub come: Vec<String>,
    /// Rules that are no more.
    pub gone: Vec<String>,
}

/// Counters of a node or pod that grew after the case's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceCounters {
    /// Node or pod.
    pub place: String,
    /// By the kernel's name with its group, and by how much.
    pub grown: Vec<(String, u64)>,
}

/// A line that a program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// When.
    pub at: Duration,
    /// The client or server that it is the program of.
    pub who: String,
    /// It was written to standard error.
    pub error: bool,
    /// The line.
    pub text: String,
}
