//! Who may run beside whom. Tests of one binary run side by side; some measure the machine, or keep it busy on purpose,
//! and those have it for themselves.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

thread_local! {
    /// Whether this thread has its turn already: what it calls needs none of its own.
    static IN_TURN: Cell<bool> = const { Cell::new(false) };
}

/// Leave to use the machine, until it is dropped.
#[must_use = "the turn ends when this is dropped"]
pub(crate) struct Turn(Option<Held>);

/// What is held meanwhile: dropped with the turn, read by nobody.
enum Held {
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
    Beside {
        _guard: RwLockReadGuard<'static, ()>,
    },
}

/// Waits until no other test of this binary runs the program, and lets none begin: for tests that need both processors
/// idle, or keep them busy.
pub(crate) fn alone() -> Turn {
    assert!(
        !IN_TURN.get(),
        "a test asks for the machine before it uses it"
    );
    let guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    taken(Held::Alone { _guard: guard })
}

/// Waits until no test has the machine for itself. Whatever runs the program by [`crate::command`] has this turn.
pub(crate) fn beside_others() -> Turn {
    if IN_TURN.get() {
        return Turn(None);
    }
    let guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    taken(Held::Beside { _guard: guard })
}

fn taken(held: Held) -> Turn {
    IN_TURN.set(true);
    Turn(Some(held))
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.is_some() {
            IN_TURN.set(false);
        }
    }
}
