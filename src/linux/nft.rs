//! nf_tables by netlink: tables of rules on links, written and deleted in one transaction each.
//!
//! The netdev family, at a link's ingress and egress: what is dropped there never reached the link's other side, or
//! never left it; each direction can be had alone; and counters tell them apart. (The bridge family's forward hook
//! would see the same packets, but not those of a pod's or a node's own link.) Egress needs Linux 5.16.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, Nla as _};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, DevHookNumber, ExpressionAttribute,
    Expressions, GenAttribute, GenMessage, Hook, HookNumber, Immediate, ListAttribute, Meta,
    MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage,
    TableAttribute, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::LinuxError;
use super::namespace::Namespace;
use super::netlink::{Channel, Refused};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NF_DROP: u32 = 0;
/// The verdict that lets a packet go on.
pub(super) const NF_ACCEPT: u32 = 1;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_DEVICE_NAME: u16 = 1;
pub(super) const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
pub(super) const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
pub(super) const NFTA_REJECT_TYPE: u16 = 1;
pub(super) const NFTA_REJECT_ICMP_CODE: u16 = 2;
const NFT_REJECT_TCP_RST: u32 = 1;
const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
const NFT_REJECT_ICMPX_HOST_UNREACH: u8 = 2;

/// EtherTypes.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Offsets of the flags in a TCP header, and of addresses (source, destination) in IP headers.
const TCP_FLAGS: u32 = 13;
pub(super) const IPV4_ADDRESSES: (u32, u32) = (12, 16);
pub(super) const IPV6_ADDRESSES: (u32, u32) = (8, 24);

/// A direction through a link, as its own namespace sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Packets that come in by the link.
    Ingress,
    /// Packets that go out by it.
    Egress,
}

impl Direction {
    fn hook(self) -> DevHookNumber {
        match self {
            Self::Ingress => DevHookNumber::Ingress,
            Self::Egress => DevHookNumber::Egress,
        }
    }
}

/// What a packet must be for a rule to speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// Its EtherType.
    EtherType(u16),
    /// Bytes of its network header: offset, and the value there.
    NetworkByte(u32, u8),
    /// A byte of its network header lies between two values, both included.
    NetworkByteBetween(u32, u8, u8),
    /// It comes from an address with this prefix of whole bytes. Its EtherType is matched before.
    From(IpAddr, u8),
    /// It goes to one.
    To(IpAddr, u8),
    /// It is TCP, or ICMP, or whatever has this number.
    Protocol(u8),
    /// Of these bits of its TCP flags just those others are set. That it is TCP is matched before.
    TcpFlags(u8, u8),
    /// One that chance picks: so many of 2^32.
    Chance(u32),
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on, whatever later rules say.
    Pass,
    /// It is counted, and vanishes without a word.
    Drop,
    /// It is counted, vanishes, and its sender is answered with RST: at ingress only.
    Reset,
    /// It is counted, vanishes, and its sender is told "host unreachable": at ingress only.
    Unreachable,
    /// It is counted, goes on, and queueing disciplines see this priority of it: at egress only.
    Priority(u32),
}

/// A rule: the first whose matches all hold decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// All of these must hold.
    pub(crate) matches: Vec<Match>,
    /// What becomes of the packet.
    pub(crate) fate: Fate,
}

/// The rules of one direction on some links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name: no other of its table has it.
    pub(crate) name: &'static str,
    /// Which way.
    pub(crate) direction: Direction,
    /// Which links, by name.
    pub(crate) links: Vec<String>,
    /// The rules, in their order.
    pub(crate) rules: Vec<Rule>,
}

/// A table in force in a namespace until it is dropped.
#[must_use = "its rules are gone when it is dropped"]
pub(crate) struct Table {
    channel: Channel,
    namespace: Rc<Namespace>,
    name: String,
}

impl Table {
    /// Puts `chains` in force in `namespace`: all of them, at one instant. Does not return before they are.
    pub(crate) fn create(
        namespace: &Rc<Namespace>,
        name: &str,
        chains: &[Chain],
    ) -> Result<Self, LinuxError> {
        let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
        let mut messages = vec![(new_table(name), NLM_F_CREATE)];
        for chain in chains {
            messages.push((new_chain(name, chain), NLM_F_CREATE));
            for rule in &chain.rules {
                let message = new_rule(name, chain.name, rule);
                messages.push((message, NLM_F_CREATE | NLM_F_APPEND));
            }
        }
        commit(&mut channel, messages).map_err(|e| refused(namespace, e.source))?;
        Ok(Self {
            channel,
            namespace: Rc::clone(namespace),
            name: name.to_owned(),
        })
    }

