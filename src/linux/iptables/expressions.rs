//! Tables, chains and rules as messages of nf_tables.
//!
//! Addresses are expressions of nf_tables' own; everything else goes through nft_compat to the same matches and targets that
//! iptables has always used (include/uapi/linux/netfilter/xt_*.h and nf_nat.h say how their data lies).

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Expressions, Hook, HookNumber, Immediate,
    InetHookNumber, ListAttribute, NfTablesMessage, Register, RuleAttribute, RuleMessage,
    TableAttribute, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::{Chain, Family, Match, Rule, SourceList, Table, Target};
use crate::linux::nft::{NF_ACCEPT, NF_DROP, Side, came_in_by, counter, other, protocol, within};

const NFTA_RULE_COMPAT_PROTO: u16 = 1;
const NFTA_RULE_COMPAT_FLAGS: u16 = 2;

/// The numbers of NFTA_MATCH_* and of NFTA_TARGET_* are the same.
const NFTA_COMPAT_NAME: u16 = 1;
const NFTA_COMPAT_REV: u16 = 2;
const NFTA_COMPAT_INFO: u16 = 3;

/// Priorities of the hooks (enum nf_ip_hook_priorities).
const NF_IP_PRI_NAT_DST: i32 = -100;
const NF_IP_PRI_FILTER: i32 = 0;
const NF_IP_PRI_NAT_SRC: i32 = 100;

const TCP: u8 = 6;
const TCP_FIN_SYN_RST_ACK: u8 = 0x17;
const TCP_SYN: u8 = 0x02;
const XT_CONNTRACK_STATE: u16 = 1;
/// XT_CONNTRACK_STATE_BIT(IP_CT_NEW).
const STATE_NEW: u16 = 1 << 3;
/// XT_CONNTRACK_STATE_INVALID.
const STATE_INVALID: u16 = 1 << 0;
const XT_RECENT_CHECK: u8 = 1 << 0;
const XT_RECENT_SET: u8 = 1 << 1;
const XT_RECENT_REAP: u8 = 1 << 5;
const XT_RECENT_NAME_LEN: usize = 200;
const XT_RECENT_SOURCE: u8 = 0;
const NF_NAT_RANGE_MAP_IPS: u32 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 16;
const IPT_ICMP_PORT_UNREACHABLE: u32 = 3;
const IP6T_ICMP6_PORT_UNREACH: u32 = 4;
/// IPT_TCP_RESET.
const IPT_TCP_RESET: u32 = 7;
/// IP6T_TCP_RESET.
const IP6T_TCP_RESET: u32 = 6;

/// Where structures end: at a multiple of what an 8-byte number is aligned to (XT_ALIGN).
const ALIGNMENT: usize = 8;

/// Writes messages of one family.
pub(super) struct Writer(pub(super) Family);

impl Writer {
    fn message(&self, message: NfTablesMessage) -> NetfilterMessage {
        let family = match self.0 {
            Family::Ipv4 => NetfilterProtoFamily::IPv4,
            Family::Ipv6 => NetfilterProtoFamily::IPv6,
        };
        NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
    }

