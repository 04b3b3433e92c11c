//! Probes: what is observed from outside the programs under test.

pub mod packets;
