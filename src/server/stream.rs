//! Responses that go on, which every app gives when the query asks for one:
//!
//! - `?watch=10s`: an event every ten seconds, for ever; `?watch=silent`: none at all;
//! - `?download=65536&for=60s`: so many bytes a second, for a minute;
//! - `?answers`: an answer to each piece of the request's body, for as long as that goes on.
//!
//! Each part ends with a newline, so that whoever reads can count them.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::plan::DOWNLOAD_PART;

/// Ends each part.
pub(crate) const PART_END: u8 = b'\n';
/// The largest part, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A response that goes on, as a query asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// An event every so often; `None` = never.
    Events {
        /// How often.
        push: Option<Duration>,
    },
    /// So many bytes a second for a while.
    Download {
        /// Bytes a second.
        rate: u64,
        /// How long.
        duration: Duration,
    },
    /// An answer to each piece of the request's body.
    Answers,
}

impl Wanted {
    /// What a query asks for; `None` if it is an ordinary request.
    pub(super) fn of(query: Option<&str>) -> Option<Result<Self, String>> {
        let query = query?;
        let value = |wanted: &str| {
            let pairs = query.split('&');
            let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(name, _)| *name == wanted).map(|(_, v)| v)
        };
        if value("answers").is_some() {
            return Some(Ok(Self::Answers));
        }
        if let Some(push) = value("watch") {
            return Some(match push {
                "silent" => Ok(Self::Events { push: None }),
                push => time("watch", push).map(|push| Self::Events { push: Some(push) }),
            });
        }
        let rate = value("download")?;
        Some(download(rate, value("for").unwrap_or_default()))
    }
}

fn download(rate: &str, duration: &str) -> Result<Wanted, String> {
    let rate = rate
        .parse()
        .ok()
        .filter(|rate| (1..=LARGEST).contains(rate));
    Ok(Wanted::Download {
        rate: rate.ok_or("`download` is a number of bytes a second, from 1 to 67108864")?,
        duration: time("for", duration)?,
    })
}

fn time(name: &str, text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok();
    parsed
        .filter(|time| *time >= Duration::from_millis(1))
        .ok_or_else(|| format!("`{name}` is a time of 1ms or more, not `{text}`"))
}

/// As a query.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| format!("{}ms", time.as_millis());
        match self {
            Self::Events { push: None } => f.write_str("watch=silent"),
            Self::Events { push: Some(push) } => write!(f, "watch={}", time(push)),
            Self::Download { rate, duration } => {
                write!(f, "download={rate}&for={}", time(duration))
            }
            Self::Answers => f.write_str("answers"),
        }
    }
}

/// The parts of a response that goes on.
pub(super) enum Parts {
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

impl Parts {
    /// The parts of what is wanted. `request` is the request's body.
    pub(super) fn of(wanted: Wanted, request: Incoming) -> Self {
        match wanted {
            Wanted::Events { push: None } => Self::Silence,
            Wanted::Events { push: Some(push) } => Self::Events {
                ticks: ticks(push),
                sent: 0,
            },
            Wanted::Download { rate, duration } => {
                let length = usize::try_from(rate).unwrap_or(1).max(1);
                let mut part = vec![b'.'; length];
                part[length - 1] = PART_END;
                Self::Download {
                    ticks: ticks(DOWNLOAD_PART),
                    part: part.into(),
                    left: duration.as_secs().max(1),
                }
            }
            Wanted::Answers => Self::Answers(Box::new(request)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_client_writes_a_server_reads() {
        for wanted in [
            Wanted::Events { push: None },
            Wanted::Events { push: Some(s(10)) },
            Wanted::Events {
                push: Some(Duration::from_millis(250)),
            },
            Wanted::Download {
                rate: 65536,
                duration: s(60),
            },
            Wanted::Answers,
        ] {
            let query = wanted.to_string();
            assert_eq!(Wanted::of(Some(&query)), Some(Ok(wanted)), "{query}");
            let among = format!("a=b&{query}");
            assert_eq!(Wanted::of(Some(&among)), Some(Ok(wanted)), "{among}");
        }
    }

    #[test]
    fn other_queries_are_ordinary_and_wrong_ones_are_refused() {
        assert_eq!(Wanted::of(None), None);
        assert_eq!(Wanted::of(Some("a=b&watched=1")), None);
        for wrong in [
            "watch",
            "watch=0s",
            "watch=soon",
            "download=0&for=1s",
            "download=9",
        ] {
            assert!(matches!(Wanted::of(Some(wrong)), Some(Err(_))), "{wrong}");
        }
    }
}
