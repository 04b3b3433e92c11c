//! Latency of the fabric: a scenario's round trip, and in a guest, where packets take no time at all, at least a small one.
//!
//! The kernel measures round trips in microseconds. In a guest one takes 0 or 1 of them, by chance, and that decides by one
//! tick about the retransmission timer; the timer wheel makes up to 2 s of the tick. A real network's round trip is long
//! enough not to play a part, so the guest's fabric gets one as well.

use std::time::Duration;

use netlink_packet_route::tc::TcHandle;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::network::{Network, port_index};
use crate::linux::LinuxError;
use crate::linux::netem::{self, Netem, TICK_NS};
use crate::linux::netlink::Channel;
use crate::plan::{LabPlan, Location};

/// One way between two nodes of a guest, about as long as on this machine's own veth pairs.
const ONE_WAY: Duration = Duration::from_micros(50);

/// Packets that may be on their way.
const LIMIT: u32 = 100_000;

/// Delays what each node receives from the fabric by half of the plan's round trip; in a guest without one, by
/// [`ONE_WAY`].
///
/// # Errors
/// [`LinuxError::Missing`] if the scenario asks for a round trip and this kernel has no netem (CONFIG_NET_SCH_NETEM);
/// [`LinuxError::Kernel`] if it refuses otherwise.
pub(super) fn add(network: &Network, plan: &LabPlan, in_guest: bool) -> Result<(), LinuxError> {
    let asked = plan.rtt.as_ref();
    let Some(one_way) = one_way(plan, in_guest) else {
        return Ok(());
    };
    let netem = Netem {
        delay: whole_ticks(one_way),
        jitter: Duration::ZERO,
        limit: LIMIT,
    };
    let ports = plan.nodes.iter().map(port_index);
    let requests = ports.map(|port| netem.add(port, TcHandle::ROOT)).collect();
    let added = Channel::open(network.fabric(), NETLINK_ROUTE)?.execute(requests);
    match asked {
        Some(rtt) => added.map_err(|error| without_netem(error, &rtt.location)),
        None => added,
    }
}

/// How long a packet takes from node to node, where the fabric delays it.
pub(super) fn one_way(plan: &LabPlan, in_guest: bool) -> Option<Duration> {
    let asked = plan.rtt.as_ref().map(|rtt| rtt.time / 2);
    asked.or(in_guest.then_some(ONE_WAY))
}

/// A time in whole ticks of the packet schedulers.
fn whole_ticks(time: Duration) -> Duration {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(nanoseconds / TICK_NS * TICK_NS)
}

/// What a kernel without netem says of it is made the case's own lack.
fn without_netem(error: LinuxError, location: &Location) -> LinuxError {
    if !netem::is_missing(&error) {
        return error;
    }
    LinuxError::Missing {
        what: "netem, which delays packets (sudo modprobe sch_netem, or --clock virtual)"
            .to_owned(),
        location: Some(location.clone()),
    }
}
