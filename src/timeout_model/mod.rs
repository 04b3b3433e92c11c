//! How long clients will be without service, as far as arithmetic can say.
//!
//! Pure functions: `timer` is how the kernel rounds, `sysctls` what it is told, `rto` and `series` how it retransmits,
//! `kernel` and `keepalive` what each of TCP's own timers takes, `neighbour` what they make of an address that does not
//! resolve and `conntrack` of a service's connection that its node forgets, `cycle` and `rhythm` what a client is doing at the fault,
//! `situation` and `ending` which of all timers of a client rules then, `side_by_side` what does so on each of several connections, `dials` how it comes back, `predict` all of that
//! together, `sendings` what is sent again and `healed` what the first sending after a fault's healing makes of it, `blip` what a
//! silence that ends leaves of a connection, `outages` what each of several faults does, and `fit` which series a measured one is.

#![deny(clippy::wildcard_enum_match_arm)]

mod blip;
mod conntrack;
mod cycle;
mod dials;
mod ending;
mod fit;
mod forgotten;
mod healed;
mod keepalive;
mod kernel;
mod neighbour;
mod other_faults;
mod outages;
mod predict;
mod rhythm;
mod rto;
mod sendings;
mod series;
mod server_side;
mod side_by_side;
mod situation;
mod standing;
mod streams;
mod sysctls;
mod timer;
mod window;

pub use blip::{killed_by_loss, longest_blip, longest_blip_by_kernel};
pub use keepalive::keepalive;
pub use kernel::{HZ, Kernel, connect, longest_wait, orphan, retransmission, zero_window};
pub use other_faults::foresee;
pub use outages::{ForeseenOutage, foresee_outage, foresee_outages};
pub use predict::{predict, predict_seen};
pub use rhythm::Seen;
pub use rto::{Path, first_rto, settled_rto};
pub use series::Series;
pub use sysctls::TcpSysctls;
pub use timer::Rounding;
