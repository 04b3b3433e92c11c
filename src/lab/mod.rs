//! The lab: the only part that touches the kernel. It builds a network, runs servers and clients, breaks things, and
//! records what it sees. It does not know what is expected.

pub mod namespace;
