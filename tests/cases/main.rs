//! Whole cases on the virtual clock: faults, workloads, incidents, and the timeout model against the kernel.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/stored.rs"]
mod stored;

mod causes;
mod client_links;
mod counterfactuals;
mod false_positives;
mod fault_programs;
mod incidents;
mod modes;
mod predictions;
mod probe_sockets;
mod quickstart;
mod ran;
mod records;
mod repetition;
mod sequences;
mod servers_view;
mod sweep;
mod syn_drops;
mod tune;
mod workloads;
