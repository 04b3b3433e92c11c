//! The clocks: how a lab process is started, and what it says while it runs.
//!
//! A lab process reads one [`LabJob`] and writes [`FromLab`] messages, one a line. That is all the clocks share;
//! [`real`] starts it in namespaces of its own.

pub mod real;

use serde::{Deserialize, Serialize};

use crate::plan::LabPlan;
use crate::record::Event;

/// What a lab process is told: the labs it runs, side by side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabJob {
    /// One lab each.
    pub labs: Vec<LabPlan>,
    /// Events are gathered and written together rather than one by one: where writing is dear and nobody looks.
    pub gather_events: bool,
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
    /// Something was observed in a lab.
    Event {
        /// Index into [`LabJob::labs`].
        lab: usize,
        /// What, and when.
        event: Event,
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
