//! nf_tables by netlink: tables of rules on links, written and deleted in one transaction each.
//!
//! The netdev family, at a link's ingress and egress: what is dropped there never reached the link's other side, or
//! never left it; each direction can be had alone; and counters tell them apart. (The bridge family's forward hook
//! would see the same packets, but not those of a pod's or a node's own link.) Egress needs Linux 5.16.

use std::io;
use std::rc::Rc;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, Nla as _};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, DevHookNumber, ExpressionAttribute,
    Expressions, GenAttribute, GenMessage, Hook, HookNumber, Immediate, ListAttribute, Meta,
    MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage,
    TableAttribute, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::LabError;
use super::namespace::Namespace;
use super::netlink::Channel;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_DEVICE_NAME: u16 = 1;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;

/// A direction through a link, as its own namespace sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Packets that come in by the link.
    Ingress,
    /// Packets that go out by it.
    Egress,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

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
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on, whatever later rules say.
    Pass,
    /// It is counted, and vanishes without a word.
    Drop,
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
    ) -> Result<Self, LabError> {
        let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
        let mut messages = vec![(new_table(name), NLM_F_CREATE)];
        for chain in chains {
            messages.push((new_chain(name, chain), NLM_F_CREATE));
            for rule in &chain.rules {
                let message = new_rule(name, chain.direction, rule);
                messages.push((message, NLM_F_CREATE | NLM_F_APPEND));
            }
        }
        commit(&mut channel, messages).map_err(|e| refused(namespace, e))?;
        Ok(Self {
            channel,
            namespace: Rc::clone(namespace),
            name: name.to_owned(),
        })
    }

    /// Packets dropped in `direction` since the table is in force.
    pub(crate) fn dropped(&mut self, direction: Direction) -> Result<u64, LabError> {
        let filter = RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.name.clone()),
                RuleAttribute::Chain(direction.name().to_owned()),
            ],
        };
        let rules = self
            .channel
            .dump(netdev(NfTablesMessage::GetRule(filter)))
            .map_err(LabError::kernel(format!(
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
fn commit(channel: &mut Channel, mut messages: Vec<(NetfilterMessage, u16)>) -> io::Result<()> {
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
    channel.transact(messages)
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

fn refused(namespace: &Namespace, error: io::Error) -> LabError {
    match error.raw_os_error() {
        // What the kernel says of a family, a hook or an expression it was built without.
        Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT | libc::EPROTONOSUPPORT) => {
            LabError::Missing {
                what: "nf_tables at a link's ingress and egress (Linux 5.16, CONFIG_NF_TABLES_NETDEV, \
                       CONFIG_NETFILTER_INGRESS, CONFIG_NETFILTER_EGRESS)"
                    .to_owned(),
                location: None,
            }
        }
        _ => LabError::Kernel {
            doing: format!("writing nf_tables rules in {}", namespace.name()),
            source: error,
        },
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
            ChainAttribute::Name(chain.direction.name().to_owned()),
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

fn new_rule(table: &str, direction: Direction, rule: &Rule) -> NetfilterMessage {
    let mut expressions: Vec<_> = rule.matches.iter().flat_map(expressions_of).collect();
    if rule.fate == Fate::Drop {
        expressions.push(Expressions::Other {
            expression_type: "counter".to_owned(),
            attributes: vec![
                DefaultNla::new(NFTA_COUNTER_BYTES, vec![0; 8]),
                DefaultNla::new(NFTA_COUNTER_PACKETS, vec![0; 8]),
            ],
        });
    }
    let code = match rule.fate {
        Fate::Pass => NF_ACCEPT,
        Fate::Drop => NF_DROP,
    };
    expressions.push(Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(
            Verdict::Other(code),
        )])),
    ]));
    netdev(NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(direction.name().to_owned()),
            RuleAttribute::Expressions(expressions.into_iter().map(ListAttribute::from).collect()),
        ],
    }))
}

fn expressions_of(what: &Match) -> Vec<Expressions> {
    match *what {
        Match::EtherType(value) => vec![
            Expressions::Meta(vec![
                Meta::Key(MetaKey::EtherTypeProtocol),
                Meta::DestinationRegister(Register::Reg1),
            ]),
            compare(Operator::Equal, value.to_be_bytes().to_vec()),
        ],
        Match::NetworkByte(offset, value) => {
            vec![load(offset), compare(Operator::Equal, vec![value])]
        }
        Match::NetworkByteBetween(offset, low, high) => vec![
            load(offset),
            compare(Operator::GreatherThanEqual, vec![low]),
            compare(Operator::LessThanEqual, vec![high]),
        ],
    }
}

fn load(offset: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NFT_PAYLOAD_NETWORK_HEADER),
        Payload::Offset(offset),
        Payload::Len(1),
    ])
}

fn compare(operator: Operator, value: Vec<u8>) -> Expressions {
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
