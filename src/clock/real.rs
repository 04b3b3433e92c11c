//! The real clock: a lab process in new user, network, mount and PID namespaces, started by an ordinary user.
//!
//! Nothing is named and nothing is written outside, so there is nothing to clean: when the lab process dies, by any
//! signal, the kernel takes its namespaces, links, rules, mounts and processes with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitCode, Stdio};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{FromLab, LabJob};

/// Name of the hidden subcommand that becomes the lab process.
pub const SUBCOMMAND: &str = "__lab";

/// Bytes kept of what a lab process wrote to its standard error.
const LAST_WORDS: u64 = 4096;

/// Why a lab process could not get namespaces of its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel or its policy forbids user namespaces.
    #[error(
        "user namespaces are forbidden here ({source}); `halfopen doctor` says which setting forbids them and how \
         to allow them"
    )]
    UserNamespace {
        /// What unshare(2) said.
        source: nix::Error,
    },
    /// Anything else on the way.
    #[error("failed to {what}")]
    Step {
        /// Which step.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A running lab process.
pub struct LabProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl LabProcess {
    /// Starts a lab process and hands it its job.
    ///
    /// # Errors
    /// If this program can't be started again.
    pub async fn start(job: &LabJob) -> io::Result<Self> {
        // Not current_exe(): /proc/self/exe is this very file even when an update has replaced it on disk.
        let mut child = Command::new("/proc/self/exe")
            .arg0("halfopen-lab")
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("it has no pipes"));
        };
        // A lab that dies before it has read its job says why on its standard error.
        let _ = stdin.write_all(&serde_json::to_vec(job)?).await;
        drop(stdin);
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// As [`super::Running::next`].
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<FromLab>>> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(vec![serde_json::from_str(&line)?])),
            None => Ok(None),
        }
    }

    /// As [`super::Running::last_words`].
    pub(super) async fn last_words(&mut self) -> Option<String> {
        let mut text = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(LAST_WORDS).read_to_end(&mut text).await;
        }
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) if text.is_empty() => {
                Some(format!("the lab process was ended from outside ({status})"))
            }
            Ok(_) => Some(text),
            Err(error) => Some(error.to_string()),
        }
    }

    /// As [`super::Running::end`].
    pub(super) async fn end(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// Turns this process into the keeper of new namespaces and runs `lab` as their first process.
///
/// Must be called before any thread is started. Returns in the keeper, when the lab is over.
///
/// # Errors
/// See [`StartError`].
pub fn in_own_namespaces(lab: impl FnOnce() -> ExitCode) -> Result<ExitCode, StartError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|source| StartError::UserNamespace { source })?;
    write("/proc/self/setgroups", "deny", "forbid setgroups")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"), "map the user")?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"), "map the group")?;
    unshare(
        CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .map_err(step("make network, mount and PID namespaces"))?;
    set_pdeathsig(Signal::SIGKILL).map_err(step("follow the parent's death"))?;
    let (keeper_lives, keeper_end) = nix::unistd::pipe().map_err(step("make a pipe"))?;
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(step("start the lab's first process"))? {
        ForkResult::Parent { child } => Ok(keep(child)),
        ForkResult::Child => {
            drop(keeper_end);
            set_pdeathsig(Signal::SIGKILL).map_err(step("follow the keeper's death"))?;
            stop_if_orphaned(&keeper_lives)?;
            furnish()?;
            let code = lab();
            std::process::exit(i32::from(code != ExitCode::SUCCESS));
        }
    }
}

/// Waits for the lab. An interrupt from the terminal is the parent's business, not the keeper's.
fn keep(child: Pid) -> ExitCode {
    // SAFETY: ignoring a signal installs no handler.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => return ExitCode::SUCCESS,
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return ExitCode::FAILURE,
            Err(nix::Error::EINTR) | Ok(_) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// A keeper that died before its child could ask for a signal has closed its end of the pipe.
fn stop_if_orphaned(keeper_lives: &OwnedFd) -> Result<(), StartError> {
    let mut polled = [PollFd::new(keeper_lives.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut polled, PollTimeout::ZERO).map_err(step("look for the keeper"))?;
    if ready == 0 {
        Ok(())
    } else {
        Err(StartError::Step {
            what: "find the keeper alive",
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// Mounts what programs inside need: their own /proc, and a /run to write locks into.
fn furnish() -> Result<(), StartError> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(step("keep mounts to ourselves"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).map_err(step(
        "mount /proc in a PID namespace of its own (container engines cover parts of it, and then the kernel lets nobody; \
         `halfopen doctor` says what else is missing)",
    ))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, none)
        .map_err(step("mount a tmpfs on /run"))?;
    Ok(())
}

fn write(path: &str, text: &str, what: &'static str) -> Result<(), StartError> {
    fs::write(path, text).map_err(|source| StartError::Step { what, source })
}

fn step(what: &'static str) -> impl Fn(nix::Error) -> StartError {
    move |errno| StartError::Step {
        what,
        source: errno.into(),
    }
}
