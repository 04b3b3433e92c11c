//! A server that is a program of the user's, as it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Exec;

/// A program that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerProgram {
    /// How it is started.
    #[serde(flatten)]
    pub exec: Exec,
    /// Whether what it has written is gone when it is started again.
    pub empty: bool,
    /// When it is ready.
    pub ready: Ready,
    /// How long it may take until then.
    pub within: Duration,
}

/// When a server's program is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// It listens on its port.
    Listens,
    /// It has written a line that matches this regular expression.
    Line(String),
    /// This command has succeeded, run beside it again and again.
    Command(Vec<String>),
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listens => f.write_str("it did not listen on its port"),
            Self::Line(expression) => write!(f, "no line of its output matched `{expression}`"),
            Self::Command(command) => write!(f, "`{}` did not succeed", command.join(" ")),
        }
    }
}
