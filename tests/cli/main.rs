//! The program as people and CIs meet it: what it says, how it ends, what breaks it, and what it leaves behind.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/processes.rs"]
mod processes;

mod ci_examples;
mod command_line;
mod compare;
mod edges;
mod init;
mod leaves_nothing;
mod profiles;
mod release;
mod report_command;
mod report_targets;
mod rig_failures;
mod shards;
mod slow_machine;
mod terminal;
mod tune;
