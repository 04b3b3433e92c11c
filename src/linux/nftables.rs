//! nf_tables' own tables: maps of verdicts, sets that remember, and chains; as `nft list table` shows them ([`Table::listed`]),
//! and as nft would hand them to the kernel ([`load`]).
//!
//! Without the program, as [`super::iptables`]: it takes milliseconds to start and need not be there (tests/lab/nftables.rs
//! compares what is loaded with what nft shows of it).

mod messages;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::NetfilterMessage;

use self::messages::Writer;
use super::LinuxError;
use super::iptables::Family;
use super::namespace::Namespace;
use super::netlink::{Channel, Refused};
use super::nft::{commit, is_lack};

/// What nf_tables gives a set that rules add to, where nothing else is asked for.
const DYNAMIC_SIZE: u32 = 0xffff;

/// A table: all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its address family.
    pub(crate) family: Family,
    /// Its name.
    pub(crate) name: &'static str,
    /// Maps from address, protocol and port to the chain that decides.
    pub(crate) maps: Vec<VerdictMap>,
    /// Sets that remember where packets came from.
    pub(crate) memories: Vec<Memory>,
    /// Chains; one that a rule names stands in any place.
    pub(crate) chains: Vec<Chain>,
}

/// A map from a destination of TCP to the chain that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerdictMap {
    /// Its name.
    pub(crate) name: &'static str,
    /// Destinations, and the chain that each goes to.
    pub(crate) elements: Vec<(SocketAddr, String)>,
}

/// A set of sources, each of which is forgotten a time after it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its name.
    pub(crate) name: String,
    /// How long.
    pub(crate) timeout: Duration,
}

/// Where the kernel goes through a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Connections' addresses of what has just come in.
    NatPrerouting,
    /// Connections' addresses of what this namespace sends.
    NatOutput,
    /// Connections' addresses of what is about to leave.
    NatPostrouting,
    /// What is only passing, before connections' addresses are changed.
    FilterForward,
    /// What this namespace sends, before that.
    FilterOutput,
}

impl Hook {
    /// As nft writes it.
    fn words(self) -> &'static str {
        match self {
            Self::NatPrerouting => "type nat hook prerouting priority dstnat",
            Self::NatOutput => "type nat hook output priority -100",
            Self::NatPostrouting => "type nat hook postrouting priority srcnat",
            Self::FilterForward => "type filter hook forward priority -110",
            Self::FilterOutput => "type filter hook output priority -110",
        }
    }
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its name.
    pub(crate) name: String,
    /// Where the kernel goes through it; `None` if only rules lead there.
    pub(crate) hook: Option<Hook>,
    /// Rules, in their order.
    pub(crate) rules: Vec<Rule>,
}

impl Chain {
    /// One that rules lead to.
    pub(crate) fn own(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self {
            name: name.into(),
            hook: None,
            rules,
        }
    }

    /// One that the kernel goes through.
    pub(crate) fn hooked(name: &str, hook: Hook, rule: Rule) -> Self {
        Self {
            name: name.to_owned(),
            hook: Some(hook),
            rules: vec![rule],
        }
    }
}

/// A rule: what its parts say, from left to right, as long as each holds.
pub(crate) type Rule = Vec<Part>;

/// A part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The packet comes from this address.
    From(IpAddr),
    /// It comes from an address that the set of this name remembers.
    Remembered(String),
    /// It is TCP.
    Tcp,
    /// It is the first of its connection.
    New,
    /// None of these bits is set in its mark.
    NotMarked(u32),
    /// The set of this name remembers its source, from now on.
    Remember(String),
    /// These bits of its mark are set.
    SetMark(u32),
    /// These bits of its mark are turned over.
    TurnMark(u32),
    /// The chain of this name decides; without a decision the next rule is asked.
    Jump(String),
    /// The chain of this name decides, and nothing after it.
    Goto(String),
    /// Back to where this chain was jumped from.
    Return,
    /// The map of this name says which chain decides, by destination.
    Look(&'static str),
    /// One of these chains decides, each as likely.
    Dice(Vec<String>),
    /// The connection goes to this address.
    Dnat(SocketAddr),
    /// The connection comes from this namespace's own address, and from a random port.
    Masquerade,
    /// It is answered with "port unreachable".
    Reject,
}

/// Of what family a table's addresses are, as nft writes it.
struct Word(Family);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        })
    }
}

impl Table {
    /// What `nft list table` shows of it; one element of a map a line.
    pub(crate) fn listed(&self) -> Vec<String> {
        let word = Word(self.family);
        let address = match self.family {
            Family::Ipv4 => "ipv4_addr",
            Family::Ipv6 => "ipv6_addr",
        };
        let mut lines = vec![format!("table {word} {} {{", self.name)];
        for map in &self.maps {
            lines.push(format!("\tmap {} {{", map.name));
            lines.push(format!(
                "\t\ttype {address} . inet_proto . inet_service : verdict"
            ));
            lines.extend(elements(&map.elements));
            lines.push("\t}".to_owned());
        }
        for memory in &self.memories {
            lines.push(format!("\tset {} {{", memory.name));
            lines.push(format!("\t\ttype {address}"));
            lines.push(format!("\t\tsize {DYNAMIC_SIZE}"));
            lines.push("\t\tflags dynamic,timeout".to_owned());
            lines.push(format!("\t\ttimeout {}", time(memory.timeout)));
            lines.push("\t}".to_owned());
        }
        for chain in &self.chains {
            lines.push(format!("\tchain {} {{", chain.name));
            if let Some(hook) = chain.hook {
                lines.push(format!("\t\t{}; policy accept;", hook.words()));
            }
            for rule in &chain.rules {
                lines.push(format!("\t\t{}", self.rule(rule)));
            }
            lines.push("\t}".to_owned());
        }
        lines.push("}".to_owned());
        lines
    }

