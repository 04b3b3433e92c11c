//! A client's requests, and what came of each by the servers' own records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::{Client, Work, Workload};
use crate::record::{Observation, RequestError, RequestId};

use super::connections::Connection;
use super::served::Served;
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
    /// A response that goes on and was well when the case ended.
    GoesOn,
    /// A response that went on and was well when the client's own timeout ended it.
    HealthyCut,
}

impl Outcome {
    /// Whether nothing is wrong with it.
    fn is_well(self) -> bool {
        match self {
            Self::Answered { .. } | Self::CutShort | Self::GoesOn | Self::HealthyCut => true,
            Self::Claimed | Self::Failed(_) | Self::Unfinished => false,
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// First event that speaks of it.
    pub first: Moment,
    /// Each time it was handed to a connection.
    pub sent: Vec<(Moment, u32)>,
    /// What came of it; `None` if the record does not say.
    pub outcome: Option<(Moment, Outcome)>,
    /// The workload it is of, where its client has several.
    pub workload: Option<String>,
    /// Of a response that goes on: when it began, and when more of it came from a server with power.
    pub stream: Option<Stream>,
}

/// A response that goes on.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// When its head came.
    pub began: Moment,
    /// When something of it came that a server with power had sent, by that server's own record.
    pub good: Vec<Moment>,
}

/// A client's requests by number, or those of one of its workloads.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub by_number: BTreeMap<u32, Request>,
    /// Numbers of the requests of its other workloads.
    elsewhere: BTreeSet<u32>,
}

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
                    requests.entry(request, *at).sent.push((*at, *connection));
                }
                Observation::ResponseBegan { request, .. } if request.client == client => {
                    let good = served.answered_by_living(request.number, *at);
                    // A download is well when its bytes flow; its head alone says nothing of them.
                    let counts = good && kind(planned, request).is_none_or(|k| !is_download(k));
                    requests.entry(request, *at).stream = Some(Stream {
                        began: *at,
                        good: counts.then_some(*at).into_iter().collect(),
                    });
                }
                Observation::StreamReceived {
                    request, received, ..
                } if request.client == client => {
                    let good = served.sent_by_living(request.number, received, *at);
                    let entry = requests.entry(request, *at);
                    if let (Some(stream), true) = (&mut entry.stream, good) {
                        stream.good.push(*at);
                    }
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
                    let entry = requests.entry(request, *at);
                    let sent = entry.sent.last().map_or(entry.first, |(sent, _)| *sent);
                    let outcome = served.outcome(request.number, local, sent, *at);
                    entry.outcome = Some((*at, outcome));
                }
                Observation::RequestFailed { request, error, .. } if request.client == client => {
                    let entry = requests.entry(request, *at);
                    let healthy = *error == RequestError::Timeout
                        && served.is_well(planned, request, entry.stream.as_ref(), *at);
                    let outcome = match healthy {
                        true => Outcome::HealthyCut,
                        false => Outcome::Failed(*error),
                    };
                    entry.outcome = Some((*at, outcome));
                }
                Observation::RequestUnfinished { request, .. } if request.client == client => {
                    let entry = requests.entry(request, *at);
                    // One that has not been sent waits for its dial, and a dial needs no such time.
                    let young = entry.sent.last().is_some_and(|(sent, _)| {
                        at.since(*sent) < slowest_answer(planned, timeline)
                    });
                    let outcome = match &entry.stream {
                        None if young => Outcome::CutShort,
                        None => Outcome::Unfinished,
                        stream if served.is_well(planned, request, stream.as_ref(), *at) => {
                            Outcome::GoesOn
                        }
                        Some(_) => Outcome::Unfinished,
                    };
                    entry.outcome = Some((*at, outcome));
                }
                _ => {}
            }
        }
        requests
    }

    /// Those of a client that does not number them.
    pub(super) fn numbered(by_number: BTreeMap<u32, Request>) -> Self {
        Self {
            by_number,
            elsewhere: BTreeSet::new(),
        }
    }

    /// Those of one workload alone.
    pub(super) fn of_workload(&self, name: &str) -> Self {
        let own = |request: &Request| request.workload.as_deref() == Some(name);
        let (mut by_number, mut elsewhere) = (BTreeMap::new(), BTreeSet::new());
        for (number, request) in &self.by_number {
            match own(request) {
                true => by_number.insert(*number, request.clone()).is_some(),
                false => elsewhere.insert(*number),
            };
        }
        Self {
            by_number,
            elsewhere,
        }
    }

    fn entry(&mut self, request: &RequestId, at: Moment) -> &mut Request {
        let entry = self.by_number.entry(request.number);
        entry.or_insert_with(|| Request::new(at, request.workload.clone()))
    }

    /// Requests without a response that came to their end after `moment`.
    pub(super) fn failed_after(&self, moment: Moment) -> usize {
        let failed = self
            .by_number
            .values()
            .filter(|request| match request.outcome {
                Some((at, outcome)) => !outcome.is_well() && at > moment,
                // Its end was not recorded, so it had none before the record's.
                None => true,
            });
        failed.count()
    }

    /// Responses that went on and were well when the client's own timeout ended them after `moment`.
    pub(super) fn healthy_cuts_after(&self, moment: Moment) -> usize {
        let outcomes = self
            .by_number
            .values()
            .filter_map(|request| request.outcome);
        let cuts = outcomes.filter(|(at, o)| *o == Outcome::HealthyCut && *at > moment);
        cuts.count()
    }

    /// Whether a response was under way at `moment` that was never anything but well.
    pub(super) fn goes_on_since(&self, moment: Moment) -> bool {
        self.by_number.values().any(|request| {
            let began = request.stream.as_ref().is_some_and(|s| s.began < moment);
            began && matches!(request.outcome, Some((_, Outcome::GoesOn)))
        })
    }

    /// Whether a request was under way on a connection at `moment`.
    pub(super) fn occupies(&self, connection: u32, moment: Moment) -> bool {
        self.by_number.values().any(|request| {
            let sent = request.sent.iter().rev().find(|(at, _)| *at <= moment);
            let over = request.outcome.is_some_and(|(at, _)| at <= moment);
            sent.is_some_and(|(_, id)| *id == connection) && !over
        })
    }

    /// Whether a request was waiting for a connection at `moment`.
    pub(super) fn dialling_at(&self, moment: Moment) -> bool {
        self.by_number.values().any(|request| {
            let sent = request.sent.iter().any(|(at, _)| *at < moment);
            let over = request.outcome.is_some_and(|(at, _)| at < moment);
            request.first < moment && !sent && !over
        })
    }

    /// Requests whose response only the client knows of.
    pub(super) fn claimed(&self) -> impl Iterator<Item = u32> {
        let claimed = self
            .by_number
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
        for (number, request) in self.by_number.iter().rev() {
            if next.0.is_some_and(|n: u32| self.misses(number + 1..n)) {
                unwell = unwell.max(Some(next.1));
            }
            unwell = unwell.max(match request.outcome {
                Some((_, outcome)) if outcome.is_well() => None,
                Some((at, _)) => Some(at),
                None => Some(next.1),
            });
            next = (Some(*number), request.first);
        }
        unwell
    }

    /// Whether the record lacks one of these numbers.
    fn misses(&self, mut numbers: std::ops::Range<u32>) -> bool {
        numbers.any(|number| !self.elsewhere.contains(&number))
    }

    /// The responses that a server with power gave, and the parts of those that go on, in order of time.
    pub(super) fn good_responses(&self) -> Vec<Moment> {
        let whole = self.by_number.values().filter_map(|r| match r.outcome {
            Some((at, Outcome::Answered { alive: true })) => Some(at),
            _ => None,
        });
        let streams = self.by_number.values().filter_map(|r| r.stream.as_ref());
        let parts = streams.flat_map(|stream| stream.good.iter().copied());
        let mut good: Vec<_> = whole.chain(parts).collect();
        good.sort_unstable();
        good
    }

    /// The longest time from one of them to the next, of those that ended between `from` and `until`; to `until` itself if
    /// none came after it. Before any there is no such time.
    pub(super) fn longest_gap(&self, from: Moment, until: Duration) -> Option<Duration> {
        let good: Vec<Duration> = self.good_responses().iter().map(|good| good.at).collect();
        longest_gap(&good, from.at, until)
    }

    /// Whether one of them came on a connection after `moment`.
    pub(super) fn heard_on(&self, connection: u32, moment: Moment) -> bool {
        let mut own = self.by_number.values().filter(|request| {
            let sent = request.sent.last();
            sent.is_some_and(|(_, id)| *id == connection)
        });
        own.any(|request| {
            let whole = match request.outcome {
                Some((at, Outcome::Answered { alive: true })) => Some(at),
                _ => None,
            };
            let parts = request.stream.iter().flat_map(|stream| &stream.good);
            let mut all = whole.into_iter().chain(parts.copied());
            all.any(|at| at > moment)
        })
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
        let failures = self
            .by_number
            .values()
            .filter_map(|request| match request.outcome {
                Some((at, Outcome::Failed(_))) if at > moment => Some((at, request)),
                _ => None,
            });
        let (failed, request) = failures.min_by_key(|(at, _)| *at)?;
        Some((request.sent.first().map(|(at, _)| at.at), failed.at))
    }

    /// The connection of the last request that was waiting at `moment`.
    pub(super) fn waiting_on(&self, moment: Moment) -> Option<u32> {
        let waiting = self
            .by_number
            .values()
            .filter(|request| request.outcome.is_none_or(|(at, _)| at > moment));
        let sent =
            waiting.flat_map(|request| request.sent.iter().rev().find(|(at, _)| *at <= moment));
        sent.max_by_key(|(at, _)| *at)
            .map(|(_, connection)| *connection)
    }

    /// Whether a request was sent after `moment`, or was waiting then.
    pub(super) fn active_after(&self, moment: Moment) -> bool {
        self.by_number.values().any(|request| {
            let sent = request.sent.iter().any(|(at, _)| *at > moment);
            let waiting =
                request.first < moment && request.outcome.is_none_or(|(at, _)| at > moment);
            sent || waiting
        })
    }

    /// Every handing of a request to a connection, in order of time.
    pub(super) fn sendings(&self) -> Vec<(Moment, u32)> {
        let mut sendings: Vec<_> = self
            .by_number
            .values()
            .flat_map(|request| request.sent.iter().copied())
            .collect();
        sendings.sort_unstable();
        sendings
    }
}

