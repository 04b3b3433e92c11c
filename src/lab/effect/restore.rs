//! A node that lost its power has it back.

use std::rc::Rc;

use super::{Act, LabError, act};
use crate::lab::run::Lab;
use crate::plan::Effect;

/// [`Effect::Restore`].
pub(super) struct Restore<'a> {
    pub(super) node: &'a str,
}

impl Act for Restore<'_> {
    fn begin(&self, lab: &Rc<Lab>) -> Result<(), LabError> {
        let taken = lab.take(|effect| match effect {
            Effect::Silence { node, .. } | Effect::Stop { node } => node == self.node,
            Effect::Restore { .. }
            | Effect::Kill { .. }
            | Effect::Hang { .. }
            | Effect::Carrier { .. }
            | Effect::Drop { .. }
            | Effect::Delay { .. }
            | Effect::Answer { .. }
            | Effect::Rules { .. }
            | Effect::Forget { .. }
            | Effect::Destroy { .. }
            | Effect::LoseState { .. } => false,
        });
        if taken.is_empty() {
            let text = format!("power_restore of {}, which has its power", self.node);
            return Err(LabError::Setup(text));
        }
        for (effect, guard) in taken.into_iter().rev() {
            act(&effect).undo(lab)?;
            std::mem::drop(guard);
        }
        Ok(())
    }

    fn silences(&self) -> bool {
        false
    }
}
