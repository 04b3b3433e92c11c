//! The lab: the only part that touches the kernel. It builds a network, runs servers and clients, breaks things, and
//! records what it sees. It does not know what is expected.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod effect;
mod gate;
pub mod job;
mod latency;
mod lateness;
mod masquerade;
pub mod middlebox;
mod neighbour_table;
pub mod network;
mod probes;
pub mod process;
pub(crate) mod program;
mod run;
pub mod service;
pub(crate) mod trial;
pub(crate) mod tw_recycle;

use crate::linux::LinuxError;
use crate::plan::Location;
use crate::record::Observation;
pub use run::run;

/// Why a lab could not be built, changed or broken.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine did not do what was asked.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// A part of the lab could not be set up; says which and why.
    #[error("{0}")]
    Setup(String),
    /// A program of the scenario's can't be started.
    #[error("{why}")]
    Program {
        /// Which, and why.
        why: String,
        /// Where in the YAML it stood.
        location: Location,
    },
    /// The plan names something that is not in the lab.
    #[error("there is no {what} in this lab")]
    Unknown {
        /// What, by name.
        what: String,
    },
}

impl LabError {
    /// The same, with the place in the YAML that asked for what is missing.
    fn of(self, asked: &Location) -> Self {
        match self {
            Self::Linux(LinuxError::Missing {
                what,
                location: None,
            }) => Self::Linux(LinuxError::Missing {
                what,
                location: Some(asked.clone()),
            }),
            other @ (Self::Linux(_)
            | Self::Setup(_)
            | Self::Program { .. }
            | Self::Unknown { .. }) => other,
        }
    }

    /// The event that says so in a record: [`Observation::Skipped`] for what is missing, else
    /// [`Observation::RigError`].
    #[must_use]
    pub fn into_observation(self) -> Observation {
        let text = self.to_string();
        match self {
            Self::Linux(LinuxError::Missing { what, location }) => Observation::Skipped {
                missing: what,
                location,
            },
            Self::Linux(LinuxError::Refused { location, .. }) | Self::Program { location, .. } => {
                Observation::RigError {
                    text,
                    location: Some(location),
                }
            }
            Self::Linux(LinuxError::Kernel { .. } | LinuxError::Program { .. })
            | Self::Setup(_)
            | Self::Unknown { .. } => Observation::RigError {
                text,
                location: None,
            },
        }
    }
}