    fn rule(&self, rule: &[Part]) -> String {
        let parts = rule.iter().map(|part| part.said(self.family));
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// The elements of a map, by their addresses.
fn elements(elements: &[(SocketAddr, String)]) -> Vec<String> {
    let mut sorted: Vec<_> = elements.iter().collect();
    sorted.sort();
    let count = sorted.len();
    let one = |(n, (to, chain)): (usize, &(SocketAddr, String))| {
        let before = match n {
            0 => "\t\telements = { ",
            _ => "\t\t\t     ",
        };
        let after = if n + 1 == count { " }" } else { "," };
        let (ip, port) = (to.ip(), to.port());
        format!("{before}{ip} . tcp . {port} : goto {chain}{after}")
    };
    sorted.into_iter().enumerate().map(one).collect()
}

/// A time as nft writes it.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(time.subsec_millis()), "ms"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(n, unit)| format!("{n}{unit}")).collect()
}

impl Part {
    fn said(&self, family: Family) -> String {
        let word = Word(family);
        match self {
            Self::From(address) => format!("{word} saddr {address}"),
            Self::Remembered(set) => format!("{word} saddr @{set}"),
            Self::Tcp => "meta l4proto tcp".to_owned(),
            Self::New => "ct state new".to_owned(),
            Self::NotMarked(bits) => format!("meta mark & {bits:#010x} == 0x00000000"),
            Self::Remember(set) => format!("update @{set} {{ {word} saddr }}"),
            Self::SetMark(bits) => format!("meta mark set meta mark | {bits:#010x}"),
            Self::TurnMark(bits) => format!("meta mark set meta mark ^ {bits:#010x}"),
            Self::Jump(chain) => format!("jump {chain}"),
            Self::Goto(chain) => format!("goto {chain}"),
            Self::Return => "return".to_owned(),
            Self::Look(map) => {
                format!("{word} daddr . meta l4proto . th dport vmap @{map}")
            }
            Self::Dice(chains) => {
                let sides = chains.iter().enumerate();
                let sides: Vec<_> = sides.map(|(n, c)| format!("{n} : goto {c}")).collect();
                let (many, sides) = (sides.len(), sides.join(", "));
                format!("numgen random mod {many} vmap {{ {sides} }}")
            }
            Self::Dnat(to) => format!("dnat to {to}"),
            Self::Masquerade => "masquerade fully-random".to_owned(),
            Self::Reject => "reject".to_owned(),
        }
    }
}

/// What is no longer in a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Chains, by name.
    pub(crate) chains: Vec<String>,
    /// Sets.
    pub(crate) memories: Vec<Memory>,
}

/// Brings the namespace of `channel` (a netfilter socket) to `table` in one transaction: all of it, or none. What a set
/// remembers stays; what is `gone` need not have been there.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel lacks what a part needs, [`LinuxError::Kernel`] if it refuses one.
pub(crate) fn load(
    channel: &mut Channel,
    namespace: &Namespace,
    table: &Table,
    gone: &Gone,
) -> Result<(), LinuxError> {
    let mut writer = Writer::of(table);
    // Each message, and what it is for.
    let mut messages: Vec<(NetfilterMessage, u16)> = Vec::new();
    let mut about: Vec<String> = Vec::new();
    let mut say = |message, flags, what: String| {
        messages.push((message, flags));
        about.push(what);
    };
    let name = table.name;
    say(writer.table(), NLM_F_CREATE, format!("table {name}"));
    for map in &table.maps {
        let what = format!("map {}", map.name);
        say(writer.map(map.name), NLM_F_CREATE, what.clone());
        say(writer.emptied_map(map.name), 0, what);
    }
    // What is to go is made first, so that it can be deleted whether it was there or not.
    for memory in table.memories.iter().chain(&gone.memories) {
        let what = format!("set {}", memory.name);
        say(writer.memory(memory), NLM_F_CREATE, what);
    }
    let names = table.chains.iter().map(|chain| (&chain.name, chain.hook));
    for (name, hook) in names.chain(gone.chains.iter().map(|name| (name, None))) {
        let what = format!("chain {name}");
        say(writer.chain(name, hook), NLM_F_CREATE, what.clone());
        say(writer.emptied(name), 0, what);
    }
    for map in &table.maps {
        if !map.elements.is_empty() {
            let what = format!("elements of map {}", map.name);
            say(writer.elements(map), NLM_F_CREATE, what);
        }
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            let what = table.rule(rule);
            for message in writer.rule(&chain.name, rule) {
                say(message, NLM_F_CREATE | NLM_F_APPEND, what.clone());
            }
        }
    }
    for name in &gone.chains {
        say(writer.gone(name), 0, format!("chain {name}"));
    }
    for Memory { name, .. } in &gone.memories {
        say(writer.forgotten(name), 0, format!("set {name}"));
    }
    commit(channel, messages).map_err(|refused| told(refused, &about, namespace.name()))
}

/// What the kernel refused, by what `about` says of each message.
fn told(refused: Refused, about: &[String], namespace: &str) -> LinuxError {
    let what = refused.message.and_then(|message| about.get(message));
    let what = what.map_or("nf_tables' rules", String::as_str);
    if is_lack(&refused.source) {
        return LinuxError::Missing {
            what: format!(
                "what `{what}` needs (nf_tables with NAT, CONFIG_NFT_NUMGEN and CONFIG_NFT_MASQ)"
            ),
            location: None,
        };
    }
    LinuxError::Kernel {
        doing: format!("loading `{what}` in {namespace}"),
        source: refused.source,
    }
}
