//! How a server's kernel and program take new connections in, where that is not as usual.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Location;

/// Connections the kernel holds ready for accept(), where the scenario does not say.
const BACKLOG: u16 = 1024;

/// A server's accept queues, one for each address it listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueue {
    /// As given to listen(2); the kernel lets one more connection wait than that.
    pub backlog: u16,
    /// The program accepts this many connections on each address, and then no more; `None` = no end.
    pub accepts: Option<u32>,
}

impl Default for AcceptQueue {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            accepts: None,
        }
    }
}

/// Something that kernels of today no longer do, done for them by the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Emulation {
    /// `net.ipv4.tcp_tw_recycle`=1, which left Linux in 4.12: a SYN whose timestamp is older than the last one let in from
    /// the same address within 60 s is dropped without a word. Timestamps are remembered from SYNs, as a server has them
    /// that closes its connections at once (the kernel took them from connections that went into TIME_WAIT). A SYN without
    /// one is let in, as Linux before 3.17 did it.
    TwRecycle,
}

impl Emulation {
    /// Its name in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TwRecycle => "tw_recycle",
        }
    }

    /// What it counts, by the names that the kernel had for it. In records [`EMULATED`] stands before them.
    #[must_use]
    pub fn counters(self) -> &'static [&'static str] {
        match self {
            Self::TwRecycle => &["TcpExt.PAWSPassive", "TcpExt.ListenDrops"],
        }
    }
}

/// Group of the counters that are an emulation's and not the kernel's.
pub const EMULATED: &str = "emulated";

/// An emulation, and where it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emulated {
    /// What.
    pub what: Emulation,
    /// Where it stood.
    pub location: Location,
}

/// Longest uptime: timestamps are compared as 32-bit milliseconds, so that of two clocks further apart the older one
/// would seem the younger.
pub const LONGEST_UPTIME: Duration = Duration::from_millis(i32::MAX as u64);
