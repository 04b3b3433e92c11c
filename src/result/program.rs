//! A client's program: how it ended, and what it wrote last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClientResult, seconds};
use crate::plan::units::measured;
use crate::record::how_ended;

/// A client's program: how it ended by itself, and what it wrote last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramResult {
    /// When it ended, from the case's start; `None` = it ran until the case's end, started again perhaps, or until a fault ended it.
    #[serde(rename = "ended_at_s", with = "seconds::option")]
    pub ended_at: Option<Duration>,
    /// The exit code of its last run.
    pub exit_code: Option<i32>,
    /// The signal that ended its last run.
    pub signal: Option<i32>,
    /// The last lines of its output, standard output and standard error together.
    pub last_output: Vec<String>,
    /// What it said of its work, if the scenario says which lines do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<SaidResult>,
}

/// What a program said of its work: a witness beside servers and the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidResult {
    /// Lines that say that all is well.
    pub ok: usize,
    /// Lines that say that something failed.
    pub errors: usize,
    /// Whether it failed, or was silent for unusually long, after the fault.
    pub noticed: bool,
    /// From the fault until it said that all is well, and nothing else any more; `None` = never, or it noticed nothing.
    #[serde(rename = "recovered_after_s", with = "seconds::option")]
    pub recovered_after: Option<Duration>,
    /// Whether servers and the wire tell the same, to one of its polls; `None` where they have nothing to tell.
    pub agrees: Option<bool>,
}

impl SaidResult {
    /// What it says, as the rest of a sentence.
    #[must_use]
    pub fn told(&self) -> String {
        if self.ok + self.errors == 0 {
            return String::from("nothing: no line of its output is one that `output` names");
        }
        let errors = match self.errors {
            0 => String::from("no error"),
            1 => String::from("1 error"),
            many => format!("{many} errors"),
        };
        let own = match (self.noticed, self.recovered_after) {
            (false, _) => String::from("nothing noticed"),
            (true, None) => String::from("not recovered"),
            (true, Some(after)) => format!("recovered {}", measured(after)),
        };
        format!("{own}, {errors}")
    }
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
