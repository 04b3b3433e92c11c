//! The share of time in which a request of a client would have been answered.
//!
//! It is read from the answers alone: the time from one good answer to the next counts as served, unless something that was asked
//! meanwhile was lost, or it is longer than this client's pauses are while all is well. What is lost so counts from the fault
//! that came meanwhile, else from when that was asked or given up, else from when the next answer was due.

use std::time::Duration;

use crate::plan::{Case, Client};

use super::requests::Requests;
use super::timeline::{Moment, Timeline};

/// What an answer may take on top of the usual: the first dial or segment that is lost costs as much (RFC 6298).
const LATE: Duration = Duration::from_secs(1);

/// The share, from the client's first good answer until the case's end; `None` if it had none.
pub(super) fn of(client: &Client, requests: &Requests, timeline: &Timeline) -> Option<f64> {
    let good = &requests.good;
    let first = *good.first()?;
    let end = timeline.case.lab.duration;
    let whole = end.checked_sub(first.at).filter(|whole| !whole.is_zero())?;
    let usual = usual_pause(client, timeline.case, good, timeline.first_effect()) + LATE;
    let mut lost: Vec<Moment> = requests.lost().collect();
    lost.sort_unstable();
    let last = Moment::new(end, usize::MAX - 1);
    let nexts = good.iter().skip(1).copied().chain([last]);
    let gone = good.iter().zip(nexts).map(|(from, next)| {
        let from = *from;
        let next = next.min(last);
        let lost = lost[lost.partition_point(|at| *at <= from)..].first();
        let lost = lost.copied().filter(|at| *at < next);
        if lost.is_none() && next.since(from) <= usual {
            return Duration::ZERO;
        }
        let faults = timeline.faults.iter().map(|fault| fault.at);
        let fault = faults.filter(|at| *at > from && *at < next).min();
        let since = fault.or(lost).map_or(from.at + usual - LATE, |at| at.at);
        next.at.saturating_sub(since)
    });
    let gone: Duration = gone.sum();
    Some(1.0 - gone.min(whole).as_secs_f64() / whole.as_secs_f64())
}

/// The longest time from one answer to the next while all is well: by the plan, and by what was seen before anything broke.
fn usual_pause(client: &Client, case: &Case, good: &[Moment], broken: Moment) -> Duration {
    let planned = client.workloads.longest_pause() + case.lab.slowest(client);
    let before = &good[..good.partition_point(|at| *at < broken)];
    let seen = before.windows(2).map(|pair| pair[1].since(pair[0]));
    seen.max().unwrap_or_default().max(planned)
}
