//! Clocks: how a lab process is started, and what this machine can do for it.

pub mod machine;
