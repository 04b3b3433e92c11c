//! Tables, sets, maps, chains and rules as messages of nf_tables (include/uapi/linux/netfilter/nf_tables.h).

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, DataAttribute, Expressions, Hook as HookAttribute,
    HookNumber, Immediate, InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage,
    Operator, Payload, Register, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::{Hook, Memory, Part, Table, VerdictMap};
use crate::linux::iptables::Family;
use crate::linux::nft::{
    IPV4_ADDRESSES, IPV6_ADDRESSES, NF_ACCEPT, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, NFTA_REJECT_ICMP_CODE, NFTA_REJECT_TYPE, Side, compare, load,
    meta, other, protocol, within,
};

/// Priorities of the hooks (enum nf_ip_hook_priorities). Filters see destinations as they are before DNAT.
const NF_IP_PRI_NAT_DST: i32 = -100;
const NF_IP_PRI_NAT_SRC: i32 = 100;
const BEFORE_NAT: i32 = NF_IP_PRI_NAT_DST - 10;

const TCP: u8 = 6;
/// Offset of the destination's port in a header of TCP.
const DESTINATION_PORT: u32 = 2;
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
const NFT_CT_STATE: u32 = 0;
/// NF_CT_STATE_BIT(IP_CT_NEW).
const STATE_NEW: u32 = 1 << 3;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_NG_DREG: u16 = 1;
const NFTA_NG_MODULUS: u16 = 2;
const NFTA_NG_TYPE: u16 = 3;
const NFT_NG_RANDOM: u32 = 1;
const NFTA_DYNSET_SET_NAME: u16 = 1;
const NFTA_DYNSET_OP: u16 = 3;
const NFTA_DYNSET_SREG_KEY: u16 = 4;
const NFT_DYNSET_OP_UPDATE: u32 = 1;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFT_NAT_DNAT: u32 = 1;
const NFTA_MASQ_FLAGS: u16 = 1;
const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 16;
const NFT_REJECT_ICMP_UNREACH: u32 = 0;
const ICMP_PORT_UNREACH: u8 = 3;
const ICMPV6_PORT_UNREACH: u8 = 4;

/// Types of keys by the numbers that nft has for them: the kernel keeps them, and nft shows elements by them.
mod key_type {
    pub(super) const INTEGER: u32 = 4;
    pub(super) const IPV4_ADDR: u32 = 7;
    pub(super) const IPV6_ADDR: u32 = 8;
    pub(super) const INET_PROTO: u32 = 12;
    pub(super) const INET_SERVICE: u32 = 13;
    /// Bits that each type of a concatenation takes.
    pub(super) const BITS: u32 = 6;
}

/// nft's note that a set's keys are numbers in the machine's own order (NFTNL_UDATA_SET_KEYBYTEORDER of libnftnl: type,
/// length, value).
const KEYS_ARE_NUMBERS: [u8; 6] = [0, 4, 1, 0, 0, 0];

/// The name of a map that only one rule knows; the kernel puts a number in the place of `%d`.
const ANONYMOUS: &str = "__map%d";

/// Writes messages of one table.
pub(super) struct Writer {
    family: Family,
    table: &'static str,
    /// Number of the last set of this transaction.
    sets: u32,
}

impl Writer {
    pub(super) fn of(table: &Table) -> Self {
        Self {
            family: table.family,
            table: table.name,
            sets: 0,
        }
    }

    fn message(&self, message: NfTablesMessage) -> NetfilterMessage {
        NetfilterMessage::new(NetfilterHeader::new(self.proto(), 0, 0), message)
    }

    fn proto(&self) -> NetfilterProtoFamily {
        match self.family {
            Family::Ipv4 => NetfilterProtoFamily::IPv4,
            Family::Ipv6 => NetfilterProtoFamily::IPv6,
        }
    }

    pub(super) fn table(&self) -> NetfilterMessage {
        self.message(NfTablesMessage::NewTable(TableMessage {
            attributes: vec![TableAttribute::Name(self.table.to_owned())],
        }))
    }

    /// A map that is empty, where there is none yet.
    pub(super) fn map(&mut self, name: &str) -> NetfilterMessage {
        let (address, length) = self.address();
        let concatenated = [address, key_type::INET_PROTO, key_type::INET_SERVICE];
        let key = concatenated
            .into_iter()
            .fold(0, |key, part| key << key_type::BITS | part);
        // Each part of a key ends at a multiple of four bytes.
        let mut set = self.set(name, key, length + 4 + 4);
        set.extend(verdicts(SetFlags::Map));
        self.message(NfTablesMessage::NewSet(SetMessage { attributes: set }))
    }

