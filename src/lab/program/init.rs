//! The first process of a program's namespaces: it starts the program, once or again and again, and takes everything
//! with it when it is killed.
//!
//! A fork of the lab process, which has one thread; so it may do anything a process may do, but must never return.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::{Gid, Pid, Uid, fchown, sethostname, setsid};
use serde::{Deserialize, Serialize};

use super::path_of;
use super::room::{MOST_PROCESSES, Room};
use super::{capability, filter, one_user};
use crate::plan::{Capability, Exec, Restart};
use crate::record::monotonic;

/// Files a program may have open unless it asks for more: some close, or look at, all that there may be.
const MOST_FILES: u64 = 1024;

/// The longest host name that Linux has (`__NEW_UTS_LEN`).
const LONGEST_NAME: usize = 64;

/// What the first process is told.
pub(super) struct Orders {
    pub(super) room: Room,
    /// The name of its pod, or of its node: what it finds as its machine's.
    pub(super) host: String,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// The folder it is started in; the room's if there is none.
    pub(super) cwd: Option<PathBuf>,
    /// What it reads on its standard input.
    pub(super) stdin: Option<String>,
    pub(super) again: Again,
    /// Whose rights the program has, where they aren't this process's own.
    pub(super) user: Option<(Uid, Gid)>,
    /// What the program keeps of this process's capabilities.
    pub(super) capabilities: Vec<Capability>,
    /// The signal that it gets by [`TELL_TO_END`].
    pub(super) stop_signal: Option<i32>,
    /// Whether what it writes to is a terminal.
    pub(super) tty: bool,
}

/// Tells the first process that the program is to end: it passes its own signal on.
pub(super) const TELL_TO_END: Signal = Signal::SIGUSR1;

/// In place of a program's number: it is being started.
const STARTING: i32 = -1;

/// The program while it runs, the signal that it is to end by, and whether it was told to: for the signal's handler.
static RUNS: AtomicI32 = AtomicI32::new(STARTING);
static STOP_SIGNAL: AtomicI32 = AtomicI32::new(0);
static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn tell_to_end(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
    let (program, signal) = (
        RUNS.load(Ordering::Relaxed),
        STOP_SIGNAL.load(Ordering::Relaxed),
    );
    // SAFETY: these calls take numbers, and may be made from a signal's handler. Nobody waits for a program between two runs.
    unsafe {
        match program {
            0 => libc::_exit(0),
            1.. => _ = libc::kill(program, signal),
            _ => {}
        }
    }
}

/// Listens to [`TELL_TO_END`].
fn await_the_end(signal: i32) -> io::Result<()> {
    STOP_SIGNAL.store(signal, Ordering::Relaxed);
    let handler = SigHandler::Handler(tell_to_end);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing but what is allowed in one.
    unsafe { sigaction(TELL_TO_END, &action)? };
    Ok(())
}

/// When it is started again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Again {
    Never,
    /// After this pause, whatever its end.
    Every(Duration),
    Restart(Restart),
}

impl Again {
    pub(super) fn of(exec: &Exec) -> Self {
        match (exec.every, exec.restart) {
            (Some(every), _) => Self::Every(every),
            (None, Some(restart)) => Self::Restart(restart),
            (None, None) => Self::Never,
        }
    }
}

/// The ends of the pipes that it writes to.
pub(super) struct Outlets {
    pub(super) reports: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What it says, one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program was started.
    Started {},
    /// It ended.
    Exited {
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Whether it will be started again.
        again: bool,
    },
    /// There is no such program, or it can't be run.
    Missing {
        /// Why.
        why: String,
    },
    /// Something on the way failed.
    Failed {
        /// What was being done.
        doing: String,
        /// Why.
        why: String,
    },
}

