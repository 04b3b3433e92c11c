//! Programs that are not ours as clients: those that behave, and those that don't.

#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/processes.rs"]
mod processes;
mod shared;

mod attacks;
mod balancers;
mod capabilities;
mod clients;
mod ends;
mod libraries;
mod limits;
mod phases;
mod reach;
mod rooms;
mod scoreboard;
mod servers;
mod suites;
