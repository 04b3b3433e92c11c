//! What becomes of a client and its connection.

use super::super::window::{Candidate, either};
use crate::plan::Window;

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its connection lives; when it is answered again.
    Lives(Option<Window>),
    /// Its connection is given up, and when the next one is answered.
    GivenUp(Candidate, Option<Window>),
    /// One or the other.
    Open(Option<Window>),
}

impl Outcome {
    pub(super) fn recovery(self) -> Option<Window> {
        match self {
            Self::Lives(recovery) | Self::GivenUp(_, recovery) | Self::Open(recovery) => recovery,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        let both = self.recovery().zip(other.recovery());
        let recovery = both.map(|(a, b)| a.around(b));
        match (self, other) {
            (Self::Lives(_), Self::Lives(_)) => Self::Lives(recovery),
            (Self::GivenUp(a, _), Self::GivenUp(b, _)) => Self::GivenUp(either(a, b), recovery),
            (Self::Lives(_) | Self::GivenUp(..) | Self::Open(_), _) => Self::Open(recovery),
        }
    }

    /// Whether its connection is given up sooner than by `other`; `None` where either may be the sooner.
    pub(super) fn ends_before(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::GivenUp((own, _), _), Self::GivenUp((other, _), _)) => {
                match (own.max < other.min, own.min >= other.max) {
                    (true, _) => Some(true),
                    (_, true) => Some(false),
                    (false, false) => None,
                }
            }
            (Self::GivenUp(..), Self::Lives(_) | Self::Open(_)) => Some(true),
            (Self::Lives(_) | Self::Open(_), _) => Some(false),
        }
    }

    /// All times this much earlier.
    pub(super) fn earlier(self, by: Window) -> Self {
        let shift = |window: Window| Window::of(window.min.saturating_sub(by.max), window.max);
        match self {
            Self::Lives(recovery) => Self::Lives(recovery.map(shift)),
            Self::GivenUp((window, cause), recovery) => {
                Self::GivenUp((shift(window), cause), recovery.map(shift))
            }
            Self::Open(recovery) => Self::Open(recovery.map(shift)),
        }
    }
}
