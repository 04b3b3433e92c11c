//! The clocks: how a lab process is started, and what it says while it runs.
//!
//! A lab process reads one [`LabJob`] and writes [`FromLab`] messages, one a line. That is all the clocks share:
//! [`real`] starts it in namespaces of its own, [`guest`] as the first process of a User Mode Linux kernel.

pub mod confine;
pub mod folder;
pub mod guest;
pub mod inside;
pub mod kernel;
pub mod machine;
pub mod real;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::LabPlan;
use crate::record::{Event, Frames};

/// What a lab process is told: the labs it runs, side by side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabJob {
    /// One lab each.
    pub labs: Vec<LabPlan>,
    /// Events are gathered and written together rather than one by one: where writing is dear and nobody looks.
    pub gather_events: bool,
    /// A case begins when the kernel's timers stand as at every other case's begin, however long its set-up took: where
    /// waiting costs nothing. See [`crate::lab::process`].
    pub align_start: bool,
    /// What programs are started with.
    pub shell: Shell,
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
    /// That of this process.
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
    /// Something was observed in a lab.
    Event {
        /// Index into [`LabJob::labs`].
        lab: usize,
        /// What, and when.
        event: Event,
    },
    /// Packets of a lab's link.
    Frames {
        /// Index into [`LabJob::labs`].
        lab: usize,
        /// Which link's, and what they are.
        frames: Frames,
    },
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

/// A lab process that runs, on either clock.
pub enum Running {
    /// In namespaces of its own.
    Process(real::LabProcess),
    /// In a guest.
    Guest(guest::Guest),
}

impl Running {
    /// What the lab says next, at least one message; `None` when it has ended and everything is read.
    ///
    /// # Errors
    /// If it can't be read, or says something that is not a message.
    pub async fn next(&mut self) -> io::Result<Option<Vec<FromLab>>> {
        match self {
            Self::Process(process) => process.next().await,
            Self::Guest(guest) => guest.next().await,
        }
    }

    /// Why it ended, if not in good order. Call when [`Running::next`] has said `None`.
    pub async fn last_words(&mut self) -> Option<String> {
        match self {
            Self::Process(process) => process.last_words().await,
            Self::Guest(guest) => guest.last_words().await,
        }
    }

    /// Ends it, and everything in it.
    pub async fn end(&mut self) {
        match self {
            Self::Process(process) => process.end().await,
            Self::Guest(guest) => guest.end().await,
        }
    }
}
