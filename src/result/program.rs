//! A client's program: how it ended, and what it wrote last.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClientResult, seconds};
use crate::plan::Cause;
use crate::plan::units::measured;
use crate::record::how_ended;

/// How the evidence begins of a dial that a program gave up.
const DIAL_GIVEN_UP: &str = "the program gave the dial up:";
/// A program's end and what follows from it, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(100);

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

    /// What ended its wait, in words, where its program did: how long after what says more than that it did. `None` if anything
    /// else did.
    #[must_use]
    pub fn ended_by_its_program(&self) -> Option<String> {
        let evidence = self.evidence.as_ref()?;
        self.program.as_ref()?;
        match self.cause? {
            Cause::ClosedByClient => {
                // The first clause says how it was closed, the next ones after what.
                let first = evidence.split(", ").nth(1);
                Some(match first {
                    _ if self.ended_as_its_program_did() => String::from("the end of its program"),
                    // Nobody else ends a connection on which something is asked: see `verdict/cause/program.rs`.
                    Some(after) if after.contains(" after its request ") => {
                        format!("its own timeout of {after}")
                    }
                    Some(after) => format!("its program itself, {after}"),
                    None => String::from("its program itself"),
                })
            }
            Cause::DialTimeout => {
                let given_up = evidence.strip_prefix(DIAL_GIVEN_UP)?;
                Some(format!("its own limit on dials:{given_up}"))
            }
            Cause::ClosedByServer
            | Cause::RetransmissionTimeout
            | Cause::Keepalive
            | Cause::UserTimeout
            | Cause::WindowProbeTimeout
            | Cause::PingTimeout
            | Cause::RequestTimeout
            | Cause::ReadTimeout
            | Cause::IdleTimeout
            | Cause::HeartbeatFailure
            | Cause::Reset
            | Cause::SocketDestroyed
            | Cause::Refused
            | Cause::Unreachable
            | Cause::ClosedByPeer
            | Cause::Never
            | Cause::Unknown => None,
        }
    }

    /// Whether its program ended as its wait did: the kernel closes what it leaves open.
    fn ended_as_its_program_did(&self) -> bool {
        let program = self.program.as_ref().and_then(|program| program.ended_at);
        let wait = self.fault_at.zip(self.detected_after);
        let wait = wait.map(|(fault, after)| fault + after);
        program
            .zip(wait)
            .is_some_and(|(program, wait)| program.abs_diff(wait) <= AT_ONCE)
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
