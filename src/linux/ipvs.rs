//! IPVS, the kernel's own load balancer (include/uapi/linux/ip_vs.h): virtual services, their destinations, and the
//! connections that it sends to them, each of which it remembers for a time (`tcp_timeouts` in ip_vs_proto_tcp.c: 900 s
//! when established, 120 s after a FIN).

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, Nla as _};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::LinuxError;
use super::generic::{Generic, family, nested, parsed, text, value};
use super::namespace::Namespace;
use super::netlink::{Channel, Request};

const IPVS_GENL_NAME: &str = "IPVS";
const IPVS_GENL_VERSION: u8 = 1;

const IPVS_CMD_NEW_SERVICE: u8 = 1;
const IPVS_CMD_GET_SERVICE: u8 = 4;
const IPVS_CMD_NEW_DEST: u8 = 5;
const IPVS_CMD_SET_DEST: u8 = 6;
const IPVS_CMD_DEL_DEST: u8 = 7;
const IPVS_CMD_GET_DEST: u8 = 8;

const IPVS_CMD_ATTR_SERVICE: u16 = 1;
const IPVS_CMD_ATTR_DEST: u16 = 2;

const IPVS_SVC_ATTR_AF: u16 = 1;
const IPVS_SVC_ATTR_PROTOCOL: u16 = 2;
const IPVS_SVC_ATTR_ADDR: u16 = 3;
const IPVS_SVC_ATTR_PORT: u16 = 4;
const IPVS_SVC_ATTR_SCHED_NAME: u16 = 6;
const IPVS_SVC_ATTR_FLAGS: u16 = 7;
const IPVS_SVC_ATTR_TIMEOUT: u16 = 8;
const IPVS_SVC_ATTR_NETMASK: u16 = 9;

const IPVS_DEST_ATTR_ADDR: u16 = 1;
const IPVS_DEST_ATTR_PORT: u16 = 2;
const IPVS_DEST_ATTR_FWD_METHOD: u16 = 3;
const IPVS_DEST_ATTR_WEIGHT: u16 = 4;
const IPVS_DEST_ATTR_U_THRESH: u16 = 5;
const IPVS_DEST_ATTR_L_THRESH: u16 = 6;
const IPVS_DEST_ATTR_ACTIVE_CONNS: u16 = 7;
const IPVS_DEST_ATTR_INACT_CONNS: u16 = 8;
const IPVS_DEST_ATTR_ADDR_FAMILY: u16 = 11;

const IP_VS_SVC_F_PERSISTENT: u32 = 1;
/// The forwarding method that changes addresses as NAT does.
const IP_VS_CONN_F_MASQ: u32 = 0;
const TCP: u16 = 6;

/// Where IPVS shows its connections, to each namespace its own.
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";

/// A virtual service of TCP, whose connections go round its destinations (the scheduler `rr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VirtualService {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// For how long after a connection a client's next one goes where that went, if it does.
    pub(crate) persistent: Option<Duration>,
}

/// A destination of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// With 0 it gets no new connections.
    pub(crate) weight: u32,
    /// Connections that IPVS remembers of it, established ones and others.
    pub(crate) connections: u32,
}

/// A connection as IPVS remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Who opened it.
    pub(crate) from: SocketAddr,
    /// The service's address.
    pub(crate) to: SocketAddr,
    /// Where it is sent.
    pub(crate) destination: SocketAddr,
    /// IPVS' state of it, e.g. `ESTABLISHED`.
    pub(crate) state: String,
    /// Seconds until it is forgotten, if nothing more comes.
    pub(crate) expires_s: u32,
}

/// As `ipvsadm --save --numeric` writes it.
impl fmt::Display for VirtualService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A -t {} -s rr", self.address)?;
        match self.persistent {
            Some(time) => write!(f, " -p {}", time.as_secs()),
            None => Ok(()),
        }
    }
}

/// IPVS of a namespace.
pub(crate) struct Ipvs {
    namespace: Rc<Namespace>,
    channel: Channel,
    family: u16,
}

impl Ipvs {
    /// That of `namespace`.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] of a kernel without it.
    pub(crate) fn open(namespace: &Rc<Namespace>) -> Result<Self, LinuxError> {
        let mut channel = Channel::open(namespace, NETLINK_GENERIC)?;
        let found = family(&mut channel, IPVS_GENL_NAME)
            .map_err(LinuxError::kernel("looking for IPVS by generic netlink"))?;
        Ok(Self {
            family: found.ok_or_else(|| missing("IPVS (CONFIG_IP_VS, or the module ip_vs)"))?,
            namespace: Rc::clone(namespace),
            channel,
        })
    }

