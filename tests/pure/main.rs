//! What needs no privileges, no kernel and no time: scenarios, plans, diagnostics, verdicts, reports and explanations.

#[path = "../common/browser.rs"]
mod browser;
#[path = "../common/command.rs"]
mod command;
#[path = "../cases/sweep/generate/mod.rs"]
mod generate;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/stored.rs"]
mod stored;

mod diagnostics;
mod diagnostics_random;
mod exec_scenario;
mod explain;
mod foretold;
mod kept;
mod mutation;
mod page;
mod plan;
mod record_random;
mod schema;
mod verdict;
