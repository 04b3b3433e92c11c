//! Why the kernel, or a program that speaks to it, did not do what was asked.

use std::io;

use crate::plan::Location;

/// Why something could not be asked of this machine.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// This machine lacks something the case asks for: the case is skipped.
    #[error("this machine lacks {what}")]
    Missing {
        /// What is missing, by name.
        what: String,
        /// Where in the YAML it was asked for.
        location: Option<Location>,
    },
    /// The kernel refused a value the YAML asked for.
    #[error("{what}: {source}")]
    Refused {
        /// What was tried.
        what: String,
        /// Where in the YAML it was asked for.
        location: Location,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused something that is needed.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program that is needed failed.
    #[error("{program} failed in {namespace} ({status}): {stderr}")]
    Program {
        /// Its name.
        program: String,
        /// The namespace it worked on.
        namespace: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
}

impl LinuxError {
    /// Wraps the kernel's answer with what was being done.
    pub(crate) fn kernel(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kernel { doing, source }
    }
}
