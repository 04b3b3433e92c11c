//! How long clients will be without service, as far as arithmetic can say.
//!
//! Pure functions: `timer` is how the kernel rounds, `kernel` what TCP's own timers take, `predict` which of all timers
//! of a client rules, `fit` which series a measured one is.

mod fit;
mod kernel;
mod other_faults;
mod predict;
mod situation;
mod timer;

pub use kernel::{HZ, Series, TcpSysctls, connect, keepalive, retransmission};
pub use other_faults::foresee;
pub use predict::predict;
pub use timer::Rounding;
