//! A client's program: how it ended, and what it wrote last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClientResult, seconds};
use crate::plan::units::measured;
use crate::record::how_ended;

/// A client's program: how it ended by itself, and what it wrote last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramResult {
    /// When it ended, from the case's start; `None` = it ran until the case's end, or until a fault ended it.
    #[serde(rename = "ended_at_s", with = "seconds::option")]
    pub ended_at: Option<Duration>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines of its output, standard output and standard error together.
    pub last_output: Vec<String>,
}

impl ProgramResult {
    /// How it ended, as the rest of a sentence: `exited with 42`.
    #[must_use]
    pub fn how(&self) -> String {
        how_ended(self.exit_code, self.signal)
    }
}

impl ClientResult {
    /// In a sentence, how its program ended before the case did; `None` if it did not, or if a fault ended it.
    #[must_use]
    pub fn program_ended(&self) -> Option<String> {
        let program = self.program.as_ref()?;
        let at = program.ended_at?;
        let when = match self.fault_at {
            Some(fault) if at < fault => {
                let before = fault.saturating_sub(at);
                format!(
                    "{} before the fault: nothing was tested of it",
                    measured(before)
                )
            }
            Some(fault) => format!("{} after the fault", measured(at.saturating_sub(fault))),
            None => format!("{} after the case's start", measured(at)),
        };
        Some(format!("its program {}, {when}", program.how()))
    }

    /// Whether its program had ended before the fault, so that the fault met nothing.
    #[must_use]
    pub fn ended_before_fault(&self) -> bool {
        let ended = self.program.as_ref().and_then(|program| program.ended_at);
        ended
            .zip(self.fault_at)
            .is_some_and(|(ended, fault)| ended < fault)
    }
}
