//! A terminal for a program to write to: what is written to it comes out as it was written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// Where a file system of terminals is mounted for a moment: descriptors of it stay good.
const PLACE: &str = "/run/halfopen-terminals";

/// Opens a new terminal: the end to read from, which does not block, and the program's own.
pub(super) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let control = control()?;
    let unlocked: libc::c_int = 0;
    // SAFETY: this call reads a number.
    if unsafe { libc::ioctl(control.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this call takes a number and returns a new descriptor.
    let own = unsafe { libc::ioctl(control.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if own < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else's.
    let own = unsafe { OwnedFd::from_raw_fd(own) };
    let mut settings = tcgetattr(&own)?;
    cfmakeraw(&mut settings);
    tcsetattr(&own, SetArg::TCSANOW, &settings)?;
    fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((control.into(), own))
}

/// The controlling end, of a file system of the lab's own: a guest has no other, and the machine's is not for labs.
fn control() -> io::Result<File> {
    std::fs::create_dir_all(PLACE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=666,mode=600");
    mount(Some("devpts"), PLACE, Some("devpts"), flags, options)?;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(format!("{PLACE}/ptmx"));
    umount2(PLACE, MntFlags::MNT_DETACH)?;
    opened
}
