//! Packets take longer: netem, in a band of its own on each link where a path's packets go out.
//!
//! The bands are there from the start, for exchanging a queueing discipline loses what is in it. A fault only has the
//! packets it means take its band, and what is in there when it heals still arrives.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::Cut;
use super::path::{self, Spot};
use crate::lab::link::RouteRequest;
use crate::lab::namespace::Namespace;
use crate::lab::netlink::{Channel, Request};
use crate::lab::network::Network;
use crate::lab::nft::{Direction, Fate};
use crate::lab::{LabError, latency};
use crate::plan::{Fault, FaultKind, LabPlan, Location, Path};

/// Handle of the queueing discipline with the bands.
const BANDS: u16 = 1;
/// The band of all that no fault delays.
const ORDINARY: u16 = 1;
/// Packets that may be on their way.
const LIMIT: u32 = 100_000;
/// Nanoseconds of a tick of the kernel's packet schedulers (PSCHED_SHIFT 6).
const TICK_NS: u128 = 64;
/// TCA_OPTIONS of linux/rtnetlink.h, and of linux/pkt_sched.h what netem has besides its fixed part.
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;

/// The delays of a plan: index of the fault, its path, delay and jitter.
fn delays(plan: &LabPlan) -> impl Iterator<Item = (usize, &Fault, &Path, Duration, Duration)> {
    let faults = plan.faults.iter().enumerate();
    faults.filter_map(|(index, fault)| match &fault.kind {
        FaultKind::Delay {
            path,
            delay,
            jitter,
        } => Some((index, fault, path, *delay, *jitter)),
        _ => None,
    })
}

/// The band of a fault, by its index in the plan.
fn band(plan: &LabPlan, number: usize) -> u16 {
    let before = delays(plan).take_while(|(index, ..)| *index < number);
    let before = u16::try_from(before.count()).unwrap_or(u16::MAX - ORDINARY - 1);
    ORDINARY + 1 + before
}

fn spots(network: &Network, path: &Path) -> Result<Vec<Spot>, LabError> {
    let ways = path::ways(path).iter();
    ways.map(|way| path::spot(network, &path.place, *way, Direction::Egress))
        .collect()
}

/// Lays the bands that the delays of `plan` will need. `in_guest`: the fabric's ports have a latency, and keep it.
///
/// # Errors
/// [`LabError::Missing`] if the kernel has no netem or no prio.
pub(in crate::lab) fn prepare(
    network: &Network,
    plan: &LabPlan,
    in_guest: bool,
) -> Result<(), LabError> {
    let all = delays(plan).count();
    let mut laid: BTreeMap<(String, u32), Channel> = BTreeMap::new();
    for (number, fault, path, delay, jitter) in delays(plan) {
        for spot in spots(network, path)? {
            for link in &spot.links {
                let index = network.link_index(&spot.namespace, link)?;
                let key = (spot.namespace.name().to_owned(), index);
                if !laid.contains_key(&key) {
                    let on_fabric = Rc::ptr_eq(&spot.namespace, network.fabric());
                    let latency = latency::one_way(plan, in_guest).filter(|_| on_fabric);
                    let channel = bands(&spot.namespace, index, all, latency);
                    laid.insert(
                        key.clone(),
                        channel.map_err(|e| missing(e, &fault.location))?,
                    );
                }
                let Some(channel) = laid.get_mut(&key) else {
                    continue;
                };
                let request = netem(index, band(plan, number), delay, jitter);
                let done = channel.execute(vec![request]);
                done.map_err(|e| missing(e, &fault.location))?;
            }
        }
    }
    Ok(())
}

/// ENOENT is what the kernel says of a queueing discipline that it does not have.
fn missing(error: LabError, location: &Location) -> LabError {
    match error {
        LabError::Kernel { source, .. } if source.raw_os_error() == Some(libc::ENOENT) => {
            LabError::Missing {
                what: "netem and prio (CONFIG_NET_SCH_NETEM, CONFIG_NET_SCH_PRIO), for delay"
                    .to_owned(),
                location: Some(location.clone()),
            }
        }
        other => other,
    }
}

/// Puts the bands on a link: everything goes by the first until a fault says otherwise.
fn bands(
    namespace: &Namespace,
    index: u32,
    delays: usize,
    latency: Option<Duration>,
) -> Result<Channel, LabError> {
    let mut channel = Channel::open(namespace, NETLINK_ROUTE)?;
    // struct tc_prio_qopt: bands, and for each of 16 priorities its band, from 0.
    let count = u32::try_from(delays).unwrap_or(u32::MAX - 1) + 1;
    // prio has two bands at least.
    let mut options = count.max(2).to_ne_bytes().to_vec();
    options.extend([0; 16]);
    let root = qdisc(
        index,
        TcHandle::ROOT,
        Some(TcHandle::from(u32::from(BANDS) << 16)),
        "prio",
        options,
    );
    // The fabric's ports may have a latency there already.
    let mut requests = vec![request(root, NLM_F_CREATE | NLM_F_REPLACE, "prio")];
    if let Some(latency) = latency {
        requests.push(netem(index, ORDINARY, latency, Duration::ZERO));
    }
    channel.execute(requests)?;
    Ok(channel)
}

fn netem(index: u32, band: u16, delay: Duration, jitter: Duration) -> RouteRequest {
    let class = TcHandle::from(u32::from(BANDS) << 16 | u32::from(band));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    request(
        qdisc(index, class, None, "netem", netem_options(delay, jitter)),
        flags,
        "netem",
    )
}

/// struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), and the times again in nanoseconds.
fn netem_options(delay: Duration, jitter: Duration) -> Vec<u8> {
    let ticks = |time: Duration| u32::try_from(time.as_nanos() / TICK_NS).unwrap_or(u32::MAX);
    let mut options: Vec<u8> = [ticks(delay), LIMIT, 0, 0, 0, ticks(jitter)]
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect();
    for (kind, time) in [(TCA_NETEM_LATENCY64, delay), (TCA_NETEM_JITTER64, jitter)] {
        let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        options.extend(12_u16.to_ne_bytes());
        options.extend(kind.to_ne_bytes());
        options.extend(nanoseconds.to_ne_bytes());
    }
    options
}

fn qdisc(
    index: u32,
    parent: TcHandle,
    handle: Option<TcHandle>,
    kind: &str,
    options: Vec<u8>,
) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    if let Some(handle) = handle {
        message.header.handle = handle;
    }
    message.attributes = vec![
        TcAttribute::Kind(kind.to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)),
    ];
    message
}

fn request(message: TcMessage, flags: u16, what: &str) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        flags,
        format!("adding {what} to a link"),
    )
}

/// The packets of a path take the fault's band from now on.
pub(super) fn inject(
    network: &Network,
    plan: &LabPlan,
    number: usize,
    table: &str,
    path: &Path,
) -> Result<Cut, LabError> {
    let priority = u32::from(BANDS) << 16 | u32::from(band(plan, number));
    let egress = |_| Direction::Egress;
    let table = path::lay(network, table, path, egress, &[], Fate::Priority(priority))?;
    Ok(Cut::outside(table))
}
