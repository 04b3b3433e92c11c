//! Connections that a program has closed while its data was being sent again in vain. Linux 6.18 keeps the FIN back
//! behind that data, so the wire shows nothing for as long as the orphan lives: only the socket's state does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};

use crate::lab::netlink::Channel;

/// Least and longest time between two looks.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);

/// Time until the next look, for data that has been sent again for `busy`: a hundredth of it, so that the time of a
/// closing is known to a hundredth, and 15 minutes cost some hundred looks.
pub(super) fn pause(busy: Duration) -> Duration {
    (busy / 100).clamp(SOONEST, LATEST)
}

/// Own addresses of the sockets that were closed by their programs and are not gone yet.
///
/// # Errors
/// As sock_diag(7).
pub(super) fn closing(channel: &mut Channel) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for (family, socket_id) in [
        (libc::AF_INET, SocketId::new_v4()),
        (libc::AF_INET6, SocketId::new_v6()),
    ] {
        let request = InetRequest {
            family: family as u8,
            protocol: libc::IPPROTO_TCP as u8,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::FIN_WAIT1 | StateFlags::LAST_ACK | StateFlags::CLOSING,
            socket_id,
        };
        for answer in channel.dump(SockDiagMessage::InetRequest(request))? {
            if let SockDiagMessage::InetResponse(response) = answer {
                let id = &response.header.socket_id;
                found.push(SocketAddr::new(
                    id.source_address.to_canonical(),
                    id.source_port,
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_costs_hundreds_of_looks_and_not_thousands() {
        let (mut busy, mut looks) = (Duration::ZERO, 0);
        while busy < Duration::from_secs(940) {
            busy += pause(busy);
            looks += 1;
        }
        assert!((300..800).contains(&looks), "{looks}");
    }
}
