//! Gratuitous ARP: an address has moved, says who has it now (RFC 5227, section 3).

use std::mem::{size_of, zeroed};
use std::net::Ipv4Addr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::LinuxError;
use super::namespace::Namespace;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERNET: u16 = 1;
const ETHERTYPE_IPV4: u16 = 0x0800;
const REQUEST: u16 = 1;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Says to everyone on the link with index `link` that `address` is at `mac`.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel has no AF_PACKET sockets, [`LinuxError::Kernel`] if it does not send.
pub(crate) fn announce(
    namespace: &Namespace,
    link: u32,
    mac: [u8; 6],
    address: Ipv4Addr,
) -> Result<(), LinuxError> {
    let socket = namespace.enter(|| {
        let arp = i32::from(ETHERTYPE_ARP.to_be());
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(arp)))
    });
    let socket = socket.map_err(LinuxError::kernel(format!(
        "opening a packet socket in {}",
        namespace.name()
    )))?;
    socket
        .send_to(&frame(mac, address), &link_layer(link))
        .map(drop)
        .map_err(LinuxError::kernel(format!(
            "announcing {address} in {}",
            namespace.name()
        )))
}

/// A request from `address` for itself, which updates whoever knows it.
fn frame(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend(ETHERNET.to_be_bytes());
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    // Lengths of both kinds of addresses.
    frame.extend([6, 4]);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// Everybody on a link, as a packet socket is told of it.
fn link_layer(link: u32) -> SockAddr {
    // SAFETY: sockaddr_ll is plain data; zero is a value of each of its fields.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETHERTYPE_ARP.to_be();
    address.sll_ifindex = link.cast_signed();
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&BROADCAST);
    // SAFETY: the storage holds any socket address; the length set is that of the one written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            length.write(size_of::<libc::sockaddr_ll>() as libc::socklen_t);
            Ok(())
        })
    }
    .expect("the closure does not fail");
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_everybody_for_the_address_that_it_has() {
        let mac = [2, 0, 0, 2, 0, 3];
        let frame = frame(mac, Ipv4Addr::new(192, 168, 255, 100));
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "ffffffffffff0200000200030806000108000604000102000002\
             0003c0a8ff64000000000000c0a8ff64"
        );
    }
}