    /// Makes a service.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if the kernel has no scheduler `rr`, [`LinuxError::Kernel`] if it refuses the service.
    pub(crate) fn add_service(&mut self, service: &VirtualService) -> Result<(), LinuxError> {
        let (flags, time) = match service.persistent {
            Some(time) => (IP_VS_SVC_F_PERSISTENT, time.as_secs()),
            None => (0, 0),
        };
        let mut attributes = named(service.address);
        // struct ip_vs_flags: the flags, and which of them are meant.
        let mut both = flags.to_ne_bytes().to_vec();
        both.extend(u32::MAX.to_ne_bytes());
        attributes.extend([
            text(IPVS_SVC_ATTR_SCHED_NAME, "rr"),
            DefaultNla::new(IPVS_SVC_ATTR_FLAGS, both),
            number(
                IPVS_SVC_ATTR_TIMEOUT,
                u32::try_from(time).unwrap_or(u32::MAX),
            ),
            // Clients are told apart by their whole addresses.
            match service.address {
                SocketAddr::V4(_) => number(IPVS_SVC_ATTR_NETMASK, u32::MAX),
                SocketAddr::V6(_) => number(IPVS_SVC_ATTR_NETMASK, 128),
            },
        ]);
        let message = self.message(
            IPVS_CMD_NEW_SERVICE,
            vec![nested(IPVS_CMD_ATTR_SERVICE, &attributes)],
        );
        match self.execute(message, format!("making the service {}", service.address)) {
            Err(LinuxError::Kernel { source, .. })
                if source.raw_os_error() == Some(libc::ENOENT) =>
            {
                Err(missing("IPVS' scheduler rr (CONFIG_IP_VS_RR)"))
            }
            done => done,
        }
    }

    /// Adds a destination that gets connections.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn add(&mut self, service: SocketAddr, to: SocketAddr) -> Result<(), LinuxError> {
        self.change(IPVS_CMD_NEW_DEST, service, to, Some(1))
    }

    /// Has a destination get no more connections; those that it has stay.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn quiesce(
        &mut self,
        service: SocketAddr,
        to: SocketAddr,
    ) -> Result<(), LinuxError> {
        self.change(IPVS_CMD_SET_DEST, service, to, Some(0))
    }

    /// Deletes a destination.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub(crate) fn delete(&mut self, service: SocketAddr, to: SocketAddr) -> Result<(), LinuxError> {
        self.change(IPVS_CMD_DEL_DEST, service, to, None)
    }

    fn change(
        &mut self,
        command: u8,
        service: SocketAddr,
        to: SocketAddr,
        weight: Option<u32>,
    ) -> Result<(), LinuxError> {
        let mut destination = vec![
            DefaultNla::new(IPVS_DEST_ATTR_ADDR, octets(to.ip())),
            DefaultNla::new(IPVS_DEST_ATTR_PORT, to.port().to_be_bytes().to_vec()),
            DefaultNla::new(
                IPVS_DEST_ATTR_ADDR_FAMILY,
                address_family(to).to_ne_bytes().to_vec(),
            ),
        ];
        if let Some(weight) = weight {
            destination.extend([
                number(IPVS_DEST_ATTR_FWD_METHOD, IP_VS_CONN_F_MASQ),
                number(IPVS_DEST_ATTR_WEIGHT, weight),
                number(IPVS_DEST_ATTR_U_THRESH, 0),
                number(IPVS_DEST_ATTR_L_THRESH, 0),
            ]);
        }
        let attributes = vec![
            nested(IPVS_CMD_ATTR_SERVICE, &named(service)),
            nested(IPVS_CMD_ATTR_DEST, &destination),
        ];
        let message = self.message(command, attributes);
        self.execute(
            message,
            format!("changing the destination {to} of {service}"),
        )
    }

    /// All services, by their addresses.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub(crate) fn services(&mut self) -> Result<Vec<VirtualService>, LinuxError> {
        let ask = self.message(IPVS_CMD_GET_SERVICE, Vec::new());
        let answers = self.dump(ask)?;
        let mut services: Vec<_> = answers
            .iter()
            .filter_map(|answer| service(&inside(answer, IPVS_CMD_ATTR_SERVICE)?))
            .collect();
        services.sort_by_key(|service| service.address);
        Ok(services)
    }

    /// The destinations of a service, by their addresses.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub(crate) fn destinations(
        &mut self,
        service: SocketAddr,
    ) -> Result<Vec<Destination>, LinuxError> {
        let of = vec![nested(IPVS_CMD_ATTR_SERVICE, &named(service))];
        let ask = self.message(IPVS_CMD_GET_DEST, of);
        let answers = self.dump(ask)?;
        let mut destinations: Vec<_> = answers
            .iter()
            .filter_map(|answer| destination(&inside(answer, IPVS_CMD_ATTR_DEST)?, service))
            .collect();
        destinations.sort_by_key(|destination| destination.address);
        Ok(destinations)
    }

    /// The TCP connections that it remembers, by their clients' addresses.
    ///
    /// # Errors
    /// If the kernel does not show them.
    pub(crate) fn connections(&self) -> Result<Vec<Connection>, LinuxError> {
        let text = self
            .namespace
            .enter(|| fs::read_to_string(CONNECTIONS))
            .map_err(LinuxError::kernel(format!(
                "reading IPVS' connections of {}",
                self.namespace.name()
            )))?;
        let mut connections: Vec<_> = text.lines().filter_map(connection).collect();
        connections.sort_by_key(|connection| (connection.to, connection.from));
        Ok(connections)
    }

    fn message(&self, command: u8, attributes: Vec<DefaultNla>) -> Generic {
        Generic {
            family: self.family,
            command,
            version: IPVS_GENL_VERSION,
            attributes,
        }
    }

    fn execute(&mut self, message: Generic, doing: String) -> Result<(), LinuxError> {
        let doing = format!("{doing} by IPVS in {}", self.namespace.name());
        self.channel.execute(vec![Request::new(message, 0, doing)])
    }

    fn dump(&mut self, ask: Generic) -> Result<Vec<Generic>, LinuxError> {
        self.channel.dump(ask).map_err(LinuxError::kernel(format!(
            "listing what IPVS has in {}",
            self.namespace.name()
        )))
    }
}

