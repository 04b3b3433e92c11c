//! Orphans: sockets that a lab has closed while their data or FIN was unacknowledged.
//!
//! The kernel goes on sending for them for minutes, and each holds its namespace for that long. A lab that ends
//! destroys them, so that its namespaces go with it. (A guest is switched off as a whole.)

use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::LabError;
use super::namespace::Namespace;
use super::netlink::{Channel, Request};

/// Destroys every orphan of `namespace`.
///
/// # Errors
/// If the kernel has no sock_diag, or no SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY).
pub(super) fn destroy(namespace: &Namespace) -> Result<(), LabError> {
    let mut channel = Channel::open(namespace, NETLINK_SOCK_DIAG)?;
    for (family, socket_id) in [
        (libc::AF_INET, SocketId::new_v4()),
        (libc::AF_INET6, SocketId::new_v6()),
    ] {
        let all = request(family, socket_id);
        let answers = channel
            .dump(SockDiagMessage::InetRequest(all))
            .map_err(LabError::kernel("listing orphaned sockets"))?;
        let ids = answers.into_iter().filter_map(|answer| match answer {
            SockDiagMessage::InetResponse(response) => Some(response.header.socket_id),
            _ => None,
        });
        let destroy = |id| {
            let message = SockDiagMessage::InetRequest(request(family, id));
            let message = SockDiagDestroy::new(message);
            // One that is gone by itself is as good.
            Request::new(message, 0, "destroying an orphaned socket").tolerate(libc::ENOENT)
        };
        channel.execute(ids.map(destroy).collect())?;
    }
    Ok(())
}

fn request(family: libc::c_int, socket_id: SocketId) -> InetRequest {
    InetRequest {
        family: u8::try_from(family).unwrap_or_default(),
        protocol: u8::try_from(libc::IPPROTO_TCP).unwrap_or_default(),
        extensions: ExtensionFlags::empty(),
        states: StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK,
        socket_id,
    }
}