    pub(super) fn memory(&mut self, memory: &Memory) -> NetfilterMessage {
        let (address, length) = self.address();
        let mut set = self.set(&memory.name, address, length);
        let timeout = u64::try_from(memory.timeout.as_millis()).unwrap_or(u64::MAX);
        set.extend([
            SetAttribute::Flags(SetFlags::Timeout | SetFlags::Eval),
            SetAttribute::Timeout(timeout),
        ]);
        self.message(NfTablesMessage::NewSet(SetMessage { attributes: set }))
    }

    fn set(&mut self, name: &str, key: u32, length: u32) -> Vec<SetAttribute> {
        self.sets += 1;
        vec![
            SetAttribute::Table(self.table.to_owned()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::KeyType(key),
            SetAttribute::KeyLen(length),
            SetAttribute::Id(self.sets),
        ]
    }

    /// nft's type of an address, and its bytes.
    fn address(&self) -> (u32, u32) {
        match self.family {
            Family::Ipv4 => (key_type::IPV4_ADDR, 4),
            Family::Ipv6 => (key_type::IPV6_ADDR, 16),
        }
    }

    /// The map of that name without its elements.
    pub(super) fn emptied_map(&self, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::DeleteSetElement(SetElementMessage {
            attributes: vec![
                SetElementList::Table(self.table.to_owned()),
                SetElementList::Set(name.to_owned()),
            ],
        }))
    }