    pub(super) fn table(&self, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::NewTable(TableMessage {
            attributes: vec![TableAttribute::Name(name.to_owned())],
        }))
    }

    /// A chain of our own.
    pub(super) fn chain(&self, table: &str, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::NewChain(named(table, name)))
    }

    /// The chain of that name without its rules.
    pub(super) fn emptied(&self, table: &str, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::DeleteRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(table.to_owned()),
                RuleAttribute::Chain(name.to_owned()),
            ],
        }))
    }

    pub(super) fn gone(&self, table: &str, name: &str) -> NetfilterMessage {
        self.message(NfTablesMessage::DeleteChain(named(table, name)))
    }

    /// A chain that the kernel goes through, as iptables-nft makes it when it is first used. `None` for one of our own.
    pub(super) fn hook(&self, table: Table, chain: &Chain) -> Option<NetfilterMessage> {
        let (number, of_nat) = match chain {
            Chain::Prerouting => (InetHookNumber::PreRouting, NF_IP_PRI_NAT_DST),
            Chain::Input => (InetHookNumber::LocalIn, NF_IP_PRI_NAT_SRC),
            Chain::Forward => (InetHookNumber::Forward, NF_IP_PRI_FILTER),
            Chain::Output => (InetHookNumber::LocalOut, NF_IP_PRI_NAT_DST),
            Chain::Postrouting => (InetHookNumber::PostRouting, NF_IP_PRI_NAT_SRC),
            Chain::Own(_) => return None,
        };
        let priority = match table {
            Table::Nat => of_nat,
            Table::Filter => NF_IP_PRI_FILTER,
        };
        let mut message = named(table.name(), chain.name());
        message.attributes.extend([
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Inet(number)),
                Hook::Priority(priority.cast_unsigned()),
            ]),
            ChainAttribute::Type(table.name().to_owned()),
            ChainAttribute::Policy(NF_ACCEPT),
        ]);
        Some(self.message(NfTablesMessage::NewChain(message)))
    }

    pub(super) fn rule(&self, table: &str, rule: &Rule) -> NetfilterMessage {
        let mut expressions: Vec<_> = rule.matches.iter().flat_map(expressions_of).collect();
        expressions.push(counter());
        expressions.push(self.target(&rule.target));
        let mut attributes = vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(rule.chain.name().to_owned()),
            RuleAttribute::Expressions(expressions.into_iter().map(ListAttribute::from).collect()),
        ];
        // Matches and targets that are for TCP alone ask what the rule itself is for.
        let is_tcp = |what: &Match| matches!(what, Match::Tcp { .. });
        if rule.matches.iter().any(is_tcp) {
            let number = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().to_vec());
            attributes.push(RuleAttribute::Compat(vec![
                number(NFTA_RULE_COMPAT_PROTO, TCP.into()),
                number(NFTA_RULE_COMPAT_FLAGS, 0),
            ]));
        }
        self.message(NfTablesMessage::NewRule(RuleMessage { attributes }))
    }

    fn target(&self, target: &Target) -> Expressions {
        match target {
            Target::Jump(chain) => verdict(vec![
                VerdictAttribute::Code(Verdict::Jump),
                VerdictAttribute::Chain(chain.clone()),
            ]),
            Target::Return => verdict(vec![VerdictAttribute::Code(Verdict::Return)]),
            // struct xt_mark_tginfo2: mark = (mark & !second) ^ first.
            Target::SetMark(bits) => compat("target", "MARK", 2, Data::new().u32(*bits).u32(*bits)),
            Target::TurnMark(bits) => compat("target", "MARK", 2, Data::new().u32(*bits).u32(0)),
            // struct nf_nat_range2.
            Target::Dnat(to) => {
                let flags = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
                let data = Data::new().u32(flags).address(*to).address(*to);
                let port = to.port();
                compat("target", "DNAT", 2, data.be16(port).be16(port).be16(0))
            }
            Target::Masquerade { random } => {
                let flags = if *random {
                    NF_NAT_RANGE_PROTO_RANDOM_FULLY
                } else {
                    0
                };
                let data = match self.0 {
                    // struct nf_nat_ipv4_multi_range_compat of one range: its number, flags, two addresses, two ports.
                    Family::Ipv4 => Data::new().u32(1).u32(flags).zeros(4 + 4 + 2 + 2),
                    // struct nf_nat_range: flags, two addresses, two ports.
                    Family::Ipv6 => Data::new().u32(flags).zeros(16 + 16 + 2 + 2),
                };
                compat("target", "MASQUERADE", 0, data)
            }
            Target::Reject => {
                let with = match self.0 {
                    Family::Ipv4 => IPT_ICMP_PORT_UNREACHABLE,
                    Family::Ipv6 => IP6T_ICMP6_PORT_UNREACH,
                };
                compat("target", "REJECT", 0, Data::new().u32(with))
            }
            Target::Reset => {
                let with = match self.0 {
                    Family::Ipv4 => IPT_TCP_RESET,
                    Family::Ipv6 => IP6T_TCP_RESET,
                };
                compat("target", "REJECT", 0, Data::new().u32(with))
            }
            Target::Drop => verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_DROP))]),
            Target::Queue(number) => compat("target", "NFQUEUE", 0, Data::new().u16(*number)),
        }
    }
}

