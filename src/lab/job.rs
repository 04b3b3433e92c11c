//! What a lab process is told, and what it says while it runs, one message a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::LabPlan;
use crate::record::{ClockName, Event, Frames};

/// What a lab process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabJob {
    /// The lab it runs.
    pub lab: LabPlan,
    /// The clock it runs on: what costs nothing on one is dear on the other. See [`crate::lab::process`].
    pub clock: ClockName,
    /// What programs are started with.
    pub shell: Shell,
    /// On the virtual clock: by how many of the kernel's ticks the case begins later than where the timer wheel stands as at
    /// every other case's begin. Of two real runs none begins where the other did.
    #[serde(default)]
    pub later_ticks: u32,
}

/// What the shell gives to programs: where it finds them, and the folder they begin in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// PATH; empty = the system's usual folders.
    pub path: String,
    /// Working folder; empty = the root.
    pub folder: PathBuf,
}

impl Shell {
    /// That of this process: for programs, which are found by it.
    #[must_use]
    pub fn current() -> Self {
        Self {
            path: std::env::var("PATH").unwrap_or_default(),
            folder: std::env::current_dir().unwrap_or_default(),
        }
    }
}

/// What a lab process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromLab {
    /// First message: the kernel whose TCP stack is measured.
    Kernel {
        /// `uname -r`.
        release: String,
        /// Its timer frequency, where the kernel tells.
        hz: Option<u32>,
    },
    /// Time goes on: said every ten seconds of the lab's own clock.
    Alive {},
    /// The lab waits noticeably for its turns on the processor: another one beside it would make that worse.
    Busy {},
    /// Something was observed.
    Event(Event),
    /// Packets of a link.
    Frames(Frames),
}

impl FromLab {
    /// The message as one line, newline included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
