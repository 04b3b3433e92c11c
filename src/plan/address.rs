//! Who has which address.
//!
//! Nodes are numbered from 1 in the file's order. Node N is 10.0.0.N and fd00:10::N on the fabric; its pods are in
//! 192.168.N.0/24 and fd00:192:168:N::/64, the first address of each being the gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most nodes a scenario can have: the fabric is a /24.
pub const MAX_NODES: usize = 254;
/// Most pods a node can have: its pod network is a /24 with a gateway.
pub const MAX_PODS: usize = 253;

/// Address of node `index` on the fabric.
#[must_use]
pub fn node(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, index)
}

/// IPv6 address of node `index` on the fabric. The number is written as in the IPv4 address: node 12 is fd00:10::12.
#[must_use]
pub fn node6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, as_written(index))
}

/// Network of node `index`'s pods.
#[must_use]
pub fn pod_network(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, index, 0)
}

/// IPv6 network of node `index`'s pods.
#[must_use]
pub fn pod_network6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x192, 0x168, as_written(index), 0, 0, 0, 0)
}

/// Address of the `n`-th pod (from 0) of node `index`.
#[must_use]
pub fn pod(index: u8, n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, index, n + 2)
}

/// IPv6 address of the `n`-th pod (from 0) of node `index`.
#[must_use]
pub fn pod6(index: u8, n: u8) -> Ipv6Addr {
    Ipv6Addr::new(
        0xfd00,
        0x192,
        0x168,
        as_written(index),
        0,
        0,
        0,
        as_written(n + 2),
    )
}

/// The number whose hexadecimal digits are `n`'s decimal ones.
fn as_written(n: u8) -> u16 {
    let n = u16::from(n);
    ((n / 100) << 8) | ((n / 10 % 10) << 4) | (n % 10)
}

/// What already has `address` in a lab of `nodes` nodes, in words; `None` = free for a service.
#[must_use]
pub fn taken_by(address: IpAddr, nodes: usize) -> Option<String> {
    let index_of = |same: &dyn Fn(u8) -> bool| {
        (1..=nodes.min(MAX_NODES))
            .filter_map(|n| u8::try_from(n).ok())
            .find(|n| same(*n))
    };
    match address {
        _ if address.is_unspecified() => Some("no host can have it".to_owned()),
        _ if address.is_loopback() => Some("it is a loopback address".to_owned()),
        _ if address.is_multicast() => Some("it is a multicast address".to_owned()),
        IpAddr::V4(a) if a.is_broadcast() || a.is_link_local() || a.octets()[0] >= 240 => {
            Some("it is reserved".to_owned())
        }
        IpAddr::V4(a) if a.octets()[..3] == [10, 0, 0] => {
            Some("it lies in the nodes' network 10.0.0.0/24".to_owned())
        }
        IpAddr::V4(a) => index_of(&|n| a.octets()[..3] == pod_network(n).octets()[..3]).map(|n| {
            format!(
                "it lies in the pod network {}/24 of node {n}",
                pod_network(n)
            )
        }),
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("it is link-local".to_owned()),
        IpAddr::V6(a) if a.segments()[..4] == [0xfd00, 0x10, 0, 0] => {
            Some("it lies in the nodes' network fd00:10::/64".to_owned())
        }
        IpAddr::V6(a) => {
            index_of(&|n| a.segments()[..4] == pod_network6(n).segments()[..4]).map(|n| {
                format!(
                    "it lies in the pod network {}/64 of node {n}",
                    pod_network6(n)
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_a_cluster() {
        assert_eq!(node(3).to_string(), "10.0.0.3");
        assert_eq!(node6(12).to_string(), "fd00:10::12");
        assert_eq!(pod(1, 0).to_string(), "192.168.1.2");
        assert_eq!(pod6(1, 252).to_string(), "fd00:192:168:1::254");
    }

    #[test]
    fn a_service_address_must_be_free() {
        let taken = |a: &str| taken_by(a.parse().expect("an address"), 3);
        assert_eq!(taken("192.168.255.220"), None);
        assert_eq!(taken("fd00:ff::1"), None);
        assert!(taken("192.168.3.9").is_some_and(|why| why.contains("node 3")));
        assert_eq!(taken("192.168.4.9"), None);
        assert!(taken("10.0.0.77").is_some());
        assert!(taken("fd00:192:168:2::5").is_some());
        assert!(taken("127.0.0.1").is_some());
        assert!(taken("::").is_some());
    }
}
