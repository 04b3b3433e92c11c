//! A client's requests, and what came of each by the servers' own records.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::Client;
use crate::record::{Observation, RequestError};

use super::connections::Connection;
use super::timeline::{Moment, Timeline};

/// Beyond its server's own delay, how long an answer takes at most where there is somebody to give it.
const ANSWER: Duration = Duration::from_millis(200);

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A response that a server's record has too.
    Answered {
        /// The server could answer still when the client had its response.
        alive: bool,
    },
    /// The client says it has a response, but no server's record has it.
    Claimed,
    /// No response.
    Failed(RequestError),
    /// Still waiting when the case ended.
    Unfinished,
    /// Still waiting when the case ended, and sent so late that it could not have been answered by then.
    CutShort,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// First event that speaks of it.
    pub first: Moment,
    /// Each time it was handed to a connection.
    pub sent: Vec<(Moment, u32)>,
    /// What came of it; `None` if the record does not say.
    pub outcome: Option<(Moment, Outcome)>,
}

/// A client's requests by number.
#[derive(Debug, Default)]
pub(super) struct Requests(pub BTreeMap<u32, Request>);

impl Requests {
    /// Collects a client's requests.
    pub(super) fn of(planned: &Client, timeline: &Timeline, connections: &[Connection]) -> Self {
        let client = planned.name.as_str();
        let served = Served::of(client, timeline);
        let mut requests = Self::default();
        for (at, what) in &timeline.events {
            match what {
                Observation::RequestSent {
                    request,
                    connection,
                    ..
                } if request.client == client => {
                    requests
                        .entry(request.number, *at)
                        .sent
                        .push((*at, *connection));
                }
                Observation::Response {
                    request,
                    connection,
                    ..
                } if request.client == client => {
                    let local = connections
                        .iter()
                        .find(|c| c.id == *connection)
                        .and_then(|c| c.local);
                    let entry = requests.entry(request.number, *at);
                    let sent = entry.sent.last().map_or(entry.first, |(sent, _)| *sent);
                    let outcome = served.outcome(request.number, local, sent, *at);
                    entry.outcome = Some((*at, outcome));
                }
                Observation::RequestFailed { request, error, .. } if request.client == client => {
                    requests.entry(request.number, *at).outcome =
                        Some((*at, Outcome::Failed(*error)));
                }
                Observation::RequestUnfinished { request, .. } if request.client == client => {
                    let entry = requests.entry(request.number, *at);
                    // One that has not been sent waits for its dial, and a dial needs no such time.
                    let young = entry.sent.last().is_some_and(|(sent, _)| {
                        at.since(*sent) < slowest_answer(planned, timeline)
                    });
                    let outcome = match young {
                        true => Outcome::CutShort,
                        false => Outcome::Unfinished,
                    };
                    entry.outcome = Some((*at, outcome));
                }
                _ => {}
            }
        }
        requests
    }

    fn entry(&mut self, number: u32, at: Moment) -> &mut Request {
        self.0.entry(number).or_insert(Request {
            first: at,
            sent: Vec::new(),
            outcome: None,
        })
    }

    /// Requests without a response that came to their end after `moment`.
    pub(super) fn failed_after(&self, moment: Moment) -> usize {
        let failed = self.0.values().filter(|request| match request.outcome {
            Some((_, Outcome::Answered { .. } | Outcome::CutShort)) => false,
            Some((at, _)) => at > moment,
            // Its end was not recorded, so it had none before the record's.
            None => true,
        });
        failed.count()
    }

    /// Requests whose response only the client knows of.
    pub(super) fn claimed(&self) -> impl Iterator<Item = u32> {
        let claimed = self
            .0
            .iter()
            .filter(|(_, request)| matches!(request.outcome, Some((_, Outcome::Claimed))));
        claimed.map(|(number, _)| *number)
    }

    /// The last moment at which the client was seen not to be well: a request ended without a response, or the record
    /// does not say that it had one.
    pub(super) fn last_unwell(&self) -> Option<Moment> {
        let mut unwell = None;
        // From the last to the first: what the record does not say of a request lies before the next one.
        let mut next = (None, Moment::END);
        for (number, request) in self.0.iter().rev() {
            if next.0.is_some_and(|n: u32| n > number + 1) {
                unwell = unwell.max(Some(next.1));
            }
            unwell = unwell.max(match request.outcome {
                Some((_, Outcome::Answered { .. } | Outcome::CutShort)) => None,
                Some((at, _)) => Some(at),
                None => Some(next.1),
            });
            next = (Some(*number), request.first);
        }
        unwell
    }

