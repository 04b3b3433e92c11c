//! Latency of the fabric: a scenario's round trip, and in a guest, where packets take no time at all, at least a small one.
//!
//! The kernel measures round trips in microseconds. In a guest one takes 0 or 1 of them, by chance, and that decides by one
//! tick about the retransmission timer; the timer wheel makes up to 2 s of the tick. A real network's round trip is long
//! enough not to play a part, so the guest's fabric gets one as well.

use std::io;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::LabError;
use super::netlink::{Channel, Request};
use super::network::{Network, port_index};
use crate::plan::{LabPlan, Location};

/// One way between two nodes of a guest, about as long as on this machine's own veth pairs.
const ONE_WAY: Duration = Duration::from_micros(50);

/// Nanoseconds of a tick of the kernel's packet schedulers (PSCHED_SHIFT 6).
const TICK_NS: u128 = 64;
/// Packets that may be on their way.
const LIMIT: u32 = 1000;
/// TCA_OPTIONS of linux/rtnetlink.h.
const TCA_OPTIONS: u16 = 2;

/// Delays what each node receives from the fabric by half of the plan's round trip; in a guest without one, by
/// [`ONE_WAY`].
///
/// # Errors
/// [`LabError::Missing`] if the scenario asks for a round trip and this kernel has no netem (CONFIG_NET_SCH_NETEM);
/// [`LabError::Kernel`] if it refuses otherwise.
pub(super) fn add(network: &Network, plan: &LabPlan, in_guest: bool) -> Result<(), LabError> {
    let asked = plan.rtt.as_ref();
    let Some(one_way) = one_way(plan, in_guest) else {
        return Ok(());
    };
    let requests = plan.nodes.iter().map(|node| {
        let port = port_index(node);
        let mut message = TcMessage::with_index(port.cast_signed());
        message.header.parent = TcHandle::ROOT;
        message.attributes = vec![
            TcAttribute::Kind("netem".to_owned()),
            TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options(one_way))),
        ];
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        Request::new(
            message,
            NLM_F_CREATE | NLM_F_EXCL,
            "adding the fabric's latency",
        )
    });
    let requests = requests.collect();
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

/// What a kernel without netem says of it is made the case's own lack.
fn without_netem(error: LabError, location: &Location) -> LabError {
    let unknown = |source: &io::Error| source.raw_os_error() == Some(libc::ENOENT);
    match error {
        LabError::Kernel { source, .. } if unknown(&source) => no_netem(location),
        LabError::Missing { .. } => no_netem(location),
        other => other,
    }
}

fn no_netem(location: &Location) -> LabError {
    LabError::Missing {
        what: "netem, which delays packets (sudo modprobe sch_netem, or --clock virtual)"
            .to_owned(),
        location: Some(location.clone()),
    }
}

/// struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
fn options(one_way: Duration) -> Vec<u8> {
    let latency = u32::try_from(one_way.as_nanos() / TICK_NS).unwrap_or(u32::MAX);
    [latency, LIMIT, 0, 0, 0, 0]
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_qdisc_is_a_lack() {
        let kernel = |errno| LabError::Kernel {
            doing: "adding".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        };
        let at = Location {
            line: 7,
            ..Location::default()
        };
        let lack = without_netem(kernel(libc::ENOENT), &at);
        assert!(
            matches!(&lack, LabError::Missing { what, location: Some(l) } if what.starts_with("netem") && l.line == 7),
            "{lack:?}"
        );
        assert!(matches!(
            without_netem(kernel(libc::EPERM), &at),
            LabError::Kernel { .. }
        ));
    }
}
