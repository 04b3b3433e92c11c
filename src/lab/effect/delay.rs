//! Packets take longer: netem, in a band of its own on each link where a path's packets go out.
//!
//! The bands are there from the start, for exchanging a queueing discipline loses what is in it. An effect only has the
//! packets it means take its band, and what is in there when it ends still arrives.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use netlink_packet_route::tc::TcHandle;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::path::{self, Spot};
use super::{Act, Guard, Site};
use crate::lab::network::Network;
use crate::lab::{LabError, latency};
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::linux::netem::{self, Netem};
use crate::linux::netlink::Channel;
use crate::linux::nft::{Direction, Fate};
use crate::plan::{Effect, LabPlan, Location, Path};

/// Handle of the queueing discipline with the bands.
const BANDS: u16 = 1;
/// The band of all that nothing delays.
const ORDINARY: u16 = 1;
/// Packets that may be on their way in a band.
const LIMIT: u32 = 100_000;

/// [`Effect::Delay`]. By how much, the band knows.
pub(super) struct Delay<'a> {
    pub(super) path: &'a Path,
}

impl Act for Delay<'_> {
    /// The packets of a path take the effect's band from now on.
    fn cut(&self, network: &Network, plan: &LabPlan, site: Site) -> Result<Guard, LabError> {
        let fate = Fate::Priority(netem::class(BANDS, band(plan, site)));
        let egress = |_| Direction::Egress;
        let table = path::lay(network, &site.table(), self.path, egress, &[], fate)?;
        Ok(Guard::outside(table))
    }

    fn silences(&self) -> bool {
        false
    }
}

/// A delay of a plan.
struct Planned<'a> {
    site: Site,
    location: &'a Location,
    path: &'a Path,
    netem: Netem,
}

/// The delays of a plan, in its order.
fn delays(plan: &LabPlan) -> Vec<Planned<'_>> {
    let mut all = Vec::new();
    for (number, fault) in plan.faults.iter().enumerate() {
        for (n, effect) in fault.effects.iter().enumerate() {
            if let Effect::Delay {
                path,
                delay,
                jitter,
            } = effect
            {
                all.push(Planned {
                    site: Site {
                        fault: number,
                        effect: n,
                    },
                    location: &fault.location,
                    path,
                    netem: Netem {
                        delay: *delay,
                        jitter: *jitter,
                        limit: LIMIT,
                    },
                });
            }
        }
    }
    all
}

/// The band of an effect.
fn band(plan: &LabPlan, site: Site) -> u16 {
    let delays = delays(plan);
    let before = delays.iter().take_while(|delay| delay.site != site);
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
/// [`LinuxError::Missing`] if the kernel has no netem or no prio.
pub(in crate::lab) fn prepare(
    network: &Network,
    plan: &LabPlan,
    in_guest: bool,
) -> Result<(), LabError> {
    let delays = delays(plan);
    let mut laid: BTreeMap<(String, u32), Channel> = BTreeMap::new();
    for delay in &delays {
        for spot in spots(network, delay.path)? {
            for link in &spot.links {
                let index = network.link_index(&spot.namespace, link)?;
                let key = (spot.namespace.name().to_owned(), index);
                if !laid.contains_key(&key) {
                    let on_fabric = Rc::ptr_eq(&spot.namespace, network.fabric());
                    let latency = latency::one_way(plan, in_guest).filter(|_| on_fabric);
                    let channel = bands(&spot.namespace, index, delays.len(), latency);
                    laid.insert(
                        key.clone(),
                        channel.map_err(|e| missing(e, delay.location))?,
                    );
                }
                let Some(channel) = laid.get_mut(&key) else {
                    continue;
                };
                let class = netem::class(BANDS, band(plan, delay.site));
                let request = delay.netem.add(index, TcHandle::from(class));
                let done = channel.execute(vec![request]);
                done.map_err(|e| missing(e, delay.location))?;
            }
        }
    }
    Ok(())
}

fn missing(error: LinuxError, location: &Location) -> LabError {
    LabError::Linux(match netem::is_missing(&error) {
        true => LinuxError::Missing {
            what: "netem and prio (CONFIG_NET_SCH_NETEM, CONFIG_NET_SCH_PRIO), for delay"
                .to_owned(),
            location: Some(location.clone()),
        },
        false => error,
    })
}

/// Puts the bands on a link: everything goes by the first until an effect says otherwise.
fn bands(
    namespace: &Namespace,
    index: u32,
    delays: usize,
    latency: Option<Duration>,
) -> Result<Channel, LinuxError> {
    let mut channel = Channel::open(namespace, NETLINK_ROUTE)?;
    let count = u32::try_from(delays).unwrap_or(u32::MAX - 1) + 1;
    // The fabric's ports may have a latency there already.
    let mut requests = vec![netem::add_bands(index, BANDS, count)];
    if let Some(delay) = latency {
        let netem = Netem {
            delay,
            jitter: Duration::ZERO,
            limit: LIMIT,
        };
        requests.push(netem.add(index, TcHandle::from(netem::class(BANDS, ORDINARY))));
    }
    channel.execute(requests)?;
    Ok(channel)
}
