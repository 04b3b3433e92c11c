//! What a server does about clients of which it hears nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Keepalive;

/// What ends the connections that a server accepted. `None` = off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerLimits {
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Its times are the kernel's, which are those of the server's place: the socket has SO_KEEPALIVE alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keepalive_by_sysctls: bool,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Option<Duration>,
    /// Time after which a connection without an open request is closed.
    pub idle_timeout: Option<Duration>,
    /// HTTP/2 PINGs.
    pub ping: Option<ServerPing>,
}

impl ServerLimits {
    /// Whether there is none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A server's HTTP/2 PINGs, with or without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPing {
    /// A PING goes out when nothing was read for this long.
    pub idle: Duration,
    /// The connection is closed when its answer has not come after this long.
    pub timeout: Duration,
}
