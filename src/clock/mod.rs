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

pub use crate::lab::job::{FromLab, LabJob, Shell};

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
