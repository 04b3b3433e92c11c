//! How a client speaks to its servers: every timeout and socket option as a plain value.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Sysctl, sysctl_number};

/// An HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

impl Protocol {
    /// Its name: `HTTP/1.1`, `HTTP/2`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::H1 => "HTTP/1.1",
            Self::H2 => "HTTP/2",
        }
    }
}

/// A client's transport. `None` = off, or no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// HTTP version.
    pub protocol: Protocol,
    /// Time for connect(), SYN to SYN-ACK.
    pub dial_timeout: Option<Duration>,
    /// Time for the TLS handshake.
    pub tls_timeout: Option<Duration>,
    /// Time for a request as a whole, dial included. h1: closes the connection. h2: resets the stream only.
    pub request_timeout: Option<Duration>,
    /// Time without a byte while waiting for a response. Closes the connection (h1) or resets the stream (h2).
    pub read_timeout: Option<Duration>,
    /// Time a connection may lie idle in the pool before the client closes it.
    pub idle_timeout: Option<Duration>,
    /// When an idle connection is held against that time.
    #[serde(default, skip_serializing_if = "IdleCheck::is_timer")]
    pub idle_check: IdleCheck,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Its times are the kernel's, which are those of the client's place: the socket has SO_KEEPALIVE alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keepalive_by_sysctls: bool,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Option<Duration>,
    /// HTTP/2 PING health check.
    pub ping: Option<Ping>,
    /// What a request that runs out of time ends on h2.
    #[serde(default, skip_serializing_if = "TimeoutEnds::is_stream")]
    pub timeout_ends: TimeoutEnds,
    /// After a request's timeout on h2 send a PING; if its answer takes longer than this, the next request closes the
    /// connection.
    pub ping_after_timeout: Option<Duration>,
    /// What the transport sends again by itself.
    pub retry: Retry,
}

impl Transport {
    /// How long a connection may lie idle until a timer closes it; `None` where the next request looks, or nobody.
    #[must_use]
    pub fn idle_timer(&self) -> Option<Duration> {
        match self.idle_check {
            IdleCheck::Timer => self.idle_timeout,
            IdleCheck::NextRequest => None,
        }
    }
}

/// When a client looks whether a connection has lain idle for too long.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum IdleCheck {
    /// A timer closes it.
    #[default]
    Timer,
    /// The next request, which looks for a connection, closes it. Until then its socket stays open.
    NextRequest,
}

impl IdleCheck {
    fn is_timer(&self) -> bool {
        *self == Self::Timer
    }
}

/// What a request that runs out of time ends on HTTP/2.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutEnds {
    /// Its stream alone; the next request goes to the same connection.
    #[default]
    Stream,
    /// The connection takes no further request. It is closed as idle ones are, at once where no idle timeout is set.
    Connection,
}

impl TimeoutEnds {
    fn is_stream(&self) -> bool {
        *self == Self::Stream
    }
}

/// TCP keepalive of a socket. Counts only while nothing is unacknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// TCP_KEEPIDLE.
    pub idle: Duration,
    /// TCP_KEEPINTVL.
    pub interval: Duration,
    /// TCP_KEEPCNT.
    pub count: u32,
}

impl Keepalive {
    /// The kernel's own, with the sysctls of a place.
    #[must_use]
    pub fn by_sysctls(sysctls: &[Sysctl]) -> Self {
        let value = |name: &str, default: u32| {
            let key = format!("net.ipv4.tcp_keepalive_{name}");
            sysctl_number(sysctls, &key).unwrap_or(default)
        };
        let seconds = |key, default| Duration::from_secs(value(key, default).into());
        Self {
            idle: seconds("time", 7200),
            interval: seconds("intvl", 75),
            count: value("probes", 9),
        }
    }
}

/// HTTP/2 PING health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// A PING goes out when nothing was read for this long.
    pub idle: Duration,
    /// The connection is closed when nothing was read for this long after the PING.
    pub timeout: Duration,
    /// Also when no request is open.
    pub while_idle: bool,
}

/// What a transport sends again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first; 0 = none.
    pub attempts: u32,
    /// Pause before each.
    pub backoff: Duration,
    /// On which errors.
    pub on: Vec<RetryOn>,
}

/// An error that a transport may answer with another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// A connection that had carried a request before was lost before the response's first byte.
    ReusedConnectionLost,
    /// Any connection was lost before the response's first byte.
    ConnectionLost,
    /// A connection could not be opened.
    DialFailed,
}