    pub(super) fn forgotten(&self, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::DeleteSet(SetMessage {
            attributes: vec![
                SetAttribute::Table(self.table.to_owned()),
                SetAttribute::Name(name.to_owned()),
            ],
        }))
    }

    pub(super) fn elements(&self, map: &VerdictMap) -> NetfilterMessage {
        let elements = map.elements.iter().map(|(to, chain)| {
            let mut key = octets(to.ip());
            key.extend([TCP, 0, 0, 0]);
            key.extend(to.port().to_be_bytes());
            key.extend([0, 0]);
            element(key, chain)
        });
        self.message(NfTablesMessage::NewSetElement(SetElementMessage {
            attributes: vec![
                SetElementList::Table(self.table.to_owned()),
                SetElementList::Set(map.name.to_owned()),
                SetElementList::Elements(elements.collect()),
            ],
        }))
    }

    pub(super) fn chain(&self, name: &str, hook: Option<Hook>) -> NetfilterMessage {
        let mut attributes = self.named(name);
        if let Some(hook) = hook {
            let (kind, number, priority) = match hook {
                Hook::NatPrerouting => ("nat", InetHookNumber::PreRouting, NF_IP_PRI_NAT_DST),
                Hook::NatOutput => ("nat", InetHookNumber::LocalOut, NF_IP_PRI_NAT_DST),
                Hook::NatPostrouting => ("nat", InetHookNumber::PostRouting, NF_IP_PRI_NAT_SRC),
                Hook::FilterForward => ("filter", InetHookNumber::Forward, BEFORE_NAT),
                Hook::FilterOutput => ("filter", InetHookNumber::LocalOut, BEFORE_NAT),
            };
            attributes.extend([
                ChainAttribute::Hook(vec![
                    HookAttribute::Number(HookNumber::Inet(number)),
                    HookAttribute::Priority(priority.cast_unsigned()),
                ]),
                ChainAttribute::Type(kind.to_owned()),
                ChainAttribute::Policy(NF_ACCEPT),
            ]);
        }
        self.message(NfTablesMessage::NewChain(ChainMessage { attributes }))
    }

    /// The chain of that name without its rules.
    pub(super) fn emptied(&self, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::DeleteRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.table.to_owned()),
                RuleAttribute::Chain(name.to_owned()),
            ],
        }))
    }

    pub(super) fn gone(&self, name: &str) -> NetfilterMessage {
        let attributes = self.named(name);
        self.message(NfTablesMessage::DeleteChain(ChainMessage { attributes }))
    }

    fn named(&self, chain: &str) -> Vec<ChainAttribute> {
        vec![
            ChainAttribute::Table(self.table.to_owned()),
            ChainAttribute::Name(chain.to_owned()),
        ]
    }

    /// A rule, and before it the map that it alone knows, if it has one.
    pub(super) fn rule(&mut self, chain: &str, rule: &[Part]) -> Vec<NetfilterMessage> {
        let mut messages = Vec::new();
        let mut expressions = Vec::new();
        for part in rule {
            if let Part::Dice(sides) = part {
                messages.extend(self.sides(sides));
            }
            expressions.extend(self.expressions(part));
        }
        messages.push(self.message(NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(
                    expressions.into_iter().map(ListAttribute::from).collect(),
                ),
            ],
        })));
        messages
    }

    /// The map of dice: as [`Self::sets`] numbers it.
    fn sides(&mut self, sides: &[String]) -> [NetfilterMessage; 2] {
        let many = u32::try_from(sides.len()).unwrap_or(u32::MAX);
        let mut set = self.set(ANONYMOUS, key_type::INTEGER, 4);
        set.extend(verdicts(
            SetFlags::Anonymous | SetFlags::Constant | SetFlags::Map,
        ));
        set.extend([
            SetAttribute::Description(vec![SetDescription::Size(many)]),
            SetAttribute::UserData(KEYS_ARE_NUMBERS.to_vec()),
        ]);
        let elements = (0..many)
            .zip(sides)
            .map(|(side, chain)| element(side.to_ne_bytes().to_vec(), chain));
        let elements = SetElementMessage {
            attributes: vec![
                SetElementList::Table(self.table.to_owned()),
                SetElementList::Set(ANONYMOUS.to_owned()),
                SetElementList::SetId(self.sets),
                SetElementList::Elements(elements.collect()),
            ],
        };
        [
            self.message(NfTablesMessage::NewSet(SetMessage { attributes: set })),
            self.message(NfTablesMessage::NewSetElement(elements)),
        ]
    }

    fn expressions(&self, part: &Part) -> Vec<Expressions> {
        match part {
            Part::From(address) => {
                let (_, length) = self.address();
                let bits = u8::try_from(length * 8).unwrap_or(u8::MAX);
                within(*address, bits, Side::Source)
            }
            Part::Remembered(set) => vec![
                self.source(),
                Expressions::Lookup(vec![
                    Lookup::Set(set.clone()),
                    Lookup::SourceRegister(Register::Reg1),
                ]),
            ],
            Part::Remember(set) => {
                let mut name = set.clone().into_bytes();
                name.push(0);
                let update = vec![
                    DefaultNla::new(NFTA_DYNSET_SET_NAME, name),
                    number(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE),
                    number(NFTA_DYNSET_SREG_KEY, Register::Reg1.into()),
                ];
                vec![self.source(), other("dynset", update)]
            }
            Part::Tcp => protocol(TCP),
            Part::New => vec![
                other(
                    "ct",
                    vec![
                        number(NFTA_CT_DREG, Register::Reg1.into()),
                        number(NFTA_CT_KEY, NFT_CT_STATE),
                    ],
                ),
                bits(STATE_NEW, 0),
                compare(Operator::NotEqual, vec![0; 4]),
            ],
            Part::NotMarked(mask) => vec![
                meta(MetaKey::Mark),
                bits(*mask, 0),
                compare(Operator::Equal, vec![0; 4]),
            ],
            // mark = (mark & !bits) ^ bits, or (mark & all) ^ bits.
            Part::SetMark(mark) => marked(!*mark, *mark),
            Part::TurnMark(mark) => marked(u32::MAX, *mark),
            Part::Jump(chain) => vec![verdict(to(Verdict::Jump, chain))],
            Part::Goto(chain) => vec![verdict(to(Verdict::Goto, chain))],
            Part::Return => vec![verdict(vec![VerdictAttribute::Code(Verdict::Return)])],
            Part::Look(map) => self.look(map),
            Part::Dice(sides) => vec![
                other(
                    "numgen",
                    vec![
                        number(NFTA_NG_DREG, Register::Reg1.into()),
                        number(
                            NFTA_NG_MODULUS,
                            u32::try_from(sides.len()).unwrap_or(u32::MAX),
                        ),
                        number(NFTA_NG_TYPE, NFT_NG_RANDOM),
                    ],
                ),
                Expressions::Lookup(vec![
                    Lookup::Set(ANONYMOUS.to_owned()),
                    Lookup::SetId(self.sets),
                    Lookup::SourceRegister(Register::Reg1),
                    Lookup::DestinationRegister(Register::Verdict),
                ]),
            ],
            Part::Dnat(to) => self.dnat(*to),
            Part::Masquerade => {
                let flags = number(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
                vec![other("masq", vec![flags])]
            }
            Part::Reject => {
                let code = match self.family {
                    Family::Ipv4 => ICMP_PORT_UNREACH,
                    Family::Ipv6 => ICMPV6_PORT_UNREACH,
                };
                let with = vec![
                    number(NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH),
                    DefaultNla::new(NFTA_REJECT_ICMP_CODE, vec![code]),
                ];
                vec![other("reject", with)]
            }
        }
    }

    /// The packet's source, in the first register.
    fn source(&self) -> Expressions {
        let (_, length) = self.address();
        let (source, _) = self.offsets();
        load(NFT_PAYLOAD_NETWORK_HEADER, source, length)
    }

    /// Where source and destination are in a packet's header.
    fn offsets(&self) -> (u32, u32) {
        match self.family {
            Family::Ipv4 => IPV4_ADDRESSES,
            Family::Ipv6 => IPV6_ADDRESSES,
        }
    }

    /// Looks destination, protocol and port up, which lie in registers one after the other.
    fn look(&self, map: &str) -> Vec<Expressions> {
        let (_, length) = self.address();
        let (_, destination) = self.offsets();
        let (protocol, port) = match self.family {
            Family::Ipv4 => (Register::Reg32_01, Register::Reg32_02),
            Family::Ipv6 => (Register::Reg2, Register::Reg32_05),
        };
        vec![
            load(NFT_PAYLOAD_NETWORK_HEADER, destination, length),
            Expressions::Meta(vec![
                Meta::Key(MetaKey::L4Proto),
                Meta::DestinationRegister(protocol),
            ]),
            Expressions::Payload(vec![
                Payload::DestinationRegister(port),
                Payload::Base(NFT_PAYLOAD_TRANSPORT_HEADER),
                Payload::Offset(DESTINATION_PORT),
                Payload::Len(2),
            ]),
            Expressions::Lookup(vec![
                Lookup::Set(map.to_owned()),
                Lookup::SourceRegister(Register::Reg1),
                Lookup::DestinationRegister(Register::Verdict),
            ]),
        ]
    }

    fn dnat(&self, to: SocketAddr) -> Vec<Expressions> {
        let value = |register, value| {
            Expressions::Immediate(vec![
                Immediate::DestinationRegister(register),
                Immediate::Data(DataAttribute::Value(value)),
            ])
        };
        let family: u8 = self.proto().into();
        vec![
            value(Register::Reg1, octets(to.ip())),
            value(Register::Reg2, to.port().to_be_bytes().to_vec()),
            other(
                "nat",
                vec![
                    number(NFTA_NAT_TYPE, NFT_NAT_DNAT),
                    number(NFTA_NAT_FAMILY, family.into()),
                    number(NFTA_NAT_REG_ADDR_MIN, Register::Reg1.into()),
                    number(NFTA_NAT_REG_PROTO_MIN, Register::Reg2.into()),
                ],
            ),
        ]
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// What makes a set a map to verdicts.
fn verdicts(flags: SetFlags) -> [SetAttribute; 3] {
    [
        SetAttribute::Flags(flags),
        SetAttribute::DataType(NFT_DATA_VERDICT),
        SetAttribute::DataLen(0),
    ]
}

fn element(key: Vec<u8>, chain: &str) -> ListAttribute<SetElementAttribute> {
    let verdict = DataAttribute::Verdict(to(Verdict::Goto, chain));
    ListAttribute::Element(vec![
        SetElementAttribute::Key(DataAttribute::Value(key)),
        SetElementAttribute::Data(verdict),
    ])
}

fn to(how: Verdict, chain: &str) -> Vec<VerdictAttribute> {
    vec![
        VerdictAttribute::Code(how),
        VerdictAttribute::Chain(chain.to_owned()),
    ]
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
}

/// The first register's bits: those of `mask`, turned over by `turned`.
fn bits(mask: u32, turned: u32) -> Expressions {
    let value = |bits: u32| DataAttribute::Value(bits.to_ne_bytes().to_vec());
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(4),
        Bitwise::Mask(value(mask)),
        Bitwise::Xor(value(turned)),
    ])
}

fn marked(mask: u32, turned: u32) -> Vec<Expressions> {
    vec![
        meta(MetaKey::Mark),
        bits(mask, turned),
        Expressions::Meta(vec![
            Meta::Key(MetaKey::Mark),
            Meta::SourceRegister(Register::Reg1),
        ]),
    ]
}
