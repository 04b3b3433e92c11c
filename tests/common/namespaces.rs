//! Tests in network namespaces of their own, as any ordinary user may make them.

use std::future::Future;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Set in the process that is already in namespaces of its own.
const INSIDE: &str = "HALFOPEN_TEST_INSIDE";

/// Runs `body` in a process of its own, on one thread, in new user, network and mount namespaces: only a process with a
/// single thread may enter a user namespace.
///
/// The test binary starts itself again with only the calling test; that process is the one that runs `body`.
pub(crate) fn inside<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        return tokio::task::LocalSet::new().block_on(&runtime, body());
    }
    let thread = std::thread::current();
    let test = thread.name().expect("the test harness names its threads");
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let mut command = Command::new(std::env::current_exe().expect("the test's own file"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    // SAFETY: between fork and exec the child only makes system calls on values made before the fork.
    unsafe {
        command.pre_exec(move || {
            unshare(
                CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS,
            )?;
            map("/proc/self/setgroups", format_args!("deny"))?;
            map("/proc/self/uid_map", format_args!("0 {uid} 1"))?;
            map("/proc/self/gid_map", format_args!("0 {gid} 1"))
        });
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("a process in user namespaces of its own: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{said}");
}

fn map(file: &str, text: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    // One write(2): the kernel takes these files whole.
    let mut buffer = [0_u8; 64];
    let mut rest = &mut buffer[..];
    rest.write_fmt(text)?;
    let length = 64 - rest.len();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(file)?
        .write(&buffer[..length])?;
    assert_eq!(written, length);
    Ok(())
}