fn named(table: &str, chain: &str) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(chain.to_owned()),
        ],
    }
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
}

fn expressions_of(what: &Match) -> Vec<Expressions> {
    match *what {
        Match::Source(address, length) => within(address, length, Side::Source),
        Match::Destination(address, length) => within(address, length, Side::Destination),
        Match::Recent(ref list, seconds) => {
            vec![recent(list, seconds, XT_RECENT_CHECK | XT_RECENT_REAP)]
        }
        Match::Remember(ref list) => vec![recent(list, 0, XT_RECENT_SET)],
        // struct xt_tcp: two ranges of ports, an option, flags and what they are compared with, what is inverted.
        Match::Tcp { port, syn } => {
            let (low, high) = port.map_or((0, u16::MAX), |port| (port, port));
            let ports = Data::new().u16(0).u16(u16::MAX).u16(low).u16(high);
            let (mask, flags) = if syn {
                (TCP_FIN_SYN_RST_ACK, TCP_SYN)
            } else {
                (0, 0)
            };
            let data = ports.u8(0).u8(mask).u8(flags).u8(0);
            let mut all = protocol(TCP);
            all.push(compat("match", "tcp", 0, data));
            all
        }
        // struct xt_mark_mtinfo1.
        Match::NotMarked(bits) => {
            let data = Data::new().u32(bits).u32(bits).u8(1);
            vec![compat("match", "mark", 1, data)]
        }
        // struct xt_statistic_info: mode random, not inverted, and room for its other mode and for a pointer of the kernel's.
        Match::Chance(parts) => {
            let data = Data::new().u16(0).u16(0).u32(parts).zeros(8 + 8);
            vec![compat("match", "statistic", 0, data)]
        }
        // struct xt_conntrack_mtinfo3: eight addresses, two times, a protocol and four ports, all of them any; then what is
        // matched, what is inverted, states, a status, and the upper ends of ports.
        Match::New => vec![in_state(STATE_NEW)],
        Match::Invalid => vec![in_state(STATE_INVALID)],
        Match::From(link) => came_in_by(link),
    }
}

/// What conntrack makes of it.
fn in_state(states: u16) -> Expressions {
    let any = Data::new().zeros(8 * 16 + 2 * 4 + 5 * 2);
    let data = any.u16(XT_CONNTRACK_STATE).u16(0).u16(states);
    compat("match", "conntrack", 3, data.zeros(2 + 4 * 2))
}

/// struct xt_recent_mtinfo_v1: seconds, hits, what is done, whether that is inverted, the list's name, whose side, and which
/// bits of an address count.
fn recent(list: &SourceList, seconds: u32, what: u8) -> Expressions {
    let mut name = list.name.clone().into_bytes();
    name.resize(XT_RECENT_NAME_LEN, 0);
    let data = Data::new().u32(seconds).u32(0).u8(what).u8(0);
    let data = data.bytes(&name).u8(XT_RECENT_SOURCE);
    // The mask is of 32-bit numbers.
    let data = data.zeros(1).address(SocketAddr::new(list.mask(), 0));
    compat("match", "recent", 1, data)
}

/// A match or target of iptables'.
fn compat(kind: &str, name: &str, revision: u32, data: Data) -> Expressions {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    other(
        kind,
        vec![
            DefaultNla::new(NFTA_COMPAT_NAME, text),
            DefaultNla::new(NFTA_COMPAT_REV, revision.to_be_bytes().to_vec()),
            DefaultNla::new(NFTA_COMPAT_INFO, data.end()),
        ],
    )
}

/// A structure as C lays it out: whoever writes its fields sees to their alignment.
struct Data(Vec<u8>);

impl Data {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    fn be16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    /// union nf_inet_addr.
    fn address(self, address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(address) => self.bytes(&address.octets()).zeros(12),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    fn zeros(mut self, number: usize) -> Self {
        self.0.resize(self.0.len() + number, 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self.0
    }
}
