//! Latency of the fabric in a guest, where packets take no time at all.
//!
//! The kernel measures round trips in microseconds. In a guest one takes 0 or 1 of them, by chance, and that decides by one
//! tick about the retransmission timer; the timer wheel makes up to 2 s of the tick. A real network's round trip is long
//! enough not to play a part, so the guest's fabric gets one as well.

use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::LabError;
use super::netlink::{Channel, Request};
use super::network::{Network, port_index};
use crate::plan::LabPlan;

/// One way between two nodes, about as long as on this machine's own veth pairs.
pub(super) const ONE_WAY: Duration = Duration::from_micros(50);

/// Nanoseconds of a tick of the kernel's packet schedulers (PSCHED_SHIFT 6).
const TICK_NS: u128 = 64;
/// Packets that may be on their way.
const LIMIT: u32 = 1000;
/// TCA_OPTIONS of linux/rtnetlink.h.
const TCA_OPTIONS: u16 = 2;

/// Delays what each node receives from the fabric by [`ONE_WAY`].
///
/// # Errors
/// If the guest's kernel has no netem (CONFIG_NET_SCH_NETEM).
pub(super) fn add(network: &Network, plan: &LabPlan) -> Result<(), LabError> {
    let requests = plan.nodes.iter().map(|node| {
        let port = port_index(node);
        let mut message = TcMessage::with_index(port.cast_signed());
        message.header.parent = TcHandle::ROOT;
        message.attributes = vec![
            TcAttribute::Kind("netem".to_owned()),
            TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options())),
        ];
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        Request::new(
            message,
            NLM_F_CREATE | NLM_F_EXCL,
            "adding the guest fabric's latency",
        )
    });
    let requests = requests.collect();
    Channel::open(network.fabric(), NETLINK_ROUTE)?.execute(requests)
}

/// struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
fn options() -> Vec<u8> {
    let latency = u32::try_from(ONE_WAY.as_nanos() / TICK_NS).unwrap_or(u32::MAX);
    [latency, LIMIT, 0, 0, 0, 0]
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect()
}