    /// The responses that a server with power gave, in order of time.
    pub(super) fn good_responses(&self) -> Vec<Moment> {
        let good = self.0.values().filter_map(|request| match request.outcome {
            Some((at, Outcome::Answered { alive: true })) => Some(at),
            _ => None,
        });
        let mut good: Vec<_> = good.collect();
        good.sort_unstable();
        good
    }

    /// The last of them before `moment`.
    pub(super) fn last_good_before(&self, moment: Moment) -> Option<Moment> {
        let good = self.good_responses();
        good.into_iter().rev().find(|at| *at < moment)
    }

    /// The first request that failed after `moment`: when it was first sent, if it was, and when it failed.
    pub(super) fn first_failure_after(
        &self,
        moment: Moment,
    ) -> Option<(Option<Duration>, Duration)> {
        let failures = self.0.values().filter_map(|request| match request.outcome {
            Some((at, Outcome::Failed(_))) if at > moment => Some((at, request)),
            _ => None,
        });
        let (failed, request) = failures.min_by_key(|(at, _)| *at)?;
        Some((request.sent.first().map(|(at, _)| at.at), failed.at))
    }

    /// The connection of the last request that was waiting at `moment`.
    pub(super) fn waiting_on(&self, moment: Moment) -> Option<u32> {
        let waiting = self
            .0
            .values()
            .filter(|request| request.outcome.is_none_or(|(at, _)| at > moment));
        let sent =
            waiting.flat_map(|request| request.sent.iter().rev().find(|(at, _)| *at <= moment));
        sent.max_by_key(|(at, _)| *at)
            .map(|(_, connection)| *connection)
    }

    /// Whether a request was sent after `moment`, or was waiting then.
    pub(super) fn active_after(&self, moment: Moment) -> bool {
        self.0.values().any(|request| {
            let sent = request.sent.iter().any(|(at, _)| *at > moment);
            let waiting =
                request.first < moment && request.outcome.is_none_or(|(at, _)| at > moment);
            sent || waiting
        })
    }

    /// Every handing of a request to a connection, in order of time.
    pub(super) fn sendings(&self) -> Vec<(Moment, u32)> {
        let mut sendings: Vec<_> = self
            .0
            .values()
            .flat_map(|request| request.sent.iter().copied())
            .collect();
        sendings.sort_unstable();
        sendings
    }
}

/// The longest that a living server lets a client wait.
fn slowest_answer(client: &Client, timeline: &Timeline) -> Duration {
    let servers = timeline.case.lab.servers.iter();
    let asked = servers.filter(|server| client.target.servers.contains(&server.name));
    let delay = asked.map(|server| server.response_delay).max();
    delay.unwrap_or_default() + ANSWER
}

/// What servers say they answered.
struct Served<'t, 'a> {
    timeline: &'t Timeline<'a>,
    /// The servers that answered, by request number.
    by_request: HashMap<u32, Vec<&'a str>>,
    /// Of programs that do not number their requests: when, and which server, by peer.
    by_peer: HashMap<(IpAddr, u16), Vec<(Moment, &'a str)>>,
}

impl<'t, 'a> Served<'t, 'a> {
    fn of(client: &str, timeline: &'t Timeline<'a>) -> Self {
        let mut served = Self {
            timeline,
            by_request: HashMap::new(),
            by_peer: HashMap::new(),
        };
        for (at, what) in &timeline.events {
            let Observation::ServerResponse {
                server,
                peer,
                request,
                ..
            } = what
            else {
                continue;
            };
            let server = server.as_str();
            match request {
                Some(request) if request.client == client => {
                    served
                        .by_request
                        .entry(request.number)
                        .or_default()
                        .push(server);
                }
                Some(_) => {}
                None => served
                    .by_peer
                    .entry(canonical(*peer))
                    .or_default()
                    .push((*at, server)),
            }
        }
        served
    }

    /// What to think of the response that a client says it had `at` a moment.
    fn outcome(&self, number: u32, local: Option<SocketAddr>, sent: Moment, at: Moment) -> Outcome {
        let mut servers = self.by_request.get(&number).cloned().unwrap_or_default();
        if let Some(responses) = local.and_then(|local| self.by_peer.get(&canonical(local))) {
            let in_time = responses
                .iter()
                .filter(|(when, _)| (sent..=at).contains(when));
            servers.extend(in_time.map(|(_, server)| server));
        }
        if servers.is_empty() {
            return Outcome::Claimed;
        }
        // What a server sent before it died may arrive after its death.
        let mut servers = servers.iter();
        let alive = servers.any(|server| self.timeline.server_answers(server, at));
        Outcome::Answered { alive }
    }
}

/// An address that is the same whether an IPv4 or an IPv6 socket showed it.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
