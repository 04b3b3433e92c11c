//! The two clocks: what each promises, what both agree on, and the packets that they keep.

#[path = "../common/command.rs"]
mod command;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/needs.rs"]
mod needs;

mod capture;
mod quickstart;
mod same_case;
mod side_by_side;
mod virtual_clock;
