//! Links, addresses, routes and neighbours as netlink messages.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage, State,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteScope};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    LinkBridge, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::netlink::{Channel, Request};

/// Index of `lo` in every namespace.
pub(crate) const LOOPBACK: u32 = 1;
/// Index of a node's or a pod's `eth0`, and of the fabric's bridge: the lab chooses indices itself, so it never has to
/// ask for one. Well above the devices that a kernel with tunnels puts into a new namespace by
/// itself (`tunl0`, `sit0`, `gre0`, …), which take the first numbers.
pub(crate) const ETH0: u32 = 100;

/// The group of notifications about links.
const RTNLGRP_LINK: u32 = 1;
/// The group of notifications about IPv6 addresses.
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// A request to NETLINK_ROUTE.
pub(crate) type RouteRequest = Request<RouteNetlinkMessage>;

/// One end of a veth pair.
pub(crate) struct VethEnd<'a> {
    /// Interface name.
    pub(crate) name: &'a str,
    /// Interface index.
    pub(crate) index: u32,
    /// Link-layer address: chosen, so that a lab is the same on every run.
    pub(crate) mac: [u8; 6],
}

impl VethEnd<'_> {
    /// What is sent by it are packets as on a wire: the kernel would pass up to 64 KiB of a stream as one (GSO), and a fault
    /// would lose or delay all of that at once.
    fn message(&self) -> LinkMessageBuilder<LinkVeth> {
        LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(self.name)
            .index(self.index)
            .address(self.mac.to_vec())
            .append_extra_attribute(LinkAttribute::GsoMaxSegs(1))
    }
}

/// A veth pair in one message: `near` here (a port of bridge `master`, if given), `far` in the namespace held by
/// `far_namespace`. The near end is up; the far end can't be, until the pair is complete: see [`set_up`].
pub(crate) fn veth(
    near: &VethEnd<'_>,
    master: Option<u32>,
    far: &VethEnd<'_>,
    far_namespace: RawFd,
) -> RouteRequest {
    let peer = far.message().setns_by_fd(far_namespace).build();
    let mut message = near
        .message()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .up();
    if let Some(master) = master {
        message = message.controller(master);
    }
    create(
        RouteNetlinkMessage::NewLink(message.build()),
        format!("creating the veth pair {} - {}", near.name, far.name),
    )
}

/// A bridge that forwards from its first packet: no spanning tree, no delay, no multicast snooping.
pub(crate) fn bridge(name: &str, index: u32, mac: [u8; 6]) -> RouteRequest {
    let message = LinkBridge::new(name)
        .index(index)
        .address(mac.to_vec())
        .forward_delay(0)
        .stp_state(BridgeStpState::Disabled)
        .append_info_data(InfoBridge::MulticastSnooping(false))
        .up();
    create(
        RouteNetlinkMessage::NewLink(message.build()),
        format!("creating the bridge {name}"),
    )
}

/// A link that leads nowhere, for addresses that are to be this namespace's own. It is up.
pub(crate) fn dummy(name: &str, index: u32) -> RouteRequest {
    let message = LinkDummy::new(name).index(index).up();
    create(
        RouteNetlinkMessage::NewLink(message.build()),
        format!("creating the dummy link {name} (CONFIG_DUMMY)"),
    )
}

/// Brings a link up.
pub(crate) fn set_up(index: u32) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).up().build()),
        0,
        format!("bringing link {index} up"),
    )
}

/// Takes a link down; its other end loses its carrier.
pub(crate) fn set_down(index: u32) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).down().build()),
        0,
        format!("taking link {index} down"),
    )
}

/// An address on a link. See [`wait_for_addresses`].
pub(crate) fn address(index: u32, address: IpAddr, prefix: u8) -> RouteRequest {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    create(
        RouteNetlinkMessage::NewAddress(message),
        format!("adding the address {address}/{prefix}"),
    )
}

/// Takes an address off a link; not having it is fine.
pub(crate) fn no_address(index: u32, address: IpAddr, prefix: u8) -> RouteRequest {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address)];
    Request::new(
        RouteNetlinkMessage::DelAddress(message),
        0,
        format!("removing the address {address}/{prefix}"),
    )
    .tolerate(libc::EADDRNOTAVAIL)
}

/// Where a route's packets go next.
#[derive(Clone, Copy)]
pub(crate) enum Via {
    /// To a router on the link.
    Router(IpAddr),
    /// To the destination itself: it is on the link.
    Link,
}

