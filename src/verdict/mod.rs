//! The verdict: a record compared with what was expected of it.
//!
//! Pure: [`measure`] reads a record and says what happened to each client, [`judge`] compares that with the case's
//! expectations. Both work on a record of today and on one from a file, and neither believes a client: a response counts
//! only where a server's own record has it too.

mod agreement;
pub mod cause;
pub mod chain;
mod check;
mod connections;
mod counters;
mod distribution;
mod evidence;
mod judge;
mod measure;
mod outcome;
pub mod parts;
mod programs;
pub mod published;
mod requests;
pub mod result;
mod retransmissions;
mod seconds;
mod served;
mod standing;
mod struck;
mod summary;
mod timeline;
pub mod units;
mod untested;
mod wire;
mod workloads;

pub use agreement::compare;
pub use distribution::fold;
pub use judge::judge;
pub use measure::{ClientMeasured, ConnectionMeasured, Detection, Measured, measure};
pub use outcome::Outcome;
pub use result::{CaseResult, Verdict};
pub use standing::Standing;
pub use summary::{Exit, RunSummary};
pub use workloads::WorkloadMeasured;
