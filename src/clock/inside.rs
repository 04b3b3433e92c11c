//! The first process of a guest: it furnishes the guest, runs the lab, and switches the power off.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Gid, Uid};

use super::LabJob;

/// The console whose output is the parent's memory file.
const EVENTS: &str = "/dev/tty1";

/// The system's usual folders of programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the job in `job`, a file, as the guest's first process.
#[must_use]
pub fn main(job: &Path) -> ExitCode {
    if let Err(error) = run(job) {
        eprintln!("the guest's first process failed: {error}");
    }
    // Where it returns, this process ends, the guest panics, and the parent sees that.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}

fn run(job: &Path) -> io::Result<()> {
    // Before anything is mounted over the place where it lies.
    let user = std::fs::metadata(job)?;
    let job: LabJob = serde_json::from_slice(&std::fs::read(job)?)?;
    // The guest's root is nobody to the machine's files: programs have the rights of the user who started the guest.
    crate::lab::program::run_as(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    furnish()?;
    limit_processes()?;
    allow_descriptors()?;
    allow_neighbours()?;
    allow_connections()?;
    let events = open_events()?;
    wake_on_time()?;
    // SAFETY: there is one thread.
    unsafe {
        std::env::set_var(
            "PATH",
            if job.shell.path.is_empty() {
                PATH
            } else {
                &job.shell.path
            },
        )
    };
    // Where it can't be entered, programs begin at the root.
    let _ = std::env::set_current_dir(&job.shell.folder);
    let _ = crate::lab::process::run(job, Box::new(events));
    Ok(())
}

/// Makes this process a real-time one, its children ordinary ones again: epoll_wait(2) of an ordinary process may wake
/// up late by a thousandth of its timeout, depending on who else has a timer there.
fn wake_on_time() -> io::Result<()> {
    // The lowest; the kernel's sched_param is this number alone. Not by the C library: musl refuses this call to everybody.
    let lowest: libc::c_int = 1;
    // SAFETY: the number outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const lowest,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Processes that a guest may have. A program has a limit of its own where the kernel has one for PID namespaces.
const PROCESSES: usize = 1280;

fn limit_processes() -> io::Result<()> {
    std::fs::write("/proc/sys/kernel/pid_max", PROCESSES.to_string())
}

/// Files and sockets that this one process may have open: namespaces, connections of servers and clients.
const DESCRIPTORS: u64 = 65_536;

/// The kernel's limit for its first process is 1024.
fn allow_descriptors() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?;
    Ok(())
}

/// Neighbours that all network namespaces of a guest may know together: each pod its node's end, each node its pods and the
/// other nodes, in both families. The kernel's limit is 1024; beyond it there is "no route to host".
const NEIGHBOURS: u32 = 65_536;

fn allow_neighbours() -> io::Result<()> {
    for family in ["ipv4", "ipv6"] {
        for threshold in ["gc_thresh3", "gc_thresh2", "gc_thresh1"] {
            let file = format!("/proc/sys/net/{family}/neigh/default/{threshold}");
            std::fs::write(file, NEIGHBOURS.to_string())?;
        }
    }
    Ok(())
}

/// Connections that the conntrack of each namespace may know: the kernel's own default on a machine with 4 GiB or more. A
/// guest's memory alone would make it some thousands, and beyond it SYNs vanish.
const CONNECTIONS: u32 = 262_144;

fn allow_connections() -> io::Result<()> {
    match std::fs::write(
        "/proc/sys/net/netfilter/nf_conntrack_max",
        CONNECTIONS.to_string(),
    ) {
        // A kernel without conntrack is named where it is needed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// The root is the host's and can't be written: the lab gets a place of its own to write to. (Programs have theirs.)
fn furnish() -> io::Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
    mount(Some("dev"), "/dev", Some("devtmpfs"), flags, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, none)?;
    Ok(())
}

/// The console, raw: bytes go out as they are.
fn open_events() -> io::Result<File> {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(EVENTS)?;
    let mut settings = tcgetattr(&console)?;
    cfmakeraw(&mut settings);
    tcsetattr(&console, SetArg::TCSANOW, &settings)?;
    Ok(console)
}
