//! A connection's unanswered segment: when it was sent again, and what the kernel's timers make of that.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Cause;
use crate::record::{Observation, Segment};
use crate::timeout_model::{Series, TcpSysctls};

use super::connections::{Connection, same};
use super::seconds;
use super::timeline::Timeline;

/// A packet's own stamp may lie this far before the event that the client writes of it.
const STAMP_SLACK: Duration = Duration::from_millis(20);

/// The sendings of a connection's unanswered segment. Times count from its first sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmissions {
    /// When it was sent again, by the packets' own stamps.
    #[serde(rename = "measured_s", with = "seconds::list")]
    pub measured: Vec<Duration>,
    /// The first of them is a tail loss probe: the kernel does not count it.
    pub tail_loss_probe: bool,
    /// When the timer wheel fires, sending by sending, given the first retransmission; `None` for that one, for the
    /// probe before it, and where there is nothing to compute from (a kernel whose HZ is not known, a single
    /// retransmission).
    #[serde(rename = "arithmetic_s", with = "seconds::options")]
    pub arithmetic: Vec<Option<Duration>>,
    /// When the kernel gave the connection up, if it was retransmissions that ran out, or a TCP_USER_TIMEOUT.
    #[serde(rename = "gave_up_after_s", with = "seconds::option")]
    pub gave_up_after: Option<Duration>,
    /// The same by the timer wheel's arithmetic, where the series tells.
    #[serde(rename = "arithmetic_gave_up_after_s", with = "seconds::option")]
    pub arithmetic_gave_up_after: Option<Duration>,
}

/// What is known of a connection's kernel.
pub(super) struct Kernel {
    /// Timer frequency.
    pub hz: Option<u32>,
    /// Sysctls in the client's namespace.
    pub sysctls: TcpSysctls,
    /// TCP_USER_TIMEOUT of its socket: it cuts the timers short.
    pub user_timeout: Option<Duration>,
}

/// The segment of `connection` that was sent most often; `None` if none was sent twice.
pub(super) fn of(
    connection: &Connection,
    timeline: &Timeline,
    cause: Cause,
    kernel: &Kernel,
) -> Option<Retransmissions> {
    let stamps = sendings(connection, timeline)?;
    let (first_sent, again) = stamps.split_first()?;
    let measured: Vec<_> = again
        .iter()
        .map(|at| at.saturating_sub(*first_sent))
        .collect();
    let probe = is_tail_loss_probe(&measured);
    let ended = connection
        .ended()
        .map(|at| at.at.saturating_sub(*first_sent));
    let series = Counted::of(&measured[usize::from(probe)..], kernel);
    let skipped = usize::from(probe) + 1;
    let computed = series.iter().flat_map(Counted::fires);
    let arithmetic = std::iter::repeat_n(None, skipped).chain(computed.map(Some));
    let mut arithmetic: Vec<_> = arithmetic.take(measured.len()).collect();
    arithmetic.resize(measured.len(), None);
    Some(Retransmissions {
        gave_up_after: ended
            .filter(|_| matches!(cause, Cause::RetransmissionTimeout | Cause::UserTimeout)),
        arithmetic_gave_up_after: series.and_then(|series| series.gives_up(kernel)),
        tail_loss_probe: probe,
        arithmetic,
        measured,
    })
}

/// All sendings of the segment with payload that was sent most often, at least twice.
fn sendings(connection: &Connection, timeline: &Timeline) -> Option<Vec<Duration>> {
    let local = connection.local?;
    let began = connection.began()?.at.saturating_sub(STAMP_SLACK);
    let ended = connection.end.map_or(Duration::MAX, |(at, _)| at.at);
    let mut segments: BTreeMap<u32, Vec<Duration>> = BTreeMap::new();
    for (_, what) in &timeline.events {
        let Observation::Segment(Segment {
            from,
            seq,
            len,
            stamp_ns,
            ..
        }) = what
        else {
            continue;
        };
        let stamp = Duration::from_nanos(*stamp_ns);
        if same(*from, local) && *len > 0 && (began..=ended).contains(&stamp) {
            segments.entry(*seq).or_default().push(stamp);
        }
    }
    let mut stamps = segments
        .into_values()
        .max_by_key(Vec::len)
        .filter(|s| s.len() > 1)?;
    stamps.sort_unstable();
    Some(stamps)
}

/// A probe and the retransmission after it both come one RTO after what was before; from then on gaps double.
fn is_tail_loss_probe(measured: &[Duration]) -> bool {
    match measured {
        [first, second, ..] => *second < *first * 5 / 2,
        _ => false,
    }
}

/// The retransmissions that the kernel counts, and their series.
struct Counted {
    first: Duration,
    count: usize,
    series: Series,
}

impl Counted {
    fn of(counted: &[Duration], kernel: &Kernel) -> Option<Self> {
        let (first, rest) = counted.split_first()?;
        let hz = u64::from(kernel.hz?);
        let fires: Vec<_> = rest.iter().map(|at| at.saturating_sub(*first)).collect();
        let rto_max = (kernel.sysctls.rto_max_ms * hz).div_ceil(1000);
        let series = Series::fitted(&fires, hz, rto_max)?;
        Some(Self {
            first: *first,
            count: fires.len(),
            series,
        })
    }

    fn fires(&self) -> impl Iterator<Item = Duration> + use<> {
        let first = self.first;
        self.series
            .fires()
            .take(self.count)
            .map(move |at| first + at)
    }

    fn gives_up(&self, kernel: &Kernel) -> Option<Duration> {
        if let Some(limit) = kernel.user_timeout {
            return Some(self.first + self.series.gives_up_by_user_timeout(limit));
        }
        let bound = kernel.sysctls.retransmission_bound();
        let after = self.series.gives_up_after(self.count, bound)?;
        // The timer that gives up is the one after the last retransmission; else the connection ended before.
        let next = self.series.fires().nth(self.count)?;
        (after == next).then_some(self.first + after)
    }
}
