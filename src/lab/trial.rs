//! Trying out, one by one, what labs are built of: for saying by name what a machine lacks.
//!
//! Each trial works in network namespaces of its own, which are gone when it returns.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use socket2::{Domain, Socket, Type};

use crate::linux::LinuxError;
use crate::linux::iptables::{self, Chain, Change, Family, Match, Rule, Table, Target};
use crate::linux::link::{self, ETH0, LOOPBACK, VethEnd};
use crate::linux::namespace::Namespace;
use crate::linux::netlink::{Channel, Request};
use crate::linux::nft::{self, Direction, Fate};
use crate::linux::packet_queue::PacketQueue;
use crate::linux::sysctl;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A fresh namespace.
pub(crate) fn namespace() -> Result<Rc<Namespace>, LinuxError> {
    Namespace::new("a trial")
        .map(Rc::new)
        .map_err(LinuxError::kernel("making a network namespace"))
}

/// Whether a namespace's own sysctls can be written.
pub(crate) fn sysctls() -> Result<(), LinuxError> {
    let written = namespace()?.enter(|| sysctl::write("net.ipv4.ip_forward", "1"));
    written.map_err(LinuxError::kernel("writing net.ipv4.ip_forward"))
}

/// Whether a namespace has the sysctl `key`, and its value.
pub(crate) fn sysctl_value(key: &str) -> Result<String, LinuxError> {
    let value = namespace()?.enter(|| sysctl::read(key));
    value.map_err(LinuxError::kernel(format!("reading {key}")))
}

/// Whether a veth pair can join two namespaces.
pub(crate) fn veth() -> Result<(), LinuxError> {
    let (near, far) = (namespace()?, namespace()?);
    let end = |name| VethEnd {
        name,
        index: ETH0,
        mac: MAC,
    };
    let pair = link::veth(&end("near"), None, &end("far"), far.fd());
    Channel::open(&near, NETLINK_ROUTE)?.execute(vec![pair])
}

/// Whether there are bridges.
pub(crate) fn bridge() -> Result<(), LinuxError> {
    let bridge = link::bridge("bridge", ETH0, MAC);
    Channel::open(&*namespace()?, NETLINK_ROUTE)?.execute(vec![bridge])
}

/// Whether nf_tables can drop packets at a link's ingress and egress, and count them.
pub(crate) fn link_rules() -> Result<(), LinuxError> {
    let chain = |name, direction| nft::Chain {
        name,
        direction,
        links: vec!["lo".to_owned()],
        rules: vec![nft::Rule {
            matches: vec![nft::Match::EtherType(ETHERTYPE_IPV6)],
            fate: Fate::Drop,
        }],
    };
    let chains = [
        chain("in", Direction::Ingress),
        chain("out", Direction::Egress),
    ];
    let mut table = nft::Table::create(&namespace()?, "trial", &chains)?;
    table.counted("out").map(drop)
}

/// What services and emulations are made of: its name, the kernel modules that have it, and whether a fresh namespace takes it.
pub(crate) fn rules(family: Family) -> [(&'static str, &'static str, Result<(), LinuxError>); 5] {
    let loopback = match family {
        Family::Ipv4 => IpAddr::from(Ipv4Addr::LOCALHOST),
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
    };
    let tcp = |syn| Match::Tcp { port: None, syn };
    let takes = |table, rules: Vec<(Chain, Match, Target)>| {
        let rules = rules
            .into_iter()
            .map(|(chain, what, target)| Rule::last(chain, vec![what], target));
        let namespace = namespace()?;
        let mut channel = Channel::open(&namespace, NETLINK_NETFILTER)?;
        let change = Change::more(table, Vec::new(), rules.collect());
        iptables::load(&mut channel, &namespace, family, &[change])
    };
    let dnat = Target::Dnat(SocketAddr::new(loopback, 1));
    let masquerade = Target::Masquerade { random: true };
    let nat = vec![
        (Chain::Output, tcp(false), dnat),
        (Chain::Postrouting, tcp(false), masquerade),
    ];
    let dice = vec![(Chain::Output, Match::Chance(1), Target::Return)];
    let mark = vec![(Chain::Output, Match::NotMarked(1), Target::SetMark(1))];
    let reject = vec![(Chain::Output, Match::New, Target::Reject)];
    let queue = vec![(Chain::Input, tcp(true), Target::Queue(0))];
    [
        (
            "DNAT and masquerade",
            "nft_compat xt_nat xt_MASQUERADE",
            takes(Table::Nat, nat),
        ),
        ("statistic match", "xt_statistic", takes(Table::Nat, dice)),
        ("mark match and target", "xt_mark", takes(Table::Nat, mark)),
        (
            "conntrack match and REJECT",
            "xt_conntrack ipt_REJECT ip6t_REJECT",
            takes(Table::Filter, reject),
        ),
        (
            "NFQUEUE, for emulations",
            "xt_NFQUEUE",
            takes(Table::Filter, queue),
        ),
    ]
}

/// Whether packets can be queued for a program to judge.
pub(crate) fn packet_queue() -> Result<(), LinuxError> {
    PacketQueue::bind(&*namespace()?, 0).map(drop)
}

/// Whether conntrack's table can be read.
pub(crate) fn conntrack_table() -> Result<(), LinuxError> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let message = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    Channel::open(&*namespace()?, NETLINK_NETFILTER)?
        .dump(message)
        .map(drop)
        .map_err(LinuxError::kernel("reading conntrack's table"))
}

/// Whether the kernel lists TCP sockets.
pub(crate) fn sock_diag() -> Result<(), LinuxError> {
    let message = SockDiagMessage::InetRequest(InetRequest {
        family: AF_INET,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId::new_v4(),
    });
    Channel::open(&*namespace()?, NETLINK_SOCK_DIAG)?
        .dump(message)
        .map(drop)
        .map_err(LinuxError::kernel("listing TCP sockets"))
}

/// Whether packets can be watched.
pub(crate) fn packet_socket() -> Result<(), LinuxError> {
    let socket = namespace()?.enter(|| Socket::new(Domain::PACKET, Type::DGRAM, None));
    socket
        .map(drop)
        .map_err(LinuxError::kernel("opening an AF_PACKET socket"))
}

/// Whether there is netem: for faults that delay and lose some packets.
pub(crate) fn netem() -> Result<(), LinuxError> {
    let mut message = TcMessage::with_index(LOOPBACK.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![TcAttribute::Kind("netem".to_owned())];
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    // It wants options, and says EINVAL without. A kernel that has no netem says ENOENT.
    let request = Request::new(message, NLM_F_CREATE | NLM_F_EXCL, "adding a netem qdisc");
    Channel::open(&*namespace()?, NETLINK_ROUTE)?.execute(vec![request.tolerate(libc::EINVAL)])
}

/// Whether /proc can be mounted in a new PID namespace. The calling process must have one thread.
pub(crate) fn mount_proc() -> Result<(), LinuxError> {
    // In a child: a process that has unshared its PID namespace can only ever have one generation of children more.
    in_child(|| {
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
        in_child(|| {
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
        })
    })
    .map_err(|e| LinuxError::Kernel {
        doing: "mounting /proc in a new PID namespace".to_owned(),
        source: io::Error::from(e),
    })
}

fn in_child(work: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    // SAFETY: the caller has one thread, so the child has a whole copy of everything.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = work().map_or_else(|errno| errno as i32, |()| 0);
            // SAFETY: _exit() ends the child without running what the parent will run at its own exit.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(nix::errno::Errno::from_raw(errno)),
            WaitStatus::Signaled(..)
            | WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => Err(nix::errno::Errno::ECHILD),
        },
    }
}