impl Request {
    /// One that is spoken of for the first time.
    pub(super) fn new(first: Moment, workload: Option<String>) -> Self {
        Self {
            first,
            sent: Vec::new(),
            outcome: None,
            workload,
            stream: None,
        }
    }
}

impl Request {
    /// When something of it came from a server that could answer: parts of its response, and the whole of it.
    pub(super) fn good(&self) -> impl Iterator<Item = Moment> {
        let parts = self.stream.iter().flat_map(|stream| &stream.good).copied();
        let whole = match self.outcome {
            Some((at, Outcome::Answered { alive: true })) => Some(at),
            _ => None,
        };
        parts.chain(whole)
    }

    /// The first that came of it from a server that could answer, and what that was.
    pub(super) fn first_good(&self) -> Option<(Moment, &'static str)> {
        let part = self.stream.as_ref().and_then(|s| s.good.first());
        let part = part.map(|at| (*at, "the beginning of response"));
        part.or(match self.outcome {
            Some((at, Outcome::Answered { alive: true })) => Some((at, "response")),
            _ => None,
        })
    }
}

/// What a request is of.
pub(super) fn kind<'c>(client: &'c Client, request: &RequestId) -> Option<&'c Workload> {
    let named = |work: &&Work| match &request.workload {
        Some(name) => work.name == *name,
        None => true,
    };
    client.workloads.iter().find(named).map(|work| &work.kind)
}

