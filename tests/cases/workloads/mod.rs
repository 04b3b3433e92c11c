//! What clients do: each workload healthy, struck by a loss of power, and beside others on one client. On the virtual
//! clock, every figure against the arithmetic of its timers.

mod case;
mod heartbeat;
mod leader;
mod resync;
mod shared;
mod stream;
mod watch;
