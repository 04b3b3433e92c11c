//! Links, addresses, routes and neighbours as netlink messages.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

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
    fn message(&self) -> LinkMessage {
        let mut message = up(self.index);
        message.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::Address(self.mac.to_vec()),
        ];
        message
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
    let mut peer = far.message();
    peer.header.flags = LinkFlags::empty();
    peer.header.change_mask = LinkFlags::empty();
    peer.attributes.push(LinkAttribute::NetNsFd(far_namespace));
    let mut message = near.message();
    if let Some(master) = master {
        message.attributes.push(LinkAttribute::Controller(master));
    }
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    create(
        RouteNetlinkMessage::NewLink(message),
        format!("creating the veth pair {} - {}", near.name, far.name),
    )
}

/// A bridge that forwards from its first packet: no spanning tree, no delay, no multicast snooping.
pub(crate) fn bridge(name: &str, index: u32, mac: [u8; 6]) -> RouteRequest {
    let mut message = up(index);
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::ForwardDelay(0),
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::MulticastSnooping(false),
            ])),
        ]),
    ];
    create(
        RouteNetlinkMessage::NewLink(message),
        format!("creating the bridge {name}"),
    )
}

/// Brings a link up.
pub(crate) fn set_up(index: u32) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::SetLink(up(index)),
        0,
        format!("bringing link {index} up"),
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
    let mut message = RouteMessage::default();
    message.header.address_family = family(network);
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match via {
        Via::Link if network.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    message.attributes.push(RouteAttribute::Oif(index));
    if prefix != 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(network.into()));
    }
    if let Via::Router(router) = via {
        message.header.flags = RouteFlags::Onlink;
        message
            .attributes
            .push(RouteAttribute::Gateway(router.into()));
    }
    create(
        RouteNetlinkMessage::NewRoute(message),
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

/// Forgets a neighbour; not having known it is fine.
pub(crate) fn forget_neighbour(index: u32, address: IpAddr) -> RouteRequest {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    Request::new(
        RouteNetlinkMessage::DelNeighbour(message),
        0,
        format!("forgetting the neighbour {address}"),
    )
    .tolerate(libc::ENOENT)
}

fn create(message: RouteNetlinkMessage, doing: String) -> RouteRequest {
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL, doing)
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
