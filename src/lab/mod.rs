//! The lab: the only part that touches the kernel. It builds a network, runs servers and clients, breaks things, and
//! records what it sees. It does not know what is expected.

mod conntrack;
pub mod fault;
mod gate;
mod latency;
mod lateness;
mod link;
mod masquerade;
pub mod namespace;
pub(crate) mod netlink;
pub mod network;
mod nft;
mod orphans;
mod packet_queue;
mod probes;
pub mod process;
pub(crate) mod program;
mod run;
pub mod service;
pub mod sysctl;
pub(crate) mod trial;
pub(crate) mod tw_recycle;

use std::io;

use crate::plan::Location;
use crate::record::Observation;
pub use run::run;

/// Why a lab could not be built, changed or broken.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
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
    /// The kernel refused something the lab needs.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program the lab needs is not installed.
    #[error("{program} is not installed (looked in /usr/sbin, /sbin and PATH)")]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// A program the lab needs failed.
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
    /// A part of the lab could not be set up; says which and why.
    #[error("{0}")]
    Setup(String),
    /// The plan names something that is not in the lab.
    #[error("there is no {what} in this lab")]
    Unknown {
        /// What, by name.
        what: String,
    },
}

impl LabError {
    /// Wraps the kernel's answer with what was being done.
    pub(crate) fn kernel(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kernel { doing, source }
    }

    /// The event that says so in a record: [`Observation::Skipped`] for what is missing, else
    /// [`Observation::RigError`].
    #[must_use]
    pub fn into_observation(self) -> Observation {
        let text = self.to_string();
        match self {
            Self::Missing { what, location } => Observation::Skipped {
                missing: what,
                location,
            },
            Self::Refused { location, .. } => Observation::RigError {
                text,
                location: Some(location),
            },
            _ => Observation::RigError {
                text,
                location: None,
            },
        }
    }
}