    /// Packets that the rules of `chain` counted since the table is in force.
    pub(crate) fn counted(&mut self, chain: &str) -> Result<u64, LinuxError> {
        let filter = RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.name.clone()),
                RuleAttribute::Chain(chain.to_owned()),
            ],
        };
        let rules = self
            .channel
            .dump(netdev(NfTablesMessage::GetRule(filter)))
            .map_err(LinuxError::kernel(format!(
                "reading the counters of {}",
                self.namespace.name()
            )))?;
        Ok(rules.iter().map(counted_packets).sum())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let table = TableMessage {
            attributes: vec![TableAttribute::Name(self.name.clone())],
        };
        let message = netdev(NfTablesMessage::DeleteTable(table));
        // Nothing can be done about a failure here; the namespace goes soon, and the rules with it.
        let _ = commit(&mut self.channel, vec![(message, 0)]);
    }
}

/// Sends `messages` as one transaction: all of them, or none.
///
/// # Errors
/// What the kernel refused, by its position among `messages`.
pub(super) fn commit(
    channel: &mut Channel,
    mut messages: Vec<(NetfilterMessage, u16)>,
) -> Result<(), Refused> {
    // The kernel acknowledges after it has committed.
    if let Some((_, flags)) = messages.last_mut() {
        *flags |= NLM_F_ACK;
    }
    let control = |message: ControlMessage| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
        (NetfilterMessage::new(header, message), 0)
    };
    messages.insert(0, control(ControlMessage::BatchBegin));
    messages.push(control(ControlMessage::BatchEnd));
    channel.transact(messages).map_err(|refused| Refused {
        message: refused.message.and_then(|message| message.checked_sub(1)),
        source: refused.source,
    })
}

/// The generation of the rules in the namespace of `channel`, a netfilter socket: every change makes it another, whoever
/// made it. `None` from a kernel that does not say.
///
/// # Errors
/// If the kernel has no nf_tables.
pub(crate) fn generation(channel: &mut Channel) -> io::Result<Option<u32>> {
    let ask = NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0),
        NfTablesMessage::GetGen(GenMessage {
            attributes: Vec::new(),
        }),
    );
    let answers = channel.get(ask)?;
    Ok(answers.into_iter().find_map(|answer| match answer.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(message)) => message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                GenAttribute::Id(id) => Some(*id),
                _ => None,
            }),
        _ => None,
    }))
}

/// Whether it is what the kernel says of nf_tables, and of a family, a hook, an expression, a match or a target that it was
/// built without.
pub(super) fn is_lack(error: &io::Error) -> bool {
    let lacks = [
        libc::EOPNOTSUPP,
        libc::EAFNOSUPPORT,
        libc::ENOENT,
        libc::EPROTONOSUPPORT,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| lacks.contains(&errno))
}

fn refused(namespace: &Namespace, error: io::Error) -> LinuxError {
    if is_lack(&error) {
        LinuxError::Missing {
            what: "nf_tables at a link's ingress and egress (Linux 5.16, CONFIG_NF_TABLES_NETDEV, \
                   CONFIG_NETFILTER_INGRESS, CONFIG_NETFILTER_EGRESS)"
                .to_owned(),
            location: None,
        }
    } else {
        LinuxError::Kernel {
            doing: format!("writing nf_tables rules in {}", namespace.name()),
            source: error,
        }
    }
}

fn netdev(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::NetDev, 0, 0),
        message,
    )
}

fn new_table(name: &str) -> NetfilterMessage {
    netdev(NfTablesMessage::NewTable(TableMessage {
        attributes: vec![TableAttribute::Name(name.to_owned())],
    }))
}

fn new_chain(table: &str, chain: &Chain) -> NetfilterMessage {
    let links = chain.links.iter().map(|link| {
        let mut name = link.clone().into_bytes();
        name.push(0);
        DefaultNla::new(NFTA_DEVICE_NAME, name)
    });
    netdev(NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(chain.name.to_owned()),
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Dev(chain.direction.hook())),
                Hook::Priority(0),
                Hook::NetDevices(links.collect()),
            ]),
            ChainAttribute::Type("filter".to_owned()),
            ChainAttribute::Policy(NF_ACCEPT),
        ],
    }))
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> NetfilterMessage {
    let mut expressions: Vec<_> = rule.matches.iter().flat_map(expressions_of).collect();
    if rule.fate != Fate::Pass {
        expressions.push(counter());
    }
    expressions.extend(end_of(rule.fate));
    netdev(NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions.into_iter().map(ListAttribute::from).collect()),
        ],
    }))
}

/// One that counts, from nothing.
pub(super) fn counter() -> Expressions {
    other(
        "counter",
        vec![
            DefaultNla::new(NFTA_COUNTER_BYTES, vec![0; 8]),
            DefaultNla::new(NFTA_COUNTER_PACKETS, vec![0; 8]),
        ],
    )
}

/// One that the library has no words for.
pub(super) fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes,
    }
}

