//! Probes: what the kernel says of sockets, packets and rules, and what it counts.

pub mod counters;
pub mod packets;
pub(crate) mod rules;
pub mod sockets;
