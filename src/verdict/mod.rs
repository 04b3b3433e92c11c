//! The verdict: a record compared with what was expected of it.
//!
//! Pure: [`measure`] reads a record and says what happened to each client, [`judge`] compares that with the case's
//! expectations. Both work on a record of today and on one from a file, and neither believes a client: a response counts
//! only where a server's own record has it too.

#![deny(clippy::wildcard_enum_match_arm)]

mod agreement;
mod availability;
mod cause;
mod chain;
mod client_record;
mod connections;
mod counters;
mod distribution;
mod effects;
mod evidence;
mod expectations;
mod forgotten;
mod history;
mod index;
mod judge;
mod living;
mod measure;
mod measure_client;
mod outages;
mod outcome;
mod pace;
mod parts;
mod predictions;
mod program_end;
mod programs;
mod published;
mod request;
mod requests;
mod retransmissions;
mod said;
mod served;
mod signs;
mod standing;
mod struck;
mod summary;
mod timeline;
mod untested;
mod waits;
mod wire;

pub use crate::result;
pub use agreement::compare;
pub use distribution::fold;
pub use history::history;
pub use judge::judge;
pub use measure::{Measured, measure};
pub use outcome::Outcome;
pub use result::{CaseResult, Verdict};
pub use summary::{Allowed, Exit, RunSummary};
