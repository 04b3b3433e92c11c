//! Programs of this machine that tests call: what is missing is named, and what installs it.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each binary takes what it needs"
)]

use std::env;
use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Where a program may be though it is in no ordinary user's `PATH`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/local/go/bin"];

/// A command of the program called `name`, which must be installed.
#[track_caller]
pub(crate) fn program(name: &str) -> Command {
    Command::new(path(name))
}

/// Where the program called `name` is, which must be installed.
#[track_caller]
pub(crate) fn path(name: &str) -> PathBuf {
    match find(name) {
        Some(path) => path,
        None => panic!(
            "this test needs the program `{name}`, which is not installed; `./ci/deps` installs it"
        ),
    }
}

/// Where the program called `name` is: in `PATH`, or where administrators' programs are.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| {
        nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file()
    })
}

/// Python's interpreter itself: what is in `PATH` may be a script that looks for it.
#[track_caller]
pub(crate) fn python() -> String {
    let mut asked = program("python3");
    let output = asked
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let output = output.unwrap_or_else(|error| panic!("{asked:?}: {error}"));
    assert!(output.status.success(), "{asked:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `PATH` with the folders in which [`find`] looks, for what is called by a shell.
pub(crate) fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    env::join_paths(folders).unwrap_or(path)
}

/// Says past the test harness, which shows only failed tests' output, what this test could not do, and why.
pub(crate) fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
