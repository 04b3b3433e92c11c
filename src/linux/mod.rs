//! The kernel's doors: namespaces, netlink, nf_tables, iptables' and nftables' rules, links, sysctls, conntrack, sockets, packet queues.
//!
//! Each module does one thing that was asked for by name; what for, and when, its callers know.

pub(crate) mod arp;
pub(crate) mod conntrack;
mod error;
pub(crate) mod generic;
pub(crate) mod iptables;
pub(crate) mod ipvs;
pub(crate) mod kernel;
pub(crate) mod link;
pub mod namespace;
pub(crate) mod netem;
pub(crate) mod netlink;
pub(crate) mod nft;
pub(crate) mod nftables;
pub(crate) mod orphans;
pub(crate) mod packet_queue;
pub(crate) mod socket_options;
pub mod sysctl;
pub(crate) mod tcp_info;

pub use error::LinuxError;
