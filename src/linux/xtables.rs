//! iptables-restore and its relatives: where they are, and running one in a namespace.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::{Child, Command};

use super::LinuxError;
use super::namespace::Namespace;

/// Where iptables is on systems that leave it out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Finds a program of the system's administrator, who may not be the user.
///
/// Where it is as a rule comes first: in a guest each look in vain takes from the kernel's randomness, so that the same seed
/// would give another run to a user with another PATH.
pub(crate) fn find_program(name: &str) -> Result<PathBuf, LinuxError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_PATHS.map(PathBuf::from).into_iter();
    system
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| LinuxError::NoProgram {
            program: name.to_owned(),
        })
}

/// Whether a program of the system's administrator is in one of the system's own folders, so that PATH decides nothing.
pub(crate) fn is_where_the_system_has_it(name: &str) -> bool {
    SYSTEM_PATHS
        .iter()
        .any(|folder| Path::new(folder).join(name).is_file())
}

/// Loads `rules`, the input of `program` (iptables-restore, ip6tables-restore), in a namespace beside those it has.
pub(crate) async fn load_rules(
    namespace: &Rc<Namespace>,
    program: &str,
    rules: &str,
) -> Result<(), LinuxError> {
    let program = find_program(program)?;
    let child = start(namespace, &program, rules)?;
    finish(namespace, &program, child).await
}

/// Starts a restore of `rules`, the program's input.
pub(crate) fn start(
    namespace: &Namespace,
    program: &Path,
    rules: &str,
) -> Result<Child, LinuxError> {
    spawn(namespace, program, rules).map_err(LinuxError::kernel(format!(
        "starting {} in {}",
        program.display(),
        namespace.name()
    )))
}

fn spawn(namespace: &Namespace, program: &Path, text: &str) -> io::Result<Child> {
    // A file for its input: nothing has to be fed to it while it runs.
    let mut rules = File::from(memfd_create(c"rules", MFdFlags::MFD_CLOEXEC)?);
    rules.write_all(text.as_bytes())?;
    rules.rewind()?;
    let mut command = Command::new(program);
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
    namespace.enter(|| command.spawn())
}

/// Waits for a restore.
pub(crate) async fn finish(
    namespace: &Namespace,
    program: &Path,
    child: Child,
) -> Result<(), LinuxError> {
    let program = program.display().to_string();
    let output = child
        .wait_with_output()
        .await
        .map_err(LinuxError::kernel(format!("waiting for {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LinuxError::Program {
        program,
        namespace: namespace.name().to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