fn is_download(kind: &Workload) -> bool {
    matches!(kind, Workload::Download { .. } | Workload::Messages { .. })
}

/// The longest that a living server lets a client wait.
fn slowest_answer(client: &Client, timeline: &Timeline) -> Duration {
    let servers = timeline.case.lab.servers.iter();
    let asked = servers.filter(|server| client.target.servers.contains(&server.name));
    let delay = asked.map(|server| server.response_delay).max();
    delay.unwrap_or_default() + ANSWER
}

/// The longest time between two of `times`, which rise, that ends between `from` and `until`; the last one goes to `until`.
fn longest_gap(times: &[Duration], from: Duration, until: Duration) -> Option<Duration> {
    let ends = times.iter().skip(1).copied().chain([until]);
    let gaps = times.iter().zip(ends).filter(|(_, end)| *end > from);
    gaps.map(|(begin, end)| end.saturating_sub(*begin)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_ends_after_the_fault() {
        let gap = |from: u64| {
            let times = [0, 50, 60, 90].map(Duration::from_secs);
            longest_gap(&times, Duration::from_secs(from), Duration::from_secs(100))
        };
        assert_eq!(gap(40), Some(Duration::from_secs(50)), "it began before");
        assert_eq!(gap(50), Some(Duration::from_secs(30)));
        assert_eq!(gap(90), Some(Duration::from_secs(10)), "to the end");
        assert_eq!(longest_gap(&[], Duration::ZERO, Duration::MAX), None);
    }
}
