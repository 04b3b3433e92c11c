//! A router answers in the place of who is asked, and lets nothing pass.
//!
//! It does so where a packet comes in, and its answer leaves by the same link: nft's `reject` knows no other place.

use super::{Act, Guard, Site, path};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::linux::nft::{Direction, Fate, Match};
use crate::plan::{LabPlan, Path, RejectWith};

const TCP: u8 = 6;

/// [`crate::plan::Effect::Answer`].
pub(super) struct Answer<'a> {
    pub(super) path: &'a Path,
    pub(super) with: RejectWith,
}

impl Act for Answer<'_> {
    fn cut(&self, network: &Network, _: &LabPlan, site: Site) -> Result<Guard, LabError> {
        let tcp = [Match::Protocol(TCP)];
        let (matches, fate) = match self.with {
            RejectWith::Rst => (&tcp[..], Fate::Reset),
            RejectWith::Icmp => (&[][..], Fate::Unreachable),
        };
        let ingress = |_| Direction::Ingress;
        let table = path::lay(network, &site.table(), self.path, ingress, matches, fate)?;
        Ok(Guard::outside(table))
    }

    fn silences(&self) -> bool {
        true
    }
}
