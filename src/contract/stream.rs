//! Responses that go on, as a query asks for them:
//!
//! - `?watch=10s`: an event every ten seconds, for ever; `?watch=silent`: none at all;
//! - `?download=65536&for=60s`: so many bytes a second, for a minute;
//! - `?answers`: an answer to each piece of the request's body, for as long as that goes on.
//!
//! Each part ends with a newline, so that whoever reads can count them.

use std::fmt;
use std::time::Duration;

/// Ends each part.
pub(crate) const PART_END: u8 = b'\n';
/// The largest part, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A response that goes on, as a query asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamQuery {
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

impl StreamQuery {
    /// What a query asks for; `None` if it is an ordinary request.
    pub(crate) fn of(query: Option<&str>) -> Option<Result<Self, String>> {
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

fn download(rate: &str, duration: &str) -> Result<StreamQuery, String> {
    let rate = rate
        .parse()
        .ok()
        .filter(|rate| (1..=LARGEST).contains(rate));
    Ok(StreamQuery::Download {
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
impl fmt::Display for StreamQuery {
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_client_writes_a_server_reads() {
        for wanted in [
            StreamQuery::Events { push: None },
            StreamQuery::Events { push: Some(s(10)) },
            StreamQuery::Events {
                push: Some(Duration::from_millis(250)),
            },
            StreamQuery::Download {
                rate: 65536,
                duration: s(60),
            },
            StreamQuery::Answers,
        ] {
            let query = wanted.to_string();
            assert_eq!(StreamQuery::of(Some(&query)), Some(Ok(wanted)), "{query}");
            let among = format!("a=b&{query}");
            assert_eq!(StreamQuery::of(Some(&among)), Some(Ok(wanted)), "{among}");
        }
    }

    #[test]
    fn other_queries_are_ordinary_and_wrong_ones_are_refused() {
        assert_eq!(StreamQuery::of(None), None);
        assert_eq!(StreamQuery::of(Some("a=b&watched=1")), None);
        for wrong in [
            "watch",
            "watch=0s",
            "watch=soon",
            "download=0&for=1s",
            "download=9",
        ] {
            assert!(
                matches!(StreamQuery::of(Some(wrong)), Some(Err(_))),
                "{wrong}"
            );
        }
    }
}
