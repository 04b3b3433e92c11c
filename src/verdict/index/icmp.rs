//! ICMP errors, by the connection that they are about.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::own_link::OwnLinks;
use super::{Endpoint, Filed, canonical};
use crate::verdict::timeline::Moment;

/// ICMP's type 3, destination unreachable, with code 4: only a packet was too large.
const TOO_LARGE: (u8, u8) = (3, 4);

/// An ICMP error that says that a destination can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verdict) struct Unreachable {
    /// When it was seen.
    pub at: Moment,
    /// Its type and code.
    pub kind: (u8, u8),
    /// Who says so.
    pub from: IpAddr,
}

impl Unreachable {
    /// Whether it refuses a SYN as a RST does: port unreachable.
    pub(in crate::verdict) fn refuses(&self) -> bool {
        self.kind == if self.from.is_ipv4() { (3, 3) } else { (1, 4) }
    }
}

/// All of a record.
#[derive(Debug, Default)]
pub(super) struct IcmpErrors<'a> {
    by_end: Filed<Endpoint, (&'a str, Unreachable)>,
    settled: HashMap<Endpoint, Vec<Unreachable>>,
    /// Those that do not say what they are about, by who heard them.
    unspecified: Filed<&'a str, Unreachable>,
}

impl<'a> IcmpErrors<'a> {
    pub(super) fn file(
        &mut self,
        at: Moment,
        link: &'a str,
        kind: (u8, u8),
        from: IpAddr,
        about: Option<(SocketAddr, SocketAddr)>,
    ) {
        // Unreachable and time exceeded (a packet that goes in circles): types 3 and 11 of ICMP, 1 and 3 of ICMPv6.
        let fatal: &[u8] = if from.is_ipv4() { &[3, 11] } else { &[1, 3] };
        if !fatal.contains(&kind.0) || (from.is_ipv4() && kind == TOO_LARGE) {
            return;
        }
        let error = Unreachable { at, kind, from };
        match about {
            Some((own, _)) => {
                let of_end = self.by_end.entry(canonical(own)).or_default();
                of_end.push((link, error));
            }
            None => self.unspecified.entry(link).or_default().push(error),
        }
    }

    /// All are filed: of those seen on several links each counts once.
    pub(super) fn settle(&mut self, by_own_link: &OwnLinks) {
        for (end, mut errors) in std::mem::take(&mut self.by_end) {
            by_own_link.choose(end.0, &mut errors, |(link, _)| link);
            let errors = errors.into_iter().map(|(_, error)| error);
            self.settled.insert(end, errors.collect());
        }
    }

    /// Those about what was sent from an address; without any, those that its node heard about it knows not what.
    pub(super) fn about(&self, end: Endpoint, node: &str) -> &[Unreachable] {
        let own = self.settled.get(&end);
        own.or_else(|| self.unspecified.get(node))
            .map_or(&[], Vec::as_slice)
    }
}
