//! Exit codes. Other programs rely on them.

use std::process::ExitCode;

use crate::printable::printable_lines;
use crate::verdict::{self, Allowed, RunSummary};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: every expectation held.
    Held,
    /// 1: an expectation failed, whatever else happened.
    Failed,
    /// 2: the command line or a scenario is wrong; nothing was run.
    Usage,
    /// 3: a case could not be run, or none was, or nothing was tested where something was to be: a case was skipped (without
    /// `--allow-skipped`), an expectation met a client that no fault struck, or nothing was expected (with `--strict`).
    Broken,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// Says what is wrong with the command line, and is [`Exit::Usage`].
    pub fn usage(text: &str) -> Self {
        eprintln!("error: {}", printable_lines(text));
        Self::Usage
    }

    /// Says what could not be done, and is [`Exit::Broken`].
    pub fn broken(text: &str) -> Self {
        eprintln!("error: {}", printable_lines(text));
        Self::Broken
    }

    /// `self`, or `other` if all held so far: a failed expectation stays one, whatever else happened.
    #[must_use]
    pub(super) fn unless_held(self, other: Self) -> Self {
        if self == Self::Held { other } else { self }
    }

    /// How a run with these verdicts ends.
    #[must_use]
    pub fn of_run(summary: &RunSummary, allowed: Allowed) -> Self {
        match summary.exit(allowed) {
            verdict::Exit::Held => Self::Held,
            verdict::Exit::Failed => Self::Failed,
            verdict::Exit::NotRun => Self::Broken,
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Broken => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
