//! Probes: what the kernel says of sockets and packets.

pub mod packets;
pub mod sockets;
pub mod tcp_info;
