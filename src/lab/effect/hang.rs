//! A server's program does nothing: nobody runs it, and its sockets stay.

use std::rc::Rc;

use super::{Act, LabError};
use crate::lab::run::Lab;

/// [`crate::plan::Effect::Hang`].
pub(super) struct Hang<'a> {
    pub(super) server: &'a str,
}

impl Act for Hang<'_> {
    fn follow(&self, lab: &Rc<Lab>) {
        if let Some(gate) = lab.gates.get(self.server) {
            gate.shut();
        }
        if let Some(program) = lab.program_server(self.server) {
            program.hang(true);
        }
    }

    fn undo(&self, lab: &Rc<Lab>) -> Result<(), LabError> {
        if let Some(gate) = lab.gates.get(self.server) {
            gate.open();
        }
        if let Some(program) = lab.program_server(self.server) {
            program.hang(false);
        }
        Ok(())
    }

    fn silences(&self) -> bool {
        true
    }
}
