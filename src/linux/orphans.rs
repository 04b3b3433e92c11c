//! Orphans: sockets that a lab has closed while their data or FIN was unacknowledged.
//!
//! The kernel goes on sending for them for minutes, and each holds its namespace for that long. A lab that ends
//! destroys them, so that its namespaces go with it. (A guest is switched off as a whole.)

use std::net::SocketAddr;

use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::LinuxError;
use super::namespace::Namespace;
use super::netlink::{Channel, Request};

/// Destroys every orphan of `namespace`.
///
/// # Errors
/// If the kernel has no sock_diag, or no SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY).
pub(crate) fn destroy(namespace: &Namespace) -> Result<(), LinuxError> {
    let orphaned =
        StateFlags::FIN_WAIT1 | StateFlags::FIN_WAIT2 | StateFlags::CLOSING | StateFlags::LAST_ACK;
    destroy_where(namespace, orphaned, |_, _| true).map(drop)
}

/// Destroys the TCP sockets of `namespace` that are in one of `states` and for whose addresses (own, peer's) `wanted`
/// holds. Returns how many.
///
/// # Errors
/// As [`destroy`].
pub(crate) fn destroy_where(
    namespace: &Namespace,
    states: StateFlags,
    wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
) -> Result<usize, LinuxError> {
    let mut channel = Channel::open(namespace, NETLINK_SOCK_DIAG)?;
    let mut destroyed = 0;
    for (family, socket_id) in [
        (libc::AF_INET, SocketId::new_v4()),
        (libc::AF_INET6, SocketId::new_v6()),
    ] {
        let all = request(family, socket_id, states.clone());
        let answers = channel
            .dump(SockDiagMessage::InetRequest(all))
            .map_err(LinuxError::kernel("listing sockets"))?;
        let ids = answers.into_iter().filter_map(|answer| match answer {
            SockDiagMessage::InetResponse(response) => Some(response.header.socket_id),
            _ => None,
        });
        let ids: Vec<_> = ids
            .filter(|id| {
                let own = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
                let peer = id.destination_address.to_canonical();
                wanted(own, SocketAddr::new(peer, id.destination_port))
            })
            .collect();
        destroyed += ids.len();
        let destroy = |id| {
            let message = SockDiagMessage::InetRequest(request(family, id, states.clone()));
            let message = SockDiagDestroy::new(message);
            // One that is gone by itself is as good.
            Request::new(message, 0, "destroying a socket").tolerate(libc::ENOENT)
        };
        channel.execute(ids.into_iter().map(destroy).collect())?;
    }
    Ok(destroyed)
}

fn request(family: libc::c_int, socket_id: SocketId, states: StateFlags) -> InetRequest {
    InetRequest {
        family: u8::try_from(family).unwrap_or_default(),
        protocol: u8::try_from(libc::IPPROTO_TCP).unwrap_or_default(),
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}
