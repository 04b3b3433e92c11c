//! Published figures beside measured ones: each between the same two events.

use std::time::Duration;

use crate::plan::{Case, Figure, Since, Until};
use crate::result::{ClientResult, FigureResult, PublishedResult};

/// What was published of a client, beside what was measured.
pub(super) fn of(case: &Case, client: &ClientResult) -> Option<PublishedResult> {
    let published = case.published.iter().find(|p| p.client == client.name)?;
    let figures = published.figures.iter();
    Some(PublishedResult {
        figures: figures.map(|figure| beside(figure, client)).collect(),
        retransmissions: published.retransmissions.clone(),
        gave_up: published.gave_up,
    })
}

fn beside(figure: &Figure, client: &ClientResult) -> FigureResult {
    let from = match figure.from {
        Since::Fault => client.fault_at,
        Since::LastGood => client.last_good_at,
        Since::RequestSent => client.first_failure.and_then(|failure| failure.sent_at),
        Since::UnansweredSent => unanswered(client).map(|(sent, _)| sent),
    };
    let after = |time: Option<Duration>| Some(client.fault_at? + time?);
    let until = match figure.until {
        Until::Detected => after(client.detected_after),
        Until::Recovered => after(client.recovered_after),
        Until::RequestFailed => client.first_failure.map(|failure| failure.failed_at),
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
fn unanswered(client: &ClientResult) -> Option<(Duration, Duration)> {
    client.connections.iter().find_map(|connection| {
        let closed = connection.closed_at?;
        let took = connection.retransmissions.as_ref()?.gave_up_after?;
        Some((closed.checked_sub(took)?, closed))
    })
}

/// When the first dial after that ended in vain.
fn dial_failed(client: &ClientResult) -> Option<Duration> {
    /// A program may dial before the kernel has said that its socket is no more.
    const BEFORE: Duration = Duration::from_millis(50);
    let (_, given_up) = unanswered(client)?;
    let after = Some(given_up.saturating_sub(BEFORE));
    let dials = client.connections.iter();
    let later = dials.filter(|c| c.opened_at.is_none() && c.dialled_at >= after);
    later.filter_map(|c| c.closed_at).min()
}
