//! `halfopen doctor`.

use std::process::ExitCode;

use super::Exit;

pub(super) fn doctor() -> Exit {
    Exit::Held
}

pub(super) fn probe() -> ExitCode {
    ExitCode::SUCCESS
}
