//! A router answers in the place of who is asked, and lets nothing pass.
//!
//! It does so where a packet comes in, and its answer leaves by the same link: nft's `reject` knows no other place.

use super::{Cut, path};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::lab::nft::{Direction, Fate, Match};
use crate::plan::{Path, RejectWith};

const TCP: u8 = 6;

/// The packets of a path are answered, and do not arrive.
pub(super) fn inject(
    network: &Network,
    table: &str,
    path: &Path,
    with: RejectWith,
) -> Result<Cut, LabError> {
    let tcp = [Match::Protocol(TCP)];
    let (matches, fate) = match with {
        RejectWith::Rst => (&tcp[..], Fate::Reset),
        RejectWith::Icmp => (&[][..], Fate::Unreachable),
    };
    let ingress = |_| Direction::Ingress;
    let table = path::lay(network, table, path, ingress, matches, fate)?;
    Ok(Cut::outside(table))
}
