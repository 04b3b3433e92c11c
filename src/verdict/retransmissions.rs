//! A connection's unanswered segment: when it was sent again, and what the kernel's timers make of that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::Cause;
use crate::timeout_model::{Series, TcpSysctls};

use super::client_record::ClientRecord;
use super::connections::Connection;
use super::evidence::options;
use super::index::Index;
use crate::result::Retransmissions;

/// The segment of `connection` that was sent most often; `None` if none was sent twice.
pub(super) fn of(record: &ClientRecord, connection: &Connection) -> Option<Retransmissions> {
    let cause = record.cause(connection);
    let kernel = Kernel {
        hz: record.index.hz,
        sysctls: record.sysctls,
        user_timeout: options(record.client, record.index, connection).1,
    };
    let stamps = sendings(connection, record.index)?;
    let (first_sent, again) = stamps.split_first()?;
    let measured: Vec<_> = again
        .iter()
        .map(|at| at.saturating_sub(*first_sent))
        .collect();
    let probe = is_tail_loss_probe(&measured);
    let ended = connection
        .ended()
        .map(|at| at.at.saturating_sub(*first_sent));
    let series = Counted::of(&measured[usize::from(probe)..], &kernel);
    let skipped = usize::from(probe) + 1;
    let computed = series.iter().flat_map(Counted::fires);
    let arithmetic = std::iter::repeat_n(None, skipped).chain(computed.map(Some));
    let mut arithmetic: Vec<_> = arithmetic.take(measured.len()).collect();
    arithmetic.resize(measured.len(), None);
    Some(Retransmissions {
        gave_up_after: ended
            .filter(|_| matches!(cause, Cause::RetransmissionTimeout | Cause::UserTimeout)),
        arithmetic_gave_up_after: series.and_then(|series| series.gives_up(&kernel)),
        tail_loss_probe: probe,
        arithmetic,
        measured,
    })
}

/// All sendings of the segment with payload that was sent most often, at least twice.
fn sendings(connection: &Connection, index: &Index) -> Option<Vec<Duration>> {
    let (local, began) = (connection.local?, connection.began()?);
    let ended = connection.end.map_or(Duration::MAX, |(at, _)| at.at);
    let mut segments: BTreeMap<u32, Vec<Duration>> = BTreeMap::new();
    for (_, segment) in index.sent_from(local, began.at, ended) {
        if segment.len > 0 {
            let stamp = Duration::from_nanos(segment.stamp_ns);
            segments.entry(segment.seq).or_default().push(stamp);
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

/// What is known of a connection's kernel.
struct Kernel {
    /// Timer frequency.
    hz: Option<u32>,
    /// Sysctls in the client's namespace.
    sysctls: TcpSysctls,
    /// TCP_USER_TIMEOUT of its socket: it cuts the timers short.
    user_timeout: Option<Duration>,
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
