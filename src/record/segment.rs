//! Packets of connections, as far as they say something.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A TCP segment seen on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Node on whose uplink (its fabric side, after DNAT) it was seen, or the client's pod on whose link it was (before DNAT).
    /// What passes both is in the record twice.
    pub node: String,
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Flags as letters, e.g. `S`, `SA`, `PA`, `R`.
    pub flags: String,
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Payload bytes.
    pub len: u32,
    /// 0 for the first sending, n for the n-th sending again.
    pub retransmission: u32,
    /// The kernel's own stamp, in nanoseconds since the case's start (`t_ns` is when the lab read it).
    pub stamp_ns: u64,
}