/// Does what it is told. Never returns.
pub(super) fn main(orders: &Orders, outlets: Outlets) -> ! {
    let reports = outlets.reports.as_raw_fd();
    let result = prepare(orders, &outlets).and_then(|()| run(orders, &outlets));
    if let Err(report) = result {
        say(reports, &report);
    }
    // SAFETY: ends the process without running anything of the lab's.
    unsafe { libc::_exit(0) }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Report {
    let doing = doing.into();
    move |error| Report::Failed {
        doing,
        why: error.to_string(),
    }
}

fn prepare(orders: &Orders, outlets: &Outlets) -> Result<(), Report> {
    let keep = [
        outlets.reports.as_raw_fd(),
        outlets.stdout.as_raw_fd(),
        outlets.stderr.as_raw_fd(),
    ];
    forget_the_lab(keep).map_err(failed("leaving the lab's descriptors behind"))?;
    if let Some(signal) = orders.stop_signal {
        await_the_end(signal).map_err(failed("listening for the end of the case"))?;
    }
    if let Some((user, group)) = orders.user {
        // By /dev/stdout it opens them anew. Where they can't be its own, it can't be started as that user either.
        for outlet in [&outlets.stdout, &outlets.stderr] {
            let _ = fchown(outlet, Some(user), Some(group));
        }
    }
    bears_name(&orders.host).map_err(failed("giving a program its host's name"))?;
    let furnished = orders.room.furnish();
    let paths_are_safe = furnished.map_err(|(doing, error)| Report::Failed {
        doing,
        why: error.to_string(),
    })?;
    lock_down(&orders.capabilities).map_err(failed("taking a program's privileges away"))?;
    if orders.room.is_on_machine() {
        filter::write_only_in(&orders.room.writable())
            .and_then(|()| filter::apply(paths_are_safe))
            .map_err(failed("keeping a program in its lab"))?;
    }
    Ok(())
}

/// Gives this process a host name of its own, which those that it starts have too.
fn bears_name(host: &str) -> io::Result<()> {
    let name = &host.as_bytes()[..host.len().min(LONGEST_NAME)];
    unshare(CloneFlags::CLONE_NEWUTS)?;
    Ok(sethostname(OsStr::from_bytes(name))?)
}

/// The lab's signal handlers and descriptors are not for programs.
fn forget_the_lab(keep: [RawFd; 3]) -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ] {
        // SAFETY: the default action is no handler.
        unsafe { sigaction(signal, &default)? };
    }
    SigSet::empty().thread_set_mask()?;
    set_pdeathsig(Signal::SIGKILL)?;
    setsid()?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?
        .into_raw_fd();
    let mut kept = keep.map(i32::cast_unsigned);
    kept.sort_unstable();
    for fd in 0..3 {
        // SAFETY: numbers of descriptors; nobody else is in this process.
        unsafe { libc::dup2(null, fd) };
    }
    let mut first = 3;
    for fd in kept {
        close_range(first, fd.saturating_sub(1));
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
    Ok(())
}

