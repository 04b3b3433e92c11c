//! A client's requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::plan::{Case, Client, Workload};
use crate::record::RequestError;

use super::connections::Connection;
use super::index::{Index, RequestEvent};
use super::request::{Outcome, Request, Stream, kind};
use super::served::Served;
use super::timeline::{Injected, Moment};
use crate::result::FailureResult;

/// Beyond its server's own delay, how long an answer takes at most where there is somebody to give it.
const ANSWER: Duration = Duration::from_millis(200);

/// The part of a case in which an outage is looked at: until another fault strikes, or the case's end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch<'t> {
    pub until: Moment,
    /// The connections that its own fault took: what is lost on them is its loss, however late that shows.
    pub taken: &'t [u32],
}

impl Stretch<'_> {
    /// To the case's end.
    pub(super) const WHOLE: Self = Self {
        until: Moment::END,
        taken: &[],
    };

    /// Whether a request that came to its end at `end` did so within it, or is lost on what its own fault took.
    fn concerns(&self, request: &Request, end: Moment) -> bool {
        let sent = request.sent.last();
        end <= self.until || sent.is_some_and(|(_, id)| self.taken.contains(id))
    }
}

/// A client's requests by number, or those of one of its workloads.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    pub by_number: BTreeMap<u32, Request<'a>>,
    /// Numbers of the requests of its other workloads.
    elsewhere: BTreeSet<u32>,
    /// Every handing of a request to a connection, in order of time.
    pub sendings: Vec<(Moment, u32)>,
    /// The responses that a server with power gave, and the parts of those that go on, in order of time.
    pub good: Vec<Moment>,
    /// When requests ended for which no connection was open yet, in order of time.
    dialling: Vec<Moment>,
    /// The requests that were handed to a connection.
    on: HashMap<u32, Vec<u32>>,
    /// They are a program's: when it gave up waiting for one nobody else has seen, only when the socket ended.
    of_program: bool,
}

impl<'a> Requests<'a> {
    /// Collects a client's requests.
    pub(super) fn of(client: &Client, index: &Index<'a>, connections: &[Connection]) -> Self {
        let Some(events) = index.client(&client.name) else {
            return Self::new(BTreeMap::new(), BTreeSet::new());
        };
        let served = Served {
            client,
            index,
            events,
        };
        let slowest = slowest_answer(client, index.case);
        let local = |id: &u32| {
            let place = connections.binary_search_by_key(id, |c| c.id).ok()?;
            connections[place].local
        };
        let mut by_number: BTreeMap<u32, Request> = BTreeMap::new();
        for (at, request, event) in &events.requests {
            let at = *at;
            let entry = by_number.entry(request.number);
            let entry = entry.or_insert_with(|| Request::new(at, request.workload.as_deref()));
            match event {
                RequestEvent::Sent(connection) => entry.sent.push((at, *connection)),
                RequestEvent::Began => {
                    let good = served.answered_by_living(request.number, at);
                    // A download is well when its bytes flow; its head alone says nothing of them.
                    let counts = good && kind(client, request).is_none_or(|k| !is_download(k));
                    entry.stream = Some(Stream {
                        began: at,
                        good: counts.then_some(at).into_iter().collect(),
                    });
                }
                RequestEvent::Part(received) => {
                    if let Some(stream) = &mut entry.stream
                        && served.sent_by_living(request.number, received, at)
                    {
                        stream.good.push(at);
                    }
                }
                RequestEvent::Response(connection, _) => {
                    let sent = entry.sent.last().map_or(entry.first, |(sent, _)| *sent);
                    let outcome = served.outcome(request.number, local(connection), sent, at);
                    entry.outcome = Some((at, outcome));
                }
                RequestEvent::Failed(connection, error) => {
                    entry.dialling_until = connection.is_none().then_some(at);
                    let healthy = *error == RequestError::Timeout
                        && served.is_well(request, entry.stream.as_ref(), at);
                    let outcome = match healthy {
                        true => Outcome::HealthyCut,
                        false => Outcome::Failed(*error),
                    };
                    entry.outcome = Some((at, outcome));
                }
                RequestEvent::Unfinished => {
                    entry.dialling_until = entry.sent.is_empty().then_some(Moment::END);
                    // One that has not been sent waits for its dial, and a dial needs no such time.
                    let sent = entry.sent.last();
                    let young = sent.is_some_and(|(sent, _)| at.since(*sent) < slowest);
                    let outcome = match &entry.stream {
                        None if young => Outcome::CutShort,
                        None => Outcome::Unfinished,
                        stream if served.is_well(request, stream.as_ref(), at) => Outcome::GoesOn,
                        Some(_) => Outcome::Unfinished,
                    };
                    entry.outcome = Some((at, outcome));
                }
            }
        }
        // What lies behind its server may be slower than that.
        let usual = usual_answer(by_number.values(), index.timeline.first_effect());
        for request in by_number.values_mut() {
            if let (Some((at, Outcome::Unfinished)), None) = (request.outcome, &request.stream)
                && let Some((sent, _)) = request.sent.last()
                && at.since(*sent) < usual
            {
                request.outcome = Some((at, Outcome::CutShort));
            }
        }
        Self::new(by_number, BTreeSet::new())
    }

