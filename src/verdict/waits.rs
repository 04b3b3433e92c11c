//! What a client's requests say of its connections' ends.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::{Client, Work, Workload};
use crate::record::{RequestError, RequestId};

use super::connections::Connection;
use super::index::{AT_ONCE, ConnectionEvent, Index, RequestEvent, TICK};
use super::request::kind;
use super::timeline::Moment;

/// What a client's requests say of an end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestsSeen {
    /// Of the request that timed out at the end: its first sign.
    pub timed_out_since: Option<Duration>,
    /// What that request's limit was.
    pub limit: Option<Duration>,
    /// The last request handed to the connection.
    pub last_sent: Option<Duration>,
    /// The first one that was after the peer was last heard.
    pub first_unheard: Option<Duration>,
    /// The last one that ended on it.
    pub last_over: Option<Duration>,
}

/// A heartbeat that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedBeat {
    pub at: Moment,
    /// The request's number.
    pub number: u32,
    /// The connection that it waited on.
    pub connection: Option<u32>,
    /// How many had failed by then, this one included.
    pub failed: usize,
    /// By a server's answer, which was an error.
    pub refused: bool,
    /// A server's record has an answer to it.
    pub answered: bool,
}

/// A request that failed by its timeout.
#[derive(Debug, Clone, Copy)]
struct TimedOut {
    at: Moment,
    /// Its first sign; `None` if it was never handed to a connection.
    since: Option<Duration>,
    limit: Option<Duration>,
}

/// What a client's requests say of its connections, by their numbers, in order of time.
#[derive(Debug, Default)]
pub(super) struct Waits {
    sent: HashMap<u32, Vec<Moment>>,
    over: HashMap<u32, Vec<Moment>>,
    /// Those that timed out; under `None` while no connection existed.
    timed_out: HashMap<Option<u32>, Vec<TimedOut>>,
    beats: Vec<FailedBeat>,
    at_once: bool,
}

impl Waits {
    /// Goes through a client's dials and requests once.
    pub(super) fn of(client: &Client, index: &Index) -> Self {
        let mut waits = Self {
            at_once: client.workloads.at_once(),
            ..Self::default()
        };
        let Some(events) = index.client(&client.name) else {
            return waits;
        };
        let dialled = events.connections.iter().filter_map(|(at, id, event)| {
            matches!(event, ConnectionEvent::Dialled { .. }).then_some((*at, *id))
        });
        let mut dialled = dialled.peekable();
        // The first sign of the request under way: its dial, or its first sending. Of several under way at once each has
        // its own.
        let mut since = None;
        let mut begun: HashMap<u32, Duration> = HashMap::new();
        let mut dials: HashMap<u32, Duration> = HashMap::new();
        for (at, request, event) in &events.requests {
            while let Some((dial, id)) = dialled.next_if(|(dial, _)| dial < at) {
                since = since.or(Some(dial.at));
                dials.insert(id, dial.at);
            }
            match *event {
                RequestEvent::Sent(connection) => {
                    since = since.or(Some(at.at));
                    let dialled = dials.remove(&connection).unwrap_or(at.at);
                    begun.entry(request.number).or_insert(dialled);
                    waits.sent.entry(connection).or_default().push(*at);
                }
                RequestEvent::Response(connection, _) => {
                    since = None;
                    waits.over.entry(connection).or_default().push(*at);
                }
                RequestEvent::Failed(connection, error) => {
                    if let Some(connection) = connection {
                        waits.over.entry(connection).or_default().push(*at);
                    }
                    if matches!(kind(client, request), Some(Workload::Heartbeat { .. })) {
                        waits.beats.push(FailedBeat {
                            at: *at,
                            number: request.number,
                            connection,
                            failed: waits.beats.len() + 1,
                            refused: error == RequestError::Status,
                            answered: events.answered.contains_key(&request.number),
                        });
                    }
                    if error == RequestError::Timeout {
                        let dial = || dials.get(&connection?).copied();
                        let first = match waits.at_once {
                            true => begun.get(&request.number).copied().or_else(dial),
                            false => since,
                        };
                        let timed_out = TimedOut {
                            at: *at,
                            since: first,
                            limit: limit(client, request),
                        };
                        waits
                            .timed_out
                            .entry(connection)
                            .or_default()
                            .push(timed_out);
                    }
                    since = None;
                }
                RequestEvent::Began | RequestEvent::Part(_) | RequestEvent::Unfinished => {}
            }
        }
        waits
    }

    /// What they say of a connection that ended then, and whose peer can't have been heard since it died, if it did.
    pub(super) fn seen(
        &self,
        connection: &Connection,
        ended: Moment,
        died: Option<Duration>,
    ) -> RequestsSeen {
        let own = self.last_by(Some(connection.id), ended.at + AT_ONCE);
        let none = connection
            .dial_failed
            .then(|| self.last_by(None, ended.at + AT_ONCE));
        let latest = own.into_iter().chain(none.flatten()).max_by_key(|t| t.at);
        let at_end = latest.filter(|t| t.at.at + AT_ONCE >= ended.at);
        let dial = || {
            connection
                .dialled
                .filter(|_| self.at_once && connection.dial_failed)
        };
        let last = |times: Option<&Vec<Moment>>| {
            let times = times?;
            let by = times.partition_point(|at| *at <= ended);
            times[..by].last().map(|at| at.at)
        };
        let info = connection.end.as_ref().and_then(|(_, end)| end.tcp_info);
        // What went out just before the last acknowledgement, by the jiffies of its age, may have been what that was for.
        let heard = info.map(|info| {
            let heard = info.last_acknowledged(ended.at) + TICK;
            died.map_or(heard, |died| heard.min(died))
        });
        RequestsSeen {
            timed_out_since: at_end.and_then(|t| {
                t.since
                    .or_else(|| Some(dial().filter(|dial| *dial < t.at)?.at))
            }),
            limit: at_end.and_then(|t| t.limit),
            last_sent: last(self.sent.get(&connection.id)),
            first_unheard: heard.and_then(|heard| {
                let sent = self.sent.get(&connection.id)?;
                let after = sent.partition_point(|at| at.at <= heard);
                sent.get(after).map(|at| at.at)
            }),
            last_over: last(self.over.get(&connection.id)),
        }
    }

    /// The heartbeat that failed as a connection was closed.
    pub(super) fn failed_beat(&self, ended: Moment) -> Option<FailedBeat> {
        let by = self.beats.partition_point(|beat| beat.at <= ended);
        let last = self.beats[..by].last().copied();
        last.filter(|beat| ended.since(beat.at) <= AT_ONCE)
    }

    /// The last request of a connection that timed out by a time.
    fn last_by(&self, connection: Option<u32>, time: Duration) -> Option<&TimedOut> {
        let all = self.timed_out.get(&connection)?;
        all[..all.partition_point(|t| t.at.at <= time)].last()
    }
}

/// The time a request may take: that of its workload where there are several.
fn limit(client: &Client, request: &RequestId) -> Option<Duration> {
    let named = |work: &&Work| request.workload.as_deref() == Some(work.name.as_str());
    match client.workloads.iter().find(named) {
        Some(work) => work.request_timeout,
        None => client.transport.request_timeout,
    }
}
