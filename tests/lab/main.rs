//! The lab: its network, services' rules and faults, in namespaces of each test's own.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/namespaces.rs"]
mod namespaces;
#[path = "../common/needs.rs"]
mod needs;
mod rig;

mod fault_forgotten;
mod fault_link;
mod fault_path;
mod kube_proxy;
mod middlebox;
mod network;
mod panics;
mod power_loss;
mod rules;
mod service;
