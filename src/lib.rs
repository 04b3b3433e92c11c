//! halfopen: what happens when a node loses power and says nothing.
//!
//! One flow, one direction: [`scenario`] (YAML with positions) → [`plan`] (cases of plain numbers) → [`lab`] (the only
//! part that touches the kernel) → [`record`] (everything observed) → [`verdict`] → [`report`], [`explain`].

pub mod cli;
pub mod client;
pub mod clock;
pub mod comparison;
pub mod contract;
pub mod explain;
pub mod fault;
mod input;
pub mod lab;
pub mod linux;
pub mod metric;
pub mod plan;
pub mod preset;
mod printable;
pub mod probe;
pub mod record;
pub mod report;
pub mod result;
pub mod runner;
pub mod scenario;
pub mod server;
mod task_group;
pub mod timeout_model;
pub mod tune;
pub mod verdict;
mod yaml;
