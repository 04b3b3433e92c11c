//! What all servers of a lab share.

use std::rc::Rc;

use super::stores::Stores;
use crate::contract::phase::PhaseBoard;
use crate::contract::tls::Authority;
use crate::record::Recorder;

/// What all servers of a lab share.
pub struct Commons {
    /// Where they leave what they observe.
    pub recorder: Recorder,
    /// Signs their certificates.
    pub authority: Authority,
    /// Faults that wait until a server has a request.
    pub phases: Rc<PhaseBoard>,
    /// What their apps keep together.
    pub(super) stores: Stores,
}

impl Commons {
    /// With empty stores.
    #[must_use]
    pub fn new(recorder: Recorder, authority: Authority, phases: Rc<PhaseBoard>) -> Self {
        Self {
            stores: Stores::new(recorder.clone()),
            recorder,
            authority,
            phases,
        }
    }
}
