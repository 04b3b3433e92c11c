//! What servers kept of a client.

use super::Told;

/// A line for each server of which anything was expected, and what says so.
pub(super) fn lines(told: &Told<'_>) -> Vec<String> {
    let own = told.result.kept.iter();
    let own = own.filter(|kept| kept.client == told.client.name);
    own.flat_map(|kept| [kept.to_string(), format!("  {}", kept.evidence)])
        .collect()
}
