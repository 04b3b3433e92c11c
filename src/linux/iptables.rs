//! iptables' rules: as its own commands say them, and as iptables-nft would hand them to the kernel ([`load`]).
//!
//! Without the program: it takes milliseconds to start, in a guest a third of what a whole case costs, and need not be there.
//! What iptables-save shows of them afterwards is what [`Rule`] displays (tests/lab/rules.rs compares the two).

mod expressions;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::NetfilterMessage;

use self::expressions::Writer;
use super::LinuxError;
use super::namespace::Namespace;
use super::netlink::{Channel, Refused};
use super::nft::{commit, is_lack};

/// Which packets: those that iptables sees, or those of ip6tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// That of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The program that shows its rules.
    pub(crate) fn save(self) -> &'static str {
        match self {
            Self::Ipv4 => "iptables-save",
            Self::Ipv6 => "ip6tables-save",
        }
    }
}

/// One of iptables' tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Where a connection's addresses are changed.
    Nat,
    /// Where packets are refused.
    Filter,
}

impl Table {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

/// A chain: one that the kernel goes through, or one of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chain {
    /// What has just come in.
    Prerouting,
    /// What is for this namespace.
    Input,
    /// What is only passing.
    Forward,
    /// What this namespace sends.
    Output,
    /// What is about to leave.
    Postrouting,
    /// One that rules jump to.
    Own(String),
}

impl Chain {
    fn name(&self) -> &str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
            Self::Own(name) => name,
        }
    }
}

/// What a packet must be for a rule to speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Match {
    /// Its source begins as this address does, for so many bits: whole bytes.
    Source(IpAddr, u8),
    /// Its destination does.
    Destination(IpAddr, u8),
    /// It is TCP.
    Tcp {
        /// To this port, where there is one.
        port: Option<u16>,
        /// It opens a connection.
        syn: bool,
    },
    /// Its mark is not this one, of the bits that this one has.
    NotMarked(u32),
    /// Chance picks it: so many of 2^31.
    Chance(u32),
    /// It is the first of its connection.
    New,
    /// It belongs to no connection that is known, and opens none.
    Invalid,
    /// It came in by this link.
    From(&'static str),
    /// The list has its source since less than so many seconds; what is older is forgotten.
    Recent(SourceList, u32),
    /// Any packet: the list has its source from now on.
    Remember(SourceList),
}

/// A list of sources that the kernel keeps (xt_recent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceList {
    /// Its name, of 199 bytes at the most.
    pub(crate) name: String,
    /// Of what family its addresses are.
    pub(crate) family: Family,
}

impl SourceList {
    /// Of an address all bits count.
    fn mask(&self) -> IpAddr {
        match self.family {
            Family::Ipv4 => Ipv4Addr::BROADCAST.into(),
            Family::Ipv6 => Ipv6Addr::from_bits(u128::MAX).into(),
        }
    }
}

impl fmt::Display for SourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--name {} --mask {} --rsource", self.name, self.mask())
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The chain of this name decides.
    Jump(String),
    /// Back to where this chain was jumped from.
    Return,
    /// These bits of its mark are set.
    SetMark(u32),
    /// These bits of its mark are turned over.
    TurnMark(u32),
    /// Its connection goes to this address.
    Dnat(SocketAddr),
    /// Its connection comes from this namespace's own address; from a random port, if so.
    Masquerade {
        /// From any free port, whatever it had.
        random: bool,
    },
    /// It is answered with "port unreachable".
    Reject,
    /// It is answered with RST; TCP alone.
    Reset,
    /// It vanishes.
    Drop,
    /// Whoever has this queue decides.
    Queue(u16),
}

/// Rules' place in their chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Before those that are there.
    First,
    /// After them.
    Last,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its chain.
    pub(crate) chain: Chain,
    /// Its place there.
    pub(crate) position: Position,
    /// All of these must hold.
    pub(crate) matches: Vec<Match>,
    /// What becomes of the packet.
    pub(crate) target: Target,
}

impl Rule {
    /// One before those that are there.
    pub(crate) fn first(chain: Chain, matches: Vec<Match>, target: Target) -> Self {
        Self {
            chain,
            position: Position::First,
            matches,
            target,
        }
    }

    /// One after those that are there.
    pub(crate) fn last(chain: Chain, matches: Vec<Match>, target: Target) -> Self {
        Self {
            chain,
            position: Position::Last,
            matches,
            target,
        }
    }
}

/// What happens to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The table.
    pub(crate) table: Table,
    /// Chains that are made, or emptied.
    pub(crate) chains: Vec<String>,
    /// Rules, in their order.
    pub(crate) rules: Vec<Rule>,
    /// Chains that are gone afterwards; they are among those that are emptied.
    pub(crate) gone: Vec<String>,
}

impl Change {
    /// `rules` more, and `chains` that are made or emptied for them.
    pub(crate) fn more(table: Table, chains: Vec<String>, rules: Vec<Rule>) -> Self {
        Self {
            table,
            chains,
            rules,
            gone: Vec::new(),
        }
    }
}

