//! `halfopen __man`: the manual's pages, one a command, for whoever makes a release.

use std::path::Path;

use super::Exit;
use super::args::Arguments;

/// Name of the hidden subcommand.
pub(super) const SUBCOMMAND: &str = "__man";

pub(super) fn manual(folder: &Path) -> Exit {
    let all = <Arguments as clap::CommandFactory>::command();
    match clap_mangen::generate_to(all, folder) {
        Ok(()) => Exit::Held,
        Err(error) => Exit::broken(&format!(
            "failed to write the manual to {}: {error}",
            folder.display()
        )),
    }
}
