//! The first process of a guest: it furnishes the guest, runs the labs, and switches the power off.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::LabJob;

/// The console whose output is the parent's memory file.
const EVENTS: &str = "/dev/tty1";

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
    let job: LabJob = serde_json::from_slice(&std::fs::read(job)?)?;
    furnish()?;
    let events = open_events()?;
    wake_on_time()?;
    // SAFETY: there is one thread.
    unsafe {
        std::env::set_var(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
    };
    let _ = crate::lab::process::run(job, Box::new(events));
    Ok(())
}

/// Makes this process a real-time one, its children ordinary ones again: epoll_wait(2) of an ordinary process may wake
/// up late by a thousandth of its timeout, depending on who else has a timer there.
fn wake_on_time() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call.
    let result = unsafe {
        libc::sched_setscheduler(
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

/// The root is the host's and can't be written: programs get places of their own to write to.
fn furnish() -> io::Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
    mount(Some("dev"), "/dev", Some("devtmpfs"), flags, none)?;
    for place in ["/run", "/tmp"] {
        mount(Some("tmpfs"), place, Some("tmpfs"), flags, none)?;
    }
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
