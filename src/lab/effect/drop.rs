//! Packets vanish: all of them, some by chance, or SYNs alone.

use super::{Act, Guard, Site, path};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::linux::nft::{Fate, Match};
use crate::plan::{LabPlan, Packets, Path};

const TCP: u8 = 6;
/// Flags of a TCP header.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// [`crate::plan::Effect::Drop`].
pub(super) struct Drop<'a> {
    pub(super) path: &'a Path,
    pub(super) packets: Packets,
    pub(super) percent: f64,
}

impl Act for Drop<'_> {
    /// Each packet vanishes by a throw of its own.
    fn cut(&self, network: &Network, _: &LabPlan, site: Site) -> Result<Guard, LabError> {
        let mut matches = match self.packets {
            Packets::All => Vec::new(),
            // SYN-ACKs are not meant: they answer the SYNs of the other way.
            Packets::Syn => vec![Match::Protocol(TCP), Match::TcpFlags(SYN | ACK, SYN)],
        };
        if self.percent < 100.0 {
            // The cast saturates: a hair below 100 % is all but one of 2^32.
            matches.push(Match::Chance((self.percent / 100.0 * 2f64.powi(32)) as u32));
        }
        let table = path::lay(
            network,
            &site.table(),
            self.path,
            path::nearest,
            &matches,
            Fate::Drop,
        )?;
        Ok(Guard::outside(table))
    }

    fn silences(&self) -> bool {
        false
    }
}
