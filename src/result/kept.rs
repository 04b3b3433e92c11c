//! What servers keep of clients that are no more.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::plan::Cause;
use crate::plan::units::measured;

/// For how long a server kept the connections that a client had with it when a fault came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptResult {
    /// The server.
    pub server: String,
    /// Whose connections.
    pub client: String,
    /// The fault: its place in the case's `faults`, from 0.
    pub fault: usize,
    /// How many the server's kernel had then.
    pub connections: usize,
    /// From the fault until it had none of them any more; `None` = not within the case.
    #[serde(rename = "forgot_after_s", with = "seconds::option")]
    pub forgot_after: Option<Duration>,
    /// What ended the last of them.
    pub cause: Cause,
    /// What says so.
    pub evidence: String,
}

impl KeptResult {
    /// Until when, and what ended it: `110.8 s, keepalive`.
    #[must_use]
    pub fn outcome(&self) -> String {
        match (self.forgot_after, self.cause) {
            (None, _) => String::from("to the case's end"),
            (Some(after), Cause::Unknown) => {
                format!(
                    "{}, and the evidence does not say what ended that",
                    measured(after)
                )
            }
            (Some(after), cause) => format!("{}, {cause}", measured(after)),
        }
    }
}

impl fmt::Display for KeptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            client,
            connections,
            ..
        } = self;
        let had = match connections {
            1 => format!("{client}'s connection"),
            number => format!("{number} connections of {client}"),
        };
        let how_long = if self.forgot_after.is_some() {
            "for "
        } else {
            ""
        };
        write!(f, "{server} kept {had} {how_long}{}", self.outcome())
    }
}
