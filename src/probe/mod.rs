//! Probes: what the kernel says of sockets and packets, and what it counts.

pub mod counters;
pub mod packets;
pub mod sockets;
pub mod tcp_info;
