//! Connections to services, as a node's conntrack has them.
//!
//! An entry outlives its endpoint: as long as it lives, whatever comes from the same address and port goes where it says,
//! a new connection as well.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol,
    Status, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use crate::linux::netlink::Channel;
use crate::record::Flow;

/// conntrack's names of its TCP states, in the order of its numbers.
const STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// The TCP connections to `services` that the namespace of `channel`, a netfilter socket, knows of; by their clients'
/// addresses.
///
/// # Errors
/// If the kernel does not give its table.
pub(crate) fn flows(channel: &mut Channel, services: &[SocketAddr]) -> io::Result<Vec<Flow>> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let ask = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    let table = channel.dump(ask)?;
    let mut flows: Vec<Flow> = table
        .into_iter()
        .filter_map(|message| match message.inner {
            // What a dump answers with has the type of a notification of something new.
            NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
                flow(&attributes)
            }
            _ => None,
        })
        .filter(|flow| services.contains(&flow.to))
        .collect();
    flows.sort_by_key(|flow| (flow.to, flow.from));
    Ok(flows)
}

/// Who sends from `from` to `to` in truth, by the conntrack of the node that masquerades it: the namespace of `channel`.
/// `None` if that knows of nothing.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn masqueraded(
    channel: &mut Channel,
    from: SocketAddr,
    to: SocketAddr,
) -> io::Result<Option<SocketAddr>> {
    let family = match from {
        SocketAddr::V4(_) => NetfilterProtoFamily::IPv4,
        SocketAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    // A reply would go the other way.
    let reply = ConntrackAttribute::CtaTupleReply(vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(to.ip()),
            IPTuple::DestinationAddress(from.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(to.port()),
            ProtoTuple::DestinationPort(from.port()),
        ]),
    ]);
    let header = NetfilterHeader::new(family, 0, 0);
    let ask = NetfilterMessage::new(header, ConntrackMessage::Get(vec![reply]));
    let found = match channel.get(ask) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        found => found?,
    };
    Ok(found.into_iter().find_map(|message| match message.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
            flow(&attributes).map(|flow| flow.from)
        }
        _ => None,
    }))
}

/// An entry; `None` if it is none of TCP.
fn flow(attributes: &[ConntrackAttribute]) -> Option<Flow> {
    let (mut forth, mut back, mut state, mut timeout_s, mut status) =
        (None, None, None, 0, Status::empty());
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => forth = ends(tuples),
            ConntrackAttribute::CtaTupleReply(tuples) => back = ends(tuples),
            ConntrackAttribute::CtaProtoInfo(infos) => state = tcp_state(infos),
            ConntrackAttribute::CtaTimeout(seconds) => timeout_s = *seconds,
            ConntrackAttribute::CtaStatus(bits) => status = *bits,
            _ => {}
        }
    }
    let ((from, to), (endpoint, _)) = (forth?, back?);
    Some(Flow {
        from,
        to,
        endpoint,
        state: state?,
        timeout_s,
        assured: status.contains(Status::Assured),
    })
}

/// Source and destination of a direction, if it is one of TCP.
fn ends(tuples: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut addresses, mut ports, mut tcp) = ((None, None), (None, None), false);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => addresses.0 = Some(*address),
                        IPTuple::DestinationAddress(address) => addresses.1 = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(protocol) => tcp = *protocol == Protocol::Tcp,
                        ProtoTuple::SourcePort(port) => ports.0 = Some(*port),
                        ProtoTuple::DestinationPort(port) => ports.1 = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let end = |address: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(address?, port?));
    let from = end(addresses.0, ports.0)?;
    let to = end(addresses.1, ports.1)?;
    tcp.then_some((from, to))
}

fn tcp_state(infos: &[ProtoInfo]) -> Option<String> {
    let parts = infos.iter().find_map(|info| match info {
        ProtoInfo::TCP(parts) => Some(parts),
        _ => None,
    })?;
    let number = parts.iter().find_map(|part| match part {
        ProtoInfoTCP::State(number) => Some(*number),
        _ => None,
    })?;
    let known = STATES.get(usize::from(number));
    Some(known.map_or_else(|| number.to_string(), |name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(from: &str, to: &str, protocol: Protocol) -> Vec<Tuple> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress(from.ip()),
                IPTuple::DestinationAddress(to.ip()),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(protocol),
                ProtoTuple::SourcePort(from.port()),
                ProtoTuple::DestinationPort(to.port()),
            ]),
        ]
    }

    fn entry(protocol: Protocol) -> Vec<ConntrackAttribute> {
        let (client, service) = ("192.168.1.2:40000", "192.168.255.220:443");
        let endpoint = "192.168.3.2:6443";
        vec![
            ConntrackAttribute::CtaTupleOrig(direction(client, service, protocol)),
            ConntrackAttribute::CtaTupleReply(direction(endpoint, client, protocol)),
            ConntrackAttribute::CtaStatus(Status::SeenReply | Status::Assured),
            ConntrackAttribute::CtaTimeout(299),
            ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(vec![ProtoInfoTCP::State(3)])]),
        ]
    }

    #[test]
    fn the_endpoint_is_where_answers_come_from() {
        let expected = Flow {
            from: "192.168.1.2:40000".parse().unwrap(),
            to: "192.168.255.220:443".parse().unwrap(),
            endpoint: "192.168.3.2:6443".parse().unwrap(),
            state: "ESTABLISHED".to_owned(),
            timeout_s: 299,
            assured: true,
        };
        assert_eq!(flow(&entry(Protocol::Tcp)), Some(expected));
        assert_eq!(flow(&entry(Protocol::Udp)), None);
    }

    #[test]
    fn an_entry_that_is_not_whole_is_none() {
        let whole = entry(Protocol::Tcp);
        for missing in [0, 1, 4] {
            let mut entry = whole.clone();
            entry.remove(missing);
            assert_eq!(flow(&entry), None, "{missing}");
        }
    }
}
