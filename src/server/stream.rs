//! Responses that go on, which every HTTP app gives when the query asks for one:
//!
//! - `?watch=10s`: an event every ten seconds, for ever; `?watch=silent`: none at all;
//! - `?download=65536&for=60s`: so many bytes a second, for a minute;
//! - `?answers`: an answer to each piece of the request's body, for as long as that goes on.
//!
//! Each part ends with a newline, so that whoever reads can count them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::contract::stream::{PART_END, StreamQuery};
use crate::plan::DOWNLOAD_PART;

/// The parts of a response that goes on.
pub(super) enum ResponseParts {
    /// Nothing, for ever.
    Silence,
    /// An event at each tick.
    Events { ticks: Interval, sent: u64 },
    /// A piece of a download at each tick, as long as there are any left.
    Download {
        ticks: Interval,
        part: Bytes,
        left: u64,
    },
    /// What the request's body brings.
    Answers(Box<Incoming>),
}

impl ResponseParts {
    /// The parts of what is wanted. `request` is the request's body.
    pub(super) fn of(wanted: StreamQuery, request: Incoming) -> Self {
        match wanted {
            StreamQuery::Events { push: None } => Self::Silence,
            StreamQuery::Events { push: Some(push) } => Self::Events {
                ticks: ticks(push),
                sent: 0,
            },
            StreamQuery::Download { rate, duration } => {
                let length = usize::try_from(rate).unwrap_or(1).max(1);
                let mut part = vec![b'.'; length];
                part[length - 1] = PART_END;
                Self::Download {
                    ticks: ticks(DOWNLOAD_PART),
                    part: part.into(),
                    left: duration.as_secs().max(1),
                }
            }
            StreamQuery::Answers => Self::Answers(Box::new(request)),
        }
    }

    /// The next part; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Silence => Poll::Pending,
            Self::Events { ticks, sent } => {
                ready!(ticks.poll_tick(cx));
                *sent += 1;
                Poll::Ready(Some(Bytes::from(format!("{{\"event\":{sent}}}\n"))))
            }
            Self::Download { left: 0, .. } => Poll::Ready(None),
            Self::Download { ticks, part, left } => {
                ready!(ticks.poll_tick(cx));
                *left -= 1;
                Poll::Ready(Some(part.clone()))
            }
            Self::Answers(request) => loop {
                match ready!(Pin::new(&mut **request).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data() {
                            return Poll::Ready(Some(piece));
                        }
                    }
                    // The client is gone or has said all.
                    Some(Err(_)) | None => return Poll::Ready(None),
                }
            },
        }
    }
}

/// The first tick comes after one pause.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    // A server that was held up goes on in its rhythm; it does not catch up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