/// Makes all `changes` in the namespace of `channel` (a netfilter socket) as one transaction: all of them, or none.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel lacks what a rule needs, [`LinuxError::Kernel`] if it refuses one.
pub(crate) fn load(
    channel: &mut Channel,
    namespace: &Namespace,
    family: Family,
    changes: &[Change],
) -> Result<(), LinuxError> {
    let writer = Writer(family);
    // Each message, and what it is for.
    let mut messages: Vec<(NetfilterMessage, u16)> = Vec::new();
    let mut about: Vec<String> = Vec::new();
    let mut say = |message, flags, what: String| {
        messages.push((message, flags));
        about.push(what);
    };
    for change in changes {
        let table = change.table.name();
        say(writer.table(table), NLM_F_CREATE, format!("table {table}"));
        let mut hooked: Vec<&Chain> = Vec::new();
        for chain in change.rules.iter().map(|rule| &rule.chain) {
            if hooked.contains(&chain) {
                continue;
            }
            hooked.push(chain);
            if let Some(hook) = writer.hook(change.table, chain) {
                let what = format!("chain {} of {table}", chain.name());
                say(hook, NLM_F_CREATE, what);
            }
        }
        for chain in &change.chains {
            let what = format!("chain {chain} of {table}");
            say(writer.chain(table, chain), NLM_F_CREATE, what.clone());
            say(writer.emptied(table, chain), 0, what);
        }
        for rule in &change.rules {
            let flags = match rule.position {
                Position::First => NLM_F_CREATE,
                Position::Last => NLM_F_CREATE | NLM_F_APPEND,
            };
            say(writer.rule(table, rule), flags, rule.to_string());
        }
        for chain in &change.gone {
            let what = format!("chain {chain} of {table}");
            say(writer.gone(table, chain), 0, what);
        }
    }
    commit(channel, messages).map_err(|refused| told(refused, &about, namespace.name()))
}

/// What the kernel refused, by what `about` says of each message.
fn told(refused: Refused, about: &[String], namespace: &str) -> LinuxError {
    let what = refused.message.and_then(|message| about.get(message));
    let what = what.map_or("iptables' rules", String::as_str);
    if is_lack(&refused.source) {
        LinuxError::Missing {
            what: format!(
                "what `{what}` needs (nf_tables, nft_compat, and iptables' match or target)"
            ),
            location: None,
        }
    } else {
        LinuxError::Kernel {
            doing: format!("loading `{what}` in {namespace}"),
            source: refused.source,
        }
    }
}

/// As iptables-save writes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.position {
            Position::First => "-I",
            Position::Last => "-A",
        };
        write!(f, "{how} {}", self.chain.name())?;
        for what in &self.matches {
            write!(f, " {what}")?;
        }
        match &self.target {
            Target::Jump(chain) => write!(f, " -j {chain}"),
            Target::Return => f.write_str(" -j RETURN"),
            Target::SetMark(bits) => write!(f, " -j MARK --or-mark {bits:#x}"),
            Target::TurnMark(bits) => write!(f, " -j MARK --xor-mark {bits:#x}"),
            Target::Dnat(to) => write!(f, " -j DNAT --to-destination {to}"),
            Target::Masquerade { random: false } => f.write_str(" -j MASQUERADE"),
            Target::Masquerade { random: true } => f.write_str(" -j MASQUERADE --random-fully"),
            Target::Reject if self.is_ipv6() => {
                f.write_str(" -j REJECT --reject-with icmp6-port-unreachable")
            }
            Target::Reject => f.write_str(" -j REJECT --reject-with icmp-port-unreachable"),
            Target::Reset => f.write_str(" -j REJECT --reject-with tcp-reset"),
            Target::Drop => f.write_str(" -j DROP"),
            Target::Queue(number) => write!(f, " -j NFQUEUE --queue-num {number}"),
        }
    }
}

impl Rule {
    fn is_ipv6(&self) -> bool {
        self.matches.iter().any(|what| match what {
            Match::Source(address, _) | Match::Destination(address, _) => address.is_ipv6(),
            Match::Tcp { .. }
            | Match::NotMarked(_)
            | Match::Chance(_)
            | Match::New
            | Match::Invalid
            | Match::From(_)
            | Match::Recent(..)
            | Match::Remember(_) => false,
        })
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(address, length) => write!(f, "-s {address}/{length}"),
            Self::Destination(address, length) => write!(f, "-d {address}/{length}"),
            Self::Tcp { port, syn } => {
                f.write_str("-p tcp -m tcp")?;
                if let Some(port) = port {
                    write!(f, " --dport {port}")?;
                }
                if *syn {
                    f.write_str(" --tcp-flags FIN,SYN,RST,ACK SYN")?;
                }
                Ok(())
            }
            Self::NotMarked(bits) => write!(f, "-m mark ! --mark {bits:#x}/{bits:#x}"),
            Self::Chance(parts) => {
                let share = f64::from(*parts) / f64::from(1_u32 << 31);
                write!(f, "-m statistic --mode random --probability {share:.11}")
            }
            Self::New => f.write_str("-m conntrack --ctstate NEW"),
            Self::Invalid => f.write_str("-m conntrack --ctstate INVALID"),
            Self::From(link) => write!(f, "-i {link}"),
            Self::Recent(list, seconds) => {
                write!(f, "-m recent --rcheck --seconds {seconds} --reap {list}")
            }
            Self::Remember(list) => write!(f, "-m recent --set {list}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(message: Option<usize>, errno: i32) -> String {
        let about = ["table nat", "-A KUBE-SVC-AA -j RETURN"].map(str::to_owned);
        let source = io::Error::from_raw_os_error(errno);
        told(Refused { message, source }, &about, "node1").to_string()
    }

    #[test]
    fn what_the_kernel_lacks_is_named_by_the_rule_that_needs_it() {
        assert_eq!(
            refused(Some(1), libc::ENOENT),
            "this machine lacks what `-A KUBE-SVC-AA -j RETURN` needs (nf_tables, nft_compat, and iptables' match or target)"
        );
    }

    #[test]
    fn what_it_forbids_is_no_lack() {
        assert_eq!(
            refused(Some(0), libc::EPERM),
            "loading `table nat` in node1: Operation not permitted (os error 1)"
        );
        // It was the batch as a whole.
        assert_eq!(
            refused(None, libc::ENOMEM),
            "loading `iptables' rules` in node1: Cannot allocate memory (os error 12)"
        );
    }
}
