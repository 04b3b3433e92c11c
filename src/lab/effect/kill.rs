//! A program is killed. Its kernel goes on, and closes what it had open.

use std::rc::Rc;

use super::{Act, LabError};
use crate::lab::run::Lab;
use crate::plan::Process;

/// [`crate::plan::Effect::Kill`].
pub(super) struct Kill<'a> {
    pub(super) process: &'a Process,
}

impl Act for Kill<'_> {
    fn follow(&self, lab: &Rc<Lab>) {
        let (Process::Server(killed) | Process::Client(killed)) = self.process;
        lab.end(|name, _| name == killed);
    }

    /// A server is started again; a client that is killed stays so.
    fn undo(&self, lab: &Rc<Lab>) -> Result<(), LabError> {
        match self.process {
            Process::Server(killed) => lab.start_again(|server| server.name == *killed),
            Process::Client(_) => Ok(()),
        }
    }

    fn silences(&self) -> bool {
        true
    }
}