    pub(super) fn new(by_number: BTreeMap<u32, Request<'a>>, elsewhere: BTreeSet<u32>) -> Self {
        let (mut sendings, mut good) = (Vec::new(), Vec::new());
        let dialling = by_number.values().filter_map(|it| it.dialling_until);
        let mut dialling: Vec<_> = dialling.collect();
        dialling.sort_unstable();
        let mut on: HashMap<u32, Vec<u32>> = HashMap::new();
        for (number, request) in &by_number {
            sendings.extend(&request.sent);
            good.extend(request.good());
            for (_, connection) in &request.sent {
                let on = on.entry(*connection).or_default();
                if on.last() != Some(number) {
                    on.push(*number);
                }
            }
        }
        sendings.sort_unstable();
        good.sort_unstable();
        Self {
            by_number,
            elsewhere,
            sendings,
            good,
            dialling,
            on,
            of_program: false,
        }
    }

    /// A program's.
    pub(super) fn of_program(by_number: BTreeMap<u32, Request<'a>>) -> Self {
        Self {
            of_program: true,
            ..Self::new(by_number, BTreeSet::new())
        }
    }

    /// Those of one workload alone.
    pub(super) fn of_workload(&self, name: &str) -> Self {
        let (mut by_number, mut elsewhere) = (BTreeMap::new(), BTreeSet::new());
        for (number, request) in &self.by_number {
            match request.workload == Some(name) {
                true => by_number.insert(*number, request.clone()).is_some(),
                false => elsewhere.insert(*number),
            };
        }
        Self {
            of_program: self.of_program,
            ..Self::new(by_number, elsewhere)
        }
    }

    /// The requests that were handed to a connection, with their numbers, which rise.
    pub(super) fn on(&self, connection: u32) -> impl Iterator<Item = (u32, &Request<'a>)> {
        let numbers = self.on.get(&connection).into_iter().flatten();
        numbers.filter_map(|number| Some((*number, self.by_number.get(number)?)))
    }

    /// Those of them that were handed to no other afterwards.
    pub(super) fn last_on(&self, connection: u32) -> impl Iterator<Item = (u32, &Request<'a>)> {
        let last = move |request: &Request| request.sent.last().map(|(_, id)| *id);
        let on = self.on(connection);
        on.filter(move |(_, request)| last(request) == Some(connection))
    }

    /// When requests were handed to a connection, in their order.
    pub(super) fn handed_to(&self, connection: u32) -> impl Iterator<Item = Moment> {
        let sent = self.on(connection).flat_map(|(_, request)| &request.sent);
        let sent = sent.filter(move |(_, id)| *id == connection);
        sent.map(|(at, _)| *at)
    }

    /// Requests without a response that came to their end after `moment`, and not after `until`.
    pub(super) fn failed_between(&self, moment: Moment, until: Moment) -> usize {
        let failed = self
            .by_number
            .values()
            .filter(|request| match request.outcome {
                Some((at, outcome)) => !outcome.is_well() && at > moment && at <= until,
                // Its end was not recorded, so it had none before the record's.
                None => until == Moment::END,
            });
        failed.count()
    }

    /// Responses that went on and were well when the client's own timeout ended them after `moment`, and not after `until`.
    pub(super) fn healthy_cuts_between(&self, moment: Moment, until: Moment) -> usize {
        let requests = self.by_number.values();
        let outcomes = requests.filter_map(|request| request.outcome);
        let cuts =
            outcomes.filter(|(at, o)| *o == Outcome::HealthyCut && *at > moment && *at <= until);
        cuts.count()
    }

