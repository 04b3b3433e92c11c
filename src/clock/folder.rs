//! The private folder of a guest: on a tmpfs, for its memory and its job, and gone with whoever made it.
//!
//! A process that is killed can't remove its folder any more, so each folder has a keeper: a process that does nothing
//! but wait until its maker is no more.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::guest::GuestError;

/// Memory of a guest with one lab, in MiB.
const SMALL_GUEST: u32 = 208;

/// Folders this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A private folder; removed with this.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keeper: Pid,
    /// The keeper waits for this to be closed.
    _alive: OwnedFd,
}

impl Folder {
    /// Makes a folder on a tmpfs from which programs may be run, with room for a guest's memory. `file` is the one file
    /// that will stand in it.
    ///
    /// # Errors
    /// [`GuestError::Memory`] if there is no such place, [`GuestError::Prepare`] if it can't be written to.
    pub(super) fn make(memory_mib: u32, file: &str) -> Result<Self, GuestError> {
        Ok(Self::make_in(&find(memory_mib)?, file)?)
    }

    fn make_in(place: &Path, file: &str) -> io::Result<Self> {
        let process = std::process::id();
        loop {
            let path = place.join(format!(
                "halfopen-{process}-{}",
                MADE.fetch_add(1, Ordering::Relaxed)
            ));
            // A process of another PID namespace may have the same number.
            if path.exists() {
                continue;
            }
            // The keeper comes first: there is no moment at which the folder has none.
            let (keeper, alive) = keep(&path, file)?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        keeper,
                        _alive: alive,
                    });
                }
                Err(error) => {
                    dismiss(keeper);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(error);
                    }
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        dismiss(self.keeper);
    }
}

/// Ends a keeper that has nothing to keep.
fn dismiss(keeper: Pid) {
    let _ = kill(keeper, Signal::SIGKILL);
    let _ = waitpid(keeper, None);
}

/// Starts a process that removes `folder` and the `file` in it once the descriptor returned, and every copy of it, is
/// closed: at the latest when this process ends, in whatever way.
fn keep(folder: &Path, file: &str) -> io::Result<(Pid, OwnedFd)> {
    let file = CString::new(folder.join(file).as_os_str().as_bytes())?;
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let (waits, alive) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: up to _exit the child makes system calls only, on values made before; there may be other threads here.
    match unsafe { fork() }? {
        ForkResult::Child => {
            wait_and_remove(waits.as_raw_fd(), &folder, &file);
            // SAFETY: ends the process without running anything of its parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => Ok((child, alive)),
    }
}

fn wait_and_remove(waits: RawFd, folder: &CString, file: &CString) {
    // SAFETY: system calls on numbers and on NUL-terminated texts that live as long as this process.
    unsafe {
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        // Its own copy of the other end above all, and nothing of anybody's: pipes end when all their copies do.
        libc::dup2(waits, 0);
        libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
        let mut byte = 0_u8;
        while libc::read(0, (&raw mut byte).cast(), 1) == -1
            && *libc::__errno_location() == libc::EINTR
        {}
        libc::unlink(file.as_ptr());
        libc::rmdir(folder.as_ptr());
    }
}

/// Where a guest's memory would lie: for `doctor`.
///
/// # Errors
/// [`GuestError::Memory`].
pub fn place() -> Result<PathBuf, GuestError> {
    find(SMALL_GUEST)
}

/// A tmpfs from which programs may be run, with room for the guest's memory.
fn find(memory_mib: u32) -> Result<PathBuf, GuestError> {
    let needed = u64::from(memory_mib) << 20;
    let mut candidates = vec![std::env::temp_dir(), PathBuf::from("/dev/shm")];
    candidates.dedup();
    let mut why = Vec::new();
    for candidate in candidates {
        match suits(&candidate, needed) {
            Ok(()) => return Ok(candidate),
            Err(reason) => why.push(format!("{} {reason}", candidate.display())),
        }
    }
    why.push(format!("name a tmpfs with {memory_mib} MiB free by TMPDIR"));
    Err(GuestError::Memory(why.join("; ")))
}

fn suits(folder: &Path, needed: u64) -> Result<(), String> {
    let space = nix::sys::statvfs::statvfs(folder).map_err(|e| format!("can't be used ({e})"))?;
    let kind = nix::sys::statfs::statfs(folder)
        .map_err(|e| format!("can't be used ({e})"))?
        .filesystem_type();
    if kind != nix::sys::statfs::TMPFS_MAGIC {
        return Err("is not a tmpfs".to_owned());
    }
    if space
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_NOEXEC)
    {
        return Err("is mounted noexec".to_owned());
    }
    let free = space.blocks_available() * space.fragment_size();
    if free < needed {
        return Err(format!("has only {} MiB free", free >> 20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(path: &Path) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !path.exists()
        })
    }

    #[test]
    fn the_keeper_removes_what_its_maker_did_not() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let folder = Folder::make_in(place.path(), "job")?;
        fs::write(folder.path().join("job"), "x")?;
        let path = folder.path().to_path_buf();
        let _without_drop = std::mem::ManuallyDrop::new(folder);
        assert!(path.exists());
        nix::unistd::close(_without_drop._alive.as_raw_fd())?;
        assert!(gone(&path));
        Ok(())
    }

    #[test]
    fn a_folder_is_removed_with_its_value() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let folder = Folder::make_in(place.path(), "job")?;
        let path = folder.path().to_path_buf();
        drop(folder);
        assert!(!path.exists());
        Ok(())
    }
}