/// A route to `network`/`prefix` out of link `index`.
pub(crate) fn route(network: IpAddr, prefix: u8, via: Via, index: u32) -> RouteRequest {
    let mut builder = RouteMessageBuilder::<IpAddr>::new().output_interface(index);
    let message = builder.get_mut();
    message.header.address_family = family(network);
    message.header.destination_prefix_length = prefix;
    if prefix != 0 {
        let destination = RouteAttribute::Destination(network.into());
        message.attributes.push(destination);
    }
    let message = match via {
        Via::Router(router) => {
            let gateway = RouteAttribute::Gateway(router.into());
            message.attributes.push(gateway);
            builder.onlink()
        }
        Via::Link if network.is_ipv4() => builder.scope(RouteScope::Link),
        Via::Link => builder,
    };
    create(
        RouteNetlinkMessage::NewRoute(message.build()),
        format!("adding the route to {network}/{prefix}"),
    )
}

/// Waits until links that are up have a carrier, and the kernel has taken note of it.
///
/// It does so in a worker of its own, some time after the second end of a veth pair came up; until then the first
/// end swallows packets, and its bridge takes it for unplugged. A SYN lost there would cost a second. Since Linux 6.8
/// asking for a link's state makes the kernel take note at once; before, its notification has to be waited for.
pub(crate) fn wait_for_carrier(channel: &mut Channel, links: &[u32]) -> io::Result<()> {
    for &index in links {
        wait_until(channel, RTNLGRP_LINK, |channel| has_carrier(channel, index))?;
    }
    Ok(())
}

/// Asks for a link's state, which since Linux 6.8 makes the kernel take note of its carrier at once.
pub(crate) fn note_carrier(channel: &mut Channel, index: u32) -> io::Result<()> {
    has_carrier(channel, index).map(drop)
}

fn has_carrier(channel: &mut Channel, index: u32) -> io::Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let answers = channel.get(RouteNetlinkMessage::GetLink(message))?;
    let states = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(&link.attributes),
        _ => None,
    });
    Ok(states
        .flatten()
        .any(|attribute| *attribute == LinkAttribute::OperState(State::Up)))
}

/// Waits until no IPv6 address is tentative.
///
/// Even without duplicate address detection the kernel completes an address in a worker of its own; until then it does
/// not hear solicitations for it, and the solicitor asks again after a second.
pub(crate) fn wait_for_addresses(channel: &mut Channel) -> io::Result<()> {
    wait_until(channel, RTNLGRP_IPV6_IFADDR, |channel| {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        let addresses = channel.dump(RouteNetlinkMessage::GetAddress(message))?;
        let tentative = addresses.iter().any(|address| match address {
            RouteNetlinkMessage::NewAddress(address) => {
                address.header.flags.contains(AddressHeaderFlags::Tentative)
            }
            _ => false,
        });
        Ok(!tentative)
    })
}

/// Waits for notifications of `group` until `done` holds: mostly it does at once.
fn wait_until(
    channel: &mut Channel,
    group: u32,
    mut done: impl FnMut(&mut Channel) -> io::Result<bool>,
) -> io::Result<()> {
    if done(channel)? {
        return Ok(());
    }
    // What changes between a look and the wait after it is notified as well, and not lost.
    channel.subscribe(group)?;
    while !done(channel)? {
        channel.wait()?;
    }
    Ok(())
}

/// A neighbour on a link that is never asked for: a permanent entry, which no fault but [`forget_neighbour`] ends, and which
/// the machine's limit of neighbours does not count.
pub(crate) fn neighbour(index: u32, address: IpAddr, mac: [u8; 6]) -> RouteRequest {
    let mut message = neighbour_message(index, address);
    message.header.state = NeighbourState::Permanent;
    let link_layer = NeighbourAttribute::LinkLayerAddress(mac.to_vec());
    message.attributes.push(link_layer);
    Request::new(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
        format!("adding the neighbour {address}"),
    )
}

/// The neighbours on a link whose link-layer addresses are known.
///
/// # Errors
/// If the kernel does not list them.
pub(crate) fn neighbours(channel: &mut Channel, index: u32) -> io::Result<Vec<(IpAddr, Vec<u8>)>> {
    let answers = channel.dump(RouteNetlinkMessage::GetNeighbour(
        NeighbourMessage::default(),
    ))?;
    let found = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => {
            Some(message.attributes)
        }
        _ => None,
    });
    Ok(found.filter_map(|attributes| known(&attributes)).collect())
}

fn known(attributes: &[NeighbourAttribute]) -> Option<(IpAddr, Vec<u8>)> {
    let (mut ip, mut mac) = (None, None);
    for attribute in attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                ip = Some(IpAddr::V4(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                ip = Some(IpAddr::V6(*address));
            }
            NeighbourAttribute::LinkLayerAddress(address) => mac = Some(address.clone()),
            _ => {}
        }
    }
    Some((ip?, mac?))
}

/// Forgets a neighbour; not having known it is fine.
pub(crate) fn forget_neighbour(index: u32, address: IpAddr) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::DelNeighbour(neighbour_message(index, address)),
        0,
        format!("forgetting the neighbour {address}"),
    )
    .tolerate(libc::ENOENT)
}

fn neighbour_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    message
}

fn create(message: RouteNetlinkMessage, doing: String) -> RouteRequest {
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL, doing)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}