    /// Whether a response was under way at `moment` that was never anything but well in a part of the case.
    pub(super) fn goes_on_since(&self, moment: Moment, within: Stretch<'_>) -> bool {
        self.by_number.values().any(|request| {
            let began = request.stream.as_ref().is_some_and(|s| s.began < moment);
            began
                && match request.outcome {
                    Some((_, Outcome::GoesOn)) => true,
                    Some((at, _)) => !within.concerns(request, at),
                    None => false,
                }
        })
    }

    /// Whether a request was under way on a connection at `moment`.
    pub(super) fn occupies(&self, connection: u32, moment: Moment) -> bool {
        self.on(connection).any(|(_, request)| {
            let sent = request.connection_at(moment);
            sent.is_some_and(|(_, id)| id == connection) && !request.over_by(moment)
        })
    }

    /// When requests were handed to their connections that were under way at `moment`.
    pub(super) fn open_at(&self, moment: Moment) -> impl Iterator<Item = Moment> {
        let open = self.by_number.values().filter(move |r| !r.over_by(moment));
        open.filter_map(move |request| request.connection_at(moment).map(|(at, _)| at))
    }

    /// When requests ended for which no connection was open yet, after `moment`; [`Moment::END`] where one outlived the case so.
    pub(super) fn dialling_until(&self, moment: Moment) -> impl Iterator<Item = Moment> {
        let after = self.dialling.partition_point(|until| *until <= moment);
        self.dialling[after..].iter().copied()
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
    /// does not say that it had one. Of a program's request it is when it was sent: the socket that it was sent on may be
    /// kept long after the program has turned to another. What ends after a part of the case that is looked at shows at its end,
    /// if it is that part's fault.
    pub(super) fn last_unwell(&self, within: Stretch<'_>) -> Option<Moment> {
        let until = within.until;
        let mut unwell = None;
        // From the last to the first: what the record does not say of a request lies before the next one.
        let mut next = (None, Moment::END);
        for (number, request) in self.by_number.iter().rev() {
            if request.first > until {
                next = (Some(*number), request.first);
                continue;
            }
            if next.0.is_some_and(|n: u32| self.misses(number + 1..n)) {
                unwell = unwell.max(Some(next.1.min(until)));
            }
            unwell = unwell.max(match request.outcome {
                Some((_, outcome)) if outcome.is_well() => None,
                Some((at, _)) if !within.concerns(request, at) => None,
                // Whoever waits for a dial knows when it is over; of a connection it may have given up long before its end.
                Some((at, Outcome::Failed(RequestError::Dial))) => Some(at.min(until)),
                Some(_) if self.of_program => Some(request.first),
                Some((at, _)) => Some(at.min(until)),
                None => Some(next.1.min(until)),
            });
            next = (Some(*number), request.first);
        }
        unwell
    }

    /// The first good response, or part of one, after a moment; of a program to a request that was sent after it, so that
    /// the order in which one instant was recorded does not decide.
    pub(super) fn first_good_after(&self, moment: Moment) -> Option<Moment> {
        if !self.of_program {
            return self.good.iter().find(|at| **at > moment).copied();
        }
        let asked = self.by_number.values().filter(|r| r.first > moment);
        asked.flat_map(Request::good).min()
    }

    /// Whether the record lacks one of these numbers.
    fn misses(&self, mut numbers: std::ops::Range<u32>) -> bool {
        numbers.any(|number| !self.elsewhere.contains(&number))
    }

    /// The longest time from one good response, or part of one, to the next, of those that ended between `from` and
    /// `until`; to `until` itself if none came after it. Before any there is no such time.
    pub(super) fn longest_gap(&self, from: Moment, until: Duration) -> Option<Duration> {
        let good: Vec<Duration> = self.good.iter().map(|good| good.at).collect();
        longest_gap(&good, from.at, until)
    }

    /// Whether a good response, or a part of one, came on a connection after `moment`.
    pub(super) fn heard_on(&self, connection: u32, moment: Moment) -> bool {
        let mut own = self.last_on(connection);
        own.any(|(_, request)| request.good().any(|at| at > moment))
    }

    /// Whether a connection that a fault took carried a good response, or a part of one, until `until`: to something asked after the
    /// fault, or after that was over.
    pub(super) fn answered_again(&self, connection: u32, fault: &Injected, until: Moment) -> bool {
        let over = fault.until.unwrap_or(Moment::END);
        self.last_on(connection).any(|(_, request)| {
            let asked = request.sent.last().is_some_and(|(at, _)| *at > fault.at);
            let from = if asked { fault.at } else { over };
            request.good().any(|at| at > from && at <= until)
        })
    }

    /// The good responses, and parts of them, until `moment`.
    pub(super) fn good_until(&self, moment: Moment) -> &[Moment] {
        &self.good[..self.good.partition_point(|at| *at <= moment)]
    }

    /// The last of them before `moment`.
    pub(super) fn last_good_before(&self, moment: Moment) -> Option<Moment> {
        let before = self.good.partition_point(|at| *at < moment);
        self.good[..before].last().copied()
    }

    /// The first request that failed after `moment`.
    pub(super) fn first_failure_after(&self, moment: Moment) -> Option<FailureResult> {
        let requests = self.by_number.values();
        let failures = requests.filter_map(|request| match request.outcome {
            Some((at, Outcome::Failed(_))) if at > moment => Some((at, request)),
            Some(_) | None => None,
        });
        let (failed, request) = failures.min_by_key(|(at, _)| *at)?;
        Some(FailureResult {
            sent_at: request.sent.first().map(|(at, _)| at.at),
            failed_at: failed.at,
        })
    }

    /// When each request was first asked that was lost, and, where its client says so, when that was given up.
    pub(super) fn lost(&self) -> impl Iterator<Item = Moment> {
        let lost = self.by_number.values().filter(|request| request.is_lost());
        lost.flat_map(|request| {
            let end = request.outcome.filter(|_| !self.of_program);
            [Some(request.first), end.map(|(at, _)| at)]
                .into_iter()
                .flatten()
        })
    }

    /// The connection of the last request that was waiting at `moment`.
    pub(super) fn waiting_on(&self, moment: Moment) -> Option<u32> {
        let waiting = self.by_number.values().filter(|r| !r.over_by(moment));
        let sent = waiting.filter_map(|request| request.connection_at(moment));
        sent.max_by_key(|(at, _)| *at)
            .map(|(_, connection)| connection)
    }

    /// Whether a request was sent after `moment`, or was waiting then.
    pub(super) fn active_after(&self, moment: Moment) -> bool {
        self.by_number.values().any(|request| {
            let sent = request.sent.iter().any(|(at, _)| *at > moment);
            let mut parts = request.stream.iter().flat_map(|stream| &stream.good);
            sent || parts.any(|at| *at > moment)
                || (request.first < moment && !request.over_by(moment))
        })
    }
}

fn is_download(kind: &Workload) -> bool {
    matches!(kind, Workload::Download { .. } | Workload::Messages { .. })
}

/// The longest that a living server lets a client wait.
fn slowest_answer(client: &Client, case: &Case) -> Duration {
    let servers = case.lab.servers.iter();
    let asked = servers.filter(|server| client.target.servers.contains(&server.name));
    let delay = asked.map(|server| server.response_delay).max();
    delay.unwrap_or_default() + ANSWER
}

/// What is no more of an answer's usual time: the first dial or segment that is lost costs as much (RFC 6298).
const HELD_UP: Duration = Duration::from_secs(1);

impl Requests<'_> {
    /// The longest that a request took to be answered, of those that were not over at a moment and were answered until another,
    /// where that is long.
    pub(super) fn held_up_between(
        &self,
        (moment, until): (Moment, Moment),
        client: &Client,
        case: &Case,
    ) -> Option<Duration> {
        let all = || self.by_number.values();
        let usual = slowest_answer(client, case).max(usual_answer(all(), moment)) + HELD_UP;
        let later = all()
            .filter_map(Request::took)
            .filter(|(at, _)| *at > moment && *at <= until);
        let longest = later.map(|(_, took)| took).max();
        longest.filter(|took| *took >= usual)
    }
}

/// Half as long again as the longest answer that came before a moment: a server behind a proxy, and one that is a program, have
/// delays that nobody knows beforehand.
pub(super) fn usual_answer<'r, 'a: 'r>(
    requests: impl Iterator<Item = &'r Request<'a>>,
    moment: Moment,
) -> Duration {
    let earlier = requests
        .filter_map(Request::took)
        .filter(|(at, _)| *at < moment);
    let longest = earlier.map(|(_, took)| took).max();
    longest.unwrap_or_default().mul_f64(1.5)
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
