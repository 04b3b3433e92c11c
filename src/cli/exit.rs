//! Exit codes. Other programs rely on them.

use std::process::ExitCode;

use crate::verdict::{self, RunSummary};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: every expectation held; skipped cases were named.
    Held,
    /// 1: an expectation failed, whatever else happened.
    Failed,
    /// 2: the command line or a scenario is wrong; nothing was run.
    Usage,
    /// 3: a case could not be run, or none was, or one was skipped under `--require-all`.
    Broken,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// Says what is wrong with the command line, and is [`Exit::Usage`].
    pub fn usage(text: &str) -> Self {
        eprintln!("error: {text}");
        Self::Usage
    }

    /// Says what could not be done, and is [`Exit::Broken`].
    pub fn broken(text: &str) -> Self {
        eprintln!("error: {text}");
        Self::Broken
    }

    /// How a run with these verdicts ends.
    #[must_use]
    pub fn of_run(summary: &RunSummary, require_all: bool) -> Self {
        match summary.exit(require_all) {
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
