//! A middlebox knows connections no more.

use super::{Act, Guard, Site};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::linux::conntrack;
use crate::plan::LabPlan;

/// [`crate::plan::Effect::LoseState`].
pub(super) struct LoseState<'a> {
    pub(super) middlebox: &'a str,
    /// It has forgotten what lay idle, already.
    pub(super) by_itself: bool,
}

impl Act for LoseState<'_> {
    fn cut(&self, network: &Network, _: &LabPlan, _: Site) -> Result<Guard, LabError> {
        if self.by_itself {
            return Ok(Guard::default());
        }
        let namespace = network.middlebox(self.middlebox)?;
        let found = conntrack::delete(namespace, |_| true)?;
        Ok(Guard::found(found))
    }

    fn silences(&self) -> bool {
        false
    }
}
