//! SYNs vanish: nobody gets a new connection, and who has one keeps it.

use super::{Cut, path};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::lab::nft::{Fate, Match};
use crate::plan::Path;

const TCP: u8 = 6;
/// Flags of a TCP header.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The SYNs of a path vanish; SYN-ACKs, which answer those of the other way, do not.
pub(super) fn inject(network: &Network, table: &str, path: &Path) -> Result<Cut, LabError> {
    let syn = [Match::Protocol(TCP), Match::TcpFlags(SYN | ACK, SYN)];
    let table = path::lay(network, table, path, path::nearest, &syn, Fate::Drop)?;
    Ok(Cut::outside(table))
}
