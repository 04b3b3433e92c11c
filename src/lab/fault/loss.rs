//! Packets vanish, all of them or some by chance.

use super::{Cut, path};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::lab::nft::{Fate, Match};
use crate::plan::Path;

/// `percent` of the packets of a path vanish, each by a throw of its own.
pub(super) fn inject(
    network: &Network,
    table: &str,
    path: &Path,
    percent: f64,
) -> Result<Cut, LabError> {
    // The cast saturates: a hair below 100 % is all but one of 2^32.
    let share = (percent / 100.0 * 2f64.powi(32)) as u32;
    let chance = [Match::Chance(share)];
    let matches = if percent < 100.0 { &chance[..] } else { &[] };
    let table = path::lay(network, table, path, path::nearest, matches, Fate::Drop)?;
    Ok(Cut::outside(table))
}