fn missing(what: &str) -> LinuxError {
    LinuxError::Missing {
        what: what.to_owned(),
        location: None,
    }
}

/// What tells a service from others.
fn named(address: SocketAddr) -> Vec<DefaultNla> {
    vec![
        DefaultNla::new(
            IPVS_SVC_ATTR_AF,
            address_family(address).to_ne_bytes().to_vec(),
        ),
        DefaultNla::new(IPVS_SVC_ATTR_PROTOCOL, TCP.to_ne_bytes().to_vec()),
        DefaultNla::new(IPVS_SVC_ATTR_ADDR, octets(address.ip())),
        DefaultNla::new(IPVS_SVC_ATTR_PORT, address.port().to_be_bytes().to_vec()),
    ]
}

fn address_family(address: SocketAddr) -> u16 {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    u16::try_from(family).unwrap_or_default()
}

/// union nf_inet_addr.
fn octets(address: IpAddr) -> Vec<u8> {
    let mut octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.resize(16, 0);
    octets
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// What is nested in an answer's attribute of this kind.
fn inside(answer: &Generic, kind: u16) -> Option<Vec<DefaultNla>> {
    let mut attributes = answer.attributes.iter();
    let found = attributes.find(|attribute| attribute.kind() & !NLA_F_NESTED == kind)?;
    parsed(&value(found)).ok()
}

fn bytes<const N: usize>(attributes: &[DefaultNla], kind: u16) -> Option<[u8; N]> {
    let mut attributes = attributes.iter();
    let found = attributes.find(|attribute| attribute.kind() & !NLA_F_NESTED == kind)?;
    value(found).get(..N)?.try_into().ok()
}

fn address(octets: [u8; 16], is_ipv4: bool) -> IpAddr {
    match is_ipv4 {
        true => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        false => Ipv6Addr::from(octets).into(),
    }
}

/// `None` of one that is none of TCP's: nobody here makes such.
fn service(attributes: &[DefaultNla]) -> Option<VirtualService> {
    if u16::from_ne_bytes(bytes(attributes, IPVS_SVC_ATTR_PROTOCOL)?) != TCP {
        return None;
    }
    let family = u16::from_ne_bytes(bytes(attributes, IPVS_SVC_ATTR_AF)?);
    let is_ipv4 = i32::from(family) == libc::AF_INET;
    let flags = u32::from_ne_bytes(bytes(attributes, IPVS_SVC_ATTR_FLAGS)?);
    let time = u32::from_ne_bytes(bytes(attributes, IPVS_SVC_ATTR_TIMEOUT)?);
    Some(VirtualService {
        address: SocketAddr::new(
            address(bytes(attributes, IPVS_SVC_ATTR_ADDR)?, is_ipv4),
            u16::from_be_bytes(bytes(attributes, IPVS_SVC_ATTR_PORT)?),
        ),
        persistent: (flags & IP_VS_SVC_F_PERSISTENT != 0).then(|| Duration::from_secs(time.into())),
    })
}

fn destination(attributes: &[DefaultNla], service: SocketAddr) -> Option<Destination> {
    let count = |kind| Some(u32::from_ne_bytes(bytes(attributes, kind)?));
    Some(Destination {
        address: SocketAddr::new(
            address(bytes(attributes, IPVS_DEST_ATTR_ADDR)?, service.is_ipv4()),
            u16::from_be_bytes(bytes(attributes, IPVS_DEST_ATTR_PORT)?),
        ),
        weight: count(IPVS_DEST_ATTR_WEIGHT)?,
        connections: count(IPVS_DEST_ATTR_ACTIVE_CONNS)?
            .saturating_add(count(IPVS_DEST_ATTR_INACT_CONNS)?),
    })
}

/// A line of /proc/net/ip_vs_conn; `None` of its head, and of what is none of TCP's or stands for a client's next
/// connections (port 0).
fn connection(line: &str) -> Option<Connection> {
    let mut words = line.split_whitespace();
    if words.next()? != "TCP" {
        return None;
    }
    let mut end = || Some(SocketAddr::new(shown(words.next()?)?, port(words.next()?)?));
    let (from, to, destination) = (end()?, end()?, end()?);
    (from.port() != 0).then_some(())?;
    Some(Connection {
        from,
        to,
        destination,
        state: words.next()?.to_owned(),
        expires_s: words.next()?.parse().ok()?,
    })
}

/// An address as that file shows it: of IPv4 one number, of IPv6 eight.
fn shown(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.trim_matches(['[', ']']).parse().ok();
    }
    let number = u32::from_str_radix(word, 16).ok()?;
    Some(Ipv4Addr::from_bits(number).into())
}

