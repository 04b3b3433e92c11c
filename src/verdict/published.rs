//! Published figures beside measured ones: each between the same two events.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::measure::{ClientMeasured, Detection};
use super::seconds;
use crate::plan::{Case, Figure, Since, Until};

/// What was published of a client, beside what was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedResult {
    /// Times between two events.
    pub figures: Vec<FigureResult>,
    /// When a segment was sent again, counted from its first sending, as published; empty if it was not.
    #[serde(rename = "retransmissions_s", with = "seconds::list")]
    pub retransmissions: Vec<Duration>,
    /// When that segment's connection was given up, counted from its first sending, as published.
    #[serde(rename = "gave_up_after_s", with = "seconds::option")]
    pub gave_up: Option<Duration>,
}

/// A published time and the one measured between the same two events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureResult {
    /// The event both begin with.
    pub from: Since,
    /// The event both end with.
    pub until: Until,
    /// As published.
    #[serde(rename = "published_s", with = "seconds")]
    pub published: Duration,
    /// As measured; `None` if one of the two events did not happen.
    #[serde(rename = "measured_s", with = "seconds::option")]
    pub measured: Option<Duration>,
    /// Where the published time comes from and what to know of it.
    pub note: Option<String>,
}

/// What was published of a client, beside what was measured.
pub(super) fn of(case: &Case, client: &ClientMeasured) -> Option<PublishedResult> {
    let published = case.published.iter().find(|p| p.client == client.name)?;
    let figures = published.figures.iter();
    Some(PublishedResult {
        figures: figures.map(|figure| beside(figure, client)).collect(),
        retransmissions: published.retransmissions.clone(),
        gave_up: published.gave_up,
    })
}

fn beside(figure: &Figure, client: &ClientMeasured) -> FigureResult {
    let from = match figure.from {
        Since::Fault => client.fault_at,
        Since::LastGood => client.last_good_at,
        Since::RequestSent => client.first_failure.and_then(|(sent, _)| sent),
        Since::UnansweredSent => unanswered(client).map(|(sent, _)| sent),
    };
    let after = |time: Option<Duration>| Some(client.fault_at? + time?);
    let until = match figure.until {
        Until::Detected => after(match client.detection {
            Detection::After(time) => Some(time),
            _ => None,
        }),
        Until::Recovered => after(client.recovered_after),
        Until::RequestFailed => client.first_failure.map(|(_, failed)| failed),
        Until::DialFailed => dial_failed(client),
    };
    let measured = from
        .zip(until)
        .and_then(|(from, until)| until.checked_sub(from));
    FigureResult {
        from: figure.from,
        until: figure.until,
        published: figure.time,
        measured,
        note: figure.note.clone(),
    }
}

/// When the segment that was sent again until its connection was given up went out first, and when that was.
fn unanswered(client: &ClientMeasured) -> Option<(Duration, Duration)> {
    client.connections.iter().find_map(|connection| {
        let closed = connection.closed_at?;
        let took = connection.retransmissions.as_ref()?.gave_up_after?;
        Some((closed.checked_sub(took)?, closed))
    })
}

/// When the first dial after that ended in vain.
fn dial_failed(client: &ClientMeasured) -> Option<Duration> {
    /// A program may dial before the kernel has said that its socket is no more.
    const BEFORE: Duration = Duration::from_millis(50);
    let (_, given_up) = unanswered(client)?;
    let after = Some(given_up.saturating_sub(BEFORE));
    let dials = client.connections.iter();
    let later = dials.filter(|c| c.opened_at.is_none() && c.dialled_at >= after);
    later.filter_map(|c| c.closed_at).min()
}