fn close_range(first: u32, last: u32) {
    if first <= last {
        // SAFETY: descriptors of the lab's, which this process never uses; their owners are never dropped here.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// From here on nothing that is executed gains a privilege, and none is kept but what is `kept`: no other capability survives
/// exec, not even root's.
fn lock_down(kept: &[Capability]) -> io::Result<()> {
    /// Each bit and its lock: NOROOT, NO_SETUID_FIXUP, KEEP_CAPS (the lock alone), NO_CAP_AMBIENT_RAISE.
    const SECURE_BITS: libc::c_ulong = 0b1110_1111;
    let control = |option: libc::c_int, value: libc::c_ulong| {
        // SAFETY: these calls take numbers.
        match unsafe { libc::prctl(option, value, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    set_no_new_privs()?;
    // Before the lock: what is ambient is what survives exec.
    for &capability in kept {
        capability::keep(capability)?;
    }
    control(libc::PR_SET_SECUREBITS, SECURE_BITS)?;
    for capability in 0.. {
        match control(libc::PR_CAPBSET_DROP, capability) {
            // One more than this kernel has.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (files, most_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, files.min(MOST_FILES), most_files)?;
    // Where PID namespaces have no limit of their own. The machine's own root is exempt from it.
    setrlimit(Resource::RLIMIT_NPROC, MOST_PROCESSES, MOST_PROCESSES)?;
    Ok(())
}

fn run(orders: &Orders, outlets: &Outlets) -> Result<(), Report> {
    let reports = outlets.reports.as_raw_fd();
    let mut last = None;
    loop {
        let begun = monotonic();
        RUNS.store(STARTING, Ordering::Relaxed);
        let child = start(orders, outlets)?;
        RUNS.store(child.as_raw(), Ordering::Relaxed);
        if STOPPED.load(Ordering::Relaxed) {
            tell_to_end(TELL_TO_END as i32);
        }
        say(reports, &Report::Started {});
        let mut pause = None;
        reap(child, |status| {
            RUNS.store(0, Ordering::Relaxed);
            let (ran, failure) = (monotonic().saturating_sub(begun), !status.success());
            pause = match orders.again {
                _ if STOPPED.load(Ordering::Relaxed) => None,
                Again::Never => None,
                Again::Every(every) => Some(every),
                Again::Restart(restart) => {
                    restart.pause(last, ran, failure).map(|(pause, next)| {
                        last = Some(next);
                        pause
                    })
                }
            };
            if pause.is_some() {
                // What a run has left behind ends with it.
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
            say(
                reports,
                &Report::Exited {
                    code: status.code(),
                    signal: status.signal(),
                    again: pause.is_some(),
                },
            );
        });
        match pause {
            Some(pause) => std::thread::sleep(pause),
            None => return Ok(()),
        }
    }
}

fn start(orders: &Orders, outlets: &Outlets) -> Result<Pid, Report> {
    let name = orders.command.first().map_or("", String::as_str);
    let share = |fd: &OwnedFd| {
        fd.try_clone()
            .map(Stdio::from)
            .map_err(failed("sharing a pipe"))
    };
    let mut command = Command::new(name);
    command
        .args(orders.command.iter().skip(1))
        .env_clear()
        .envs(orders.env.iter().map(|(name, value)| (name, value)))
        .stdin(input(orders).map_err(failed("writing what it reads"))?)
        .stdout(share(&outlets.stdout)?)
        .stderr(share(&outlets.stderr)?);
    if let Some((user, group)) = orders.user {
        command.uid(user.as_raw()).gid(group.as_raw());
    }
    if let Some(folder) = &orders.cwd {
        if !folder.is_dir() {
            let why = format!(
                "there is no folder {} to start the program `{name}` in",
                folder.display()
            );
            return Err(Report::Missing { why });
        }
        command.current_dir(folder);
    }
    let child = command.spawn().map_err(|error| {
        let why = match error.raw_os_error() {
            Some(libc::EINVAL) if let Some((user, _)) = orders.user => {
                one_user(&format!("the program `{name}`"), user)
            }
            Some(libc::ENOENT) => missing(name, orders),
            Some(libc::EACCES | libc::EPERM) => format!(
                "the program `{name}` can't be run: it is not executable, or not for this user"
            ),
            _ => return failed(format!("starting `{name}`"))(error),
        };
        Report::Missing { why }
    })?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// What a program reads: its text, and then the end.
fn input(orders: &Orders) -> io::Result<Stdio> {
    let Some(text) = &orders.stdin else {
        return Ok(Stdio::null());
    };
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// What is not there, and where it was looked for.
fn missing(name: &str, orders: &Orders) -> String {
    let folder = match &orders.cwd {
        Some(folder) => folder.clone(),
        None => std::env::current_dir().unwrap_or_default(),
    };
    match folder.join(name).is_file() && name.contains('/') {
        true => format!(
            "what the program `{name}` needs to run is not there (its interpreter or loader)"
        ),
        false if name.contains('/') => {
            let whole = folder.join(name);
            format!(
                "there is no program `{name}` (looked for {})",
                whole.display()
            )
        }
        false => format!(
            "there is no program `{name}` (looked in PATH: {})",
            path_of(&orders.env)
        ),
    }
}

/// Waits for all processes, and says when `main` is among them.
fn reap(main: Pid, mut ended: impl FnMut(ExitStatus)) {
    loop {
        let mut status = 0;
        // SAFETY: the status is written to a number of ours.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            pid if pid == main.as_raw() => ended(ExitStatus::from_raw(status)),
            -1 if Errno::last() != Errno::EINTR => return,
            _ => {}
        }
    }
}

/// Nobody to tell means nobody to work for, and the kernel ends this process soon.
fn say(reports: RawFd, report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    // SAFETY: the descriptor is open as long as this process is, and is not closed by dropping the file.
    let mut pipe = std::mem::ManuallyDrop::new(unsafe {
        <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(reports)
    });
    let _ = pipe.write_all(&line);
}