/// What a rule does with what it speaks of.
fn end_of(fate: Fate) -> Vec<Expressions> {
    let verdict = |code| {
        vec![Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(
                Verdict::Other(code),
            )])),
        ])]
    };
    let kind = |kind: u32| DefaultNla::new(NFTA_REJECT_TYPE, kind.to_be_bytes().to_vec());
    match fate {
        Fate::Pass => verdict(NF_ACCEPT),
        Fate::Drop => verdict(NF_DROP),
        Fate::Reset => vec![other("reject", vec![kind(NFT_REJECT_TCP_RST)])],
        Fate::Unreachable => {
            let code = DefaultNla::new(NFTA_REJECT_ICMP_CODE, vec![NFT_REJECT_ICMPX_HOST_UNREACH]);
            vec![other("reject", vec![kind(NFT_REJECT_ICMPX_UNREACH), code])]
        }
        Fate::Priority(priority) => vec![
            Expressions::Immediate(vec![
                Immediate::DestinationRegister(Register::Reg1),
                Immediate::Data(DataAttribute::Value(priority.to_ne_bytes().to_vec())),
            ]),
            Expressions::Meta(vec![
                Meta::Key(MetaKey::Priority),
                Meta::SourceRegister(Register::Reg1),
            ]),
        ],
    }
}

fn expressions_of(what: &Match) -> Vec<Expressions> {
    let equals = |value: Vec<u8>| compare(Operator::Equal, value);
    match *what {
        Match::EtherType(value) => vec![
            meta(MetaKey::EtherTypeProtocol),
            equals(value.to_be_bytes().to_vec()),
        ],
        Match::NetworkByte(offset, value) => vec![byte(offset), equals(vec![value])],
        Match::NetworkByteBetween(offset, low, high) => vec![
            byte(offset),
            compare(Operator::GreatherThanEqual, vec![low]),
            compare(Operator::LessThanEqual, vec![high]),
        ],
        Match::From(address, prefix) => within(address, prefix, Side::Source),
        Match::To(address, prefix) => within(address, prefix, Side::Destination),
        Match::Protocol(number) => protocol(number),
        Match::TcpFlags(mask, flags) => vec![
            load(NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, 1),
            Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::Reg1),
                Bitwise::DestinationRegister(Register::Reg1),
                Bitwise::Length(1),
                Bitwise::Mask(DataAttribute::Value(vec![mask])),
                Bitwise::Xor(DataAttribute::Value(vec![0])),
            ]),
            equals(vec![flags]),
        ],
        // Compared byte by byte; random bytes are as random in any order.
        Match::Chance(share) => vec![
            meta(MetaKey::PseudoRandom),
            compare(Operator::LessThan, share.to_be_bytes().to_vec()),
        ],
    }
}

/// That the protocol above IP has this number.
pub(super) fn protocol(number: u8) -> Vec<Expressions> {
    vec![
        meta(MetaKey::L4Proto),
        compare(Operator::Equal, vec![number]),
    ]
}

/// That it came in by a link.
pub(super) fn came_in_by(link: &str) -> Vec<Expressions> {
    let mut name = link.as_bytes().to_vec();
    name.resize(libc::IFNAMSIZ, 0);
    vec![meta(MetaKey::Iifname), compare(Operator::Equal, name)]
}

/// An address of an IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Where the packet comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// That an address of an IP header begins as `address` does, for so many bits: whole bytes.
pub(super) fn within(address: IpAddr, prefix: u8, side: Side) -> Vec<Expressions> {
    let ((source, destination), mut bytes) = match address {
        IpAddr::V4(address) => (IPV4_ADDRESSES, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6_ADDRESSES, address.octets().to_vec()),
    };
    bytes.truncate(usize::from(prefix / 8));
    let length = u32::from(prefix / 8);
    let offset = match side {
        Side::Source => source,
        Side::Destination => destination,
    };
    vec![
        load(NFT_PAYLOAD_NETWORK_HEADER, offset, length),
        compare(Operator::Equal, bytes),
    ]
}

pub(super) fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![
        Meta::Key(key),
        Meta::DestinationRegister(Register::Reg1),
    ])
}

fn byte(offset: u32) -> Expressions {
    load(NFT_PAYLOAD_NETWORK_HEADER, offset, 1)
}

pub(super) fn load(header: u32, offset: u32, length: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(header),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

pub(super) fn compare(operator: Operator, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

/// The packets a rule's counter has seen.
fn counted_packets(message: &NetfilterMessage) -> u64 {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = &message.inner else {
        return 0;
    };
    let expressions = rule
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RuleAttribute::Expressions(list) => Some(list),
            _ => None,
        });
    let elements = expressions.flatten().filter_map(|item| match item {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    });
    elements.flatten().map(packets_of).sum()
}

fn packets_of(attribute: &ExpressionAttribute) -> u64 {
    let ExpressionAttribute::Data(Expressions::Other {
        expression_type,
        attributes,
    }) = attribute
    else {
        return 0;
    };
    if expression_type != "counter" {
        return 0;
    }
    let packets = attributes
        .iter()
        .find(|attribute| attribute.kind() == NFTA_COUNTER_PACKETS);
    packets.map_or(0, |attribute| {
        let mut value = [0; 8];
        if attribute.value_len() == value.len() {
            attribute.emit_value(&mut value);
        }
        u64::from_be_bytes(value)
    })
}