fn port(word: &str) -> Option<u16> {
    u16::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_are_read_as_the_kernel_shows_them() {
        let four = "TCP C0A80102 9C40 C0A8FFDC 01BB C0A80302 01BB ESTABLISHED     899";
        let found = connection(four).unwrap();
        assert_eq!(found.from, at("192.168.1.2:40000"));
        assert_eq!(found.to, at("192.168.255.220:443"));
        assert_eq!(found.destination, at("192.168.3.2:443"));
        assert_eq!(
            (found.state.as_str(), found.expires_s),
            ("ESTABLISHED", 899)
        );
        let six = "TCP fd00:0002:0000:0000:0000:0000:0000:0002 9C40 fd00:00ff:0000:0000:0000:0000:0000:0220 01BB \
                   fd00:0003:0000:0000:0000:0000:0000:0002 01BB SYN_RECV 60";
        assert_eq!(connection(six).unwrap().to, at("[fd00:ff::220]:443"));
        for none in [
            "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
            "UDP C0A80102 9C40 C0A8FFDC 01BB C0A80302 01BB UDP     299",
            // A template of a persistent service.
            "TCP C0A80102 0000 C0A8FFDC 01BB C0A80302 01BB NONE     10799",
            "TCP C0A80102",
        ] {
            assert_eq!(connection(none), None, "{none}");
        }
    }

    #[test]
    fn a_service_and_a_destination_come_back_from_the_attributes_that_they_are_asked_by() {
        for address in ["192.168.255.220:443", "[fd00:ff::220]:443"].map(at) {
            let mut attributes = named(address);
            attributes.extend([
                DefaultNla::new(IPVS_SVC_ATTR_FLAGS, [1, 0, 0, 0].to_vec()),
                number(IPVS_SVC_ATTR_TIMEOUT, 10800),
            ]);
            let found = service(&attributes).unwrap();
            assert_eq!(found.address, address);
            let text = found.to_string();
            assert_eq!(text, format!("-A -t {address} -s rr -p 10800"));
            let attributes = [
                DefaultNla::new(IPVS_DEST_ATTR_ADDR, octets(address.ip())),
                DefaultNla::new(IPVS_DEST_ATTR_PORT, address.port().to_be_bytes().to_vec()),
                number(IPVS_DEST_ATTR_WEIGHT, 1),
                number(IPVS_DEST_ATTR_ACTIVE_CONNS, 2),
                number(IPVS_DEST_ATTR_INACT_CONNS, 3),
            ];
            let found = destination(&attributes, address).unwrap();
            assert_eq!(
                (found.address, found.weight, found.connections),
                (address, 1, 5)
            );
        }
    }
}
