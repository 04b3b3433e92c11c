//! A node's connections as conntrack has them, and forgetting some.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::LinuxError;
use super::namespace::Namespace;
use super::netlink::{Channel, Request};

/// A connection: its first packet's addresses, and those of what comes back.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it comes from.
    pub(crate) from: SocketAddr,
    /// Where it was sent to.
    pub(crate) to: SocketAddr,
    /// Where answers come from: its endpoint after DNAT.
    pub(crate) endpoint: SocketAddr,
    /// Whether it is established: neither being opened nor being closed.
    pub(crate) established: bool,
    /// How long it will still be known if nothing is sent on it, at least; it may be a second more.
    pub(crate) left: Duration,
    original: Vec<Tuple>,
}

/// TCP_CONNTRACK_ESTABLISHED.
const ESTABLISHED: u8 = 3;

/// The connections of `namespace`.
///
/// # Errors
/// If the kernel does not list them.
pub(crate) fn list(namespace: &Namespace) -> Result<Vec<Entry>, LinuxError> {
    let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
    let mut entries = Vec::new();
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let answers = channel
            .dump(message(family, ConntrackMessage::Get(Vec::new())))
            .map_err(LinuxError::kernel(format!(
                "listing the connections of {}",
                namespace.name()
            )))?;
        entries.extend(answers.into_iter().filter_map(entry));
    }
    Ok(entries)
}

/// Forgets those connections of `namespace` for which `wanted` holds. Returns how many.
///
/// # Errors
/// If the kernel does not list or forget them.
pub(crate) fn delete(
    namespace: &Namespace,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<usize, LinuxError> {
    let doomed: Vec<_> = list(namespace)?.into_iter().filter(|e| wanted(e)).collect();
    let count = doomed.len();
    let requests = doomed.into_iter().map(|entry| {
        let family = match entry.from.is_ipv4() {
            true => NetfilterProtoFamily::IPv4,
            false => NetfilterProtoFamily::IPv6,
        };
        let original = ConntrackAttribute::CtaTupleOrig(entry.original);
        let delete = message(family, ConntrackMessage::Delete(vec![original]));
        // One that is gone by itself is as good.
        Request::new(delete, 0, "forgetting a connection").tolerate(libc::ENOENT)
    });
    Channel::open(namespace, NETLINK_NETFILTER)?.execute(requests.collect())?;
    Ok(count)
}

fn message(family: NetfilterProtoFamily, message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

/// A TCP connection; others have no ports to tell them by, and no client of ours has one.
fn entry(message: NetfilterMessage) -> Option<Entry> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return None;
    };
    let (mut original, mut reply) = (None, None);
    let (mut established, mut left) = (false, 0);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTimeout(seconds) => left = seconds,
            ConntrackAttribute::CtaProtoInfo(about) => {
                established = about.iter().any(|about| match about {
                    ProtoInfo::TCP(tcp) => tcp.contains(&ProtoInfoTCP::State(ESTABLISHED)),
                    _ => false,
                });
            }
            ConntrackAttribute::CtaTupleOrig(tuples) => original = Some(tuples),
            ConntrackAttribute::CtaTupleReply(tuples) => reply = Some(tuples),
            _ => {}
        }
    }
    let original = original?;
    let (from, to) = ends(&original)?;
    let (endpoint, _) = ends(&reply?)?;
    Some(Entry {
        from,
        to,
        endpoint,
        established,
        left: Duration::from_secs(left.into()),
        original,
    })
}

/// Source and destination of a tuple.
fn ends(tuples: &[Tuple]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut source, mut destination): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut source_port, mut destination_port) = (None, None);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => source = Some(*address),
                        IPTuple::DestinationAddress(address) => destination = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::SourcePort(port) => source_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => destination_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((
        SocketAddr::new(source?, source_port?),
        SocketAddr::new(destination?, destination_port?),
    ))
}
