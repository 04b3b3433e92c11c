//! Loading rules with the system's own programs.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::{Child, Command};

use super::NodeTable;
use crate::lab::LabError;
use crate::lab::namespace::Namespace;

/// Where iptables is on systems that leave it out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Finds a program of the system's administrator, who may not be the user.
pub(crate) fn find_program(name: &str) -> Result<PathBuf, LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_PATHS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| LabError::NoProgram {
            program: name.to_owned(),
        })
}

/// Loads `rules` in a namespace, to see whether it can be done.
pub(crate) async fn try_rules(
    namespace: &Rc<Namespace>,
    program: &str,
    rules: &str,
) -> Result<(), LabError> {
    let table = NodeTable {
        namespace: Rc::clone(namespace),
        program: find_program(program)?,
        services: Vec::new(),
    };
    restore(std::iter::once((&table, rules.to_owned()))).await
}

/// Starts one restore for each table, all at once, and waits for them.
pub(super) async fn restore<'a>(
    work: impl Iterator<Item = (&'a NodeTable, String)>,
) -> Result<(), LabError> {
    let mut running = Vec::new();
    for (table, text) in work {
        let child = start(table, &text).map_err(LabError::kernel(format!(
            "starting {} in {}",
            table.program.display(),
            table.namespace.name()
        )))?;
        running.push((table, child));
    }
    for (table, child) in running {
        finish(table, child).await?;
    }
    Ok(())
}

fn start(table: &NodeTable, text: &str) -> io::Result<Child> {
    // A file for its input: nothing has to be fed to it while it runs.
    let mut rules = File::from(memfd_create(c"rules", MFdFlags::MFD_CLOEXEC)?);
    rules.write_all(text.as_bytes())?;
    rules.rewind()?;
    let mut command = Command::new(&table.program);
    command
        .args(["--noflush", "-w"])
        // iptables-legacy locks a file that an ordinary user may not open, against others on the same tables. These
        // tables are this lab's alone, and their writers take turns already: any file will do.
        .env("XTABLES_LOCKFILE", "/proc/self/fd/0")
        .stdin(Stdio::from(rules))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // The child starts in the namespace its parent is visiting.
    table.namespace.enter(|| command.spawn())
}

async fn finish(table: &NodeTable, child: Child) -> Result<(), LabError> {
    let program = table.program.display().to_string();
    let output = child
        .wait_with_output()
        .await
        .map_err(LabError::kernel(format!("waiting for {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Program {
        program,
        namespace: table.namespace.name().to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
