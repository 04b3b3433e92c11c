//! The private folder of a guest: for its job, its first program, and its memory where that can't be a memfd, which then needs a
//! tmpfs. It is gone with whoever made it.
//!
//! A process that is killed can't remove its folder any more, so each folder has a keeper: a process that does nothing
//! but wait until its maker is no more. It ends the guest's programs as well: each asks the machine to be killed with its
//! kernel, but one whose kernel is killed before it could ask would stay.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::waitpid;
use nix::unistd::{AccessFlags, ForkResult, Pid, access, fork, pipe2, setsid};

use super::guest::GuestError;

/// Memory of a guest with one lab, in MiB.
const SMALL_GUEST: u32 = 208;

/// What a guest's files take without its memory, in bytes: its job, above all.
const ROOM_FOR_FILES: u64 = 1 << 20;

/// Folders this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A private folder; removed with this.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keeper: Pid,
    /// The keeper waits for this to be closed.
    alive: OwnedFd,
}

impl Folder {
    /// Makes a folder. With `memory_mib` the guest's memory will lie in it: it is made on a tmpfs from which programs may be run,
    /// with room for that. `files` are those that will stand in it.
    ///
    /// # Errors
    /// [`GuestError::Memory`] and [`GuestError::Files`] if there is no such place, [`GuestError::Prepare`] if it can't be made.
    pub(super) fn make(memory_mib: Option<u32>, files: &[&str]) -> Result<Self, GuestError> {
        Ok(Self::make_in(&find(memory_mib)?, files)?)
    }

    fn make_in(place: &Path, files: &[&str]) -> io::Result<Self> {
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
            let (keeper, alive) = keep(&path, files)?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        keeper,
                        alive,
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

    /// Where the keeper is told whose process group to end with the folder: see [`lead`].
    pub(super) fn keeper(&self) -> BorrowedFd<'_> {
        self.alive.as_fd()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        dismiss(self.keeper);
    }
}

/// Makes this process the leader of a session and a process group of its own, which the keeper behind `keeper` ends with the
/// folder. Makes system calls only.
///
/// # Errors
/// As setsid(2) and write(2).
pub(super) fn lead(keeper: RawFd) -> io::Result<()> {
    let group = setsid()?.as_raw().to_ne_bytes();
    // SAFETY: the number of a descriptor of this process, and bytes that live meanwhile.
    match unsafe { libc::write(keeper, group.as_ptr().cast(), group.len()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Ends a keeper that has nothing to keep.
fn dismiss(keeper: Pid) {
    let _ = kill(keeper, Signal::SIGKILL);
    let _ = waitpid(keeper, None);
}

/// Starts a process that removes `folder` and the `files` in it, and ends the process group it was told of, once the descriptor
/// returned, and every copy of it, is closed: at the latest when this process ends, in whatever way.
fn keep(folder: &Path, files: &[&str]) -> io::Result<(Pid, OwnedFd)> {
    let files = files
        .iter()
        .map(|file| CString::new(folder.join(file).as_os_str().as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let (waits, alive) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: up to _exit the child makes system calls only, on values made before; there may be other threads here.
    match unsafe { fork() }? {
        ForkResult::Child => {
            wait_and_remove(waits.as_raw_fd(), &folder, &files);
            // SAFETY: ends the process without running anything of its parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => Ok((child, alive)),
    }
}

fn wait_and_remove(waits: RawFd, folder: &CString, files: &[CString]) {
    // SAFETY: system calls on numbers and on NUL-terminated texts that live as long as this process.
    unsafe {
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        // Its own copy of the other end above all, and nothing of anybody's: pipes end when all their copies do.
        libc::dup2(waits, 0);
        libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
        // What is told is one write of a number; after it comes the end.
        let (mut told, mut length) = ([0_u8; 16], 0);
        loop {
            let room = told.len() - length;
            match libc::read(0, told.as_mut_ptr().add(length).cast(), room) {
                -1 if *libc::__errno_location() == libc::EINTR => {}
                read if read > 0 => length += read.cast_unsigned(),
                _ => break,
            }
        }
        let number = told.first_chunk().filter(|number| number.len() <= length);
        let group = number.map_or(0, |number| libc::pid_t::from_ne_bytes(*number));
        if group > 1 {
            libc::kill(-group, libc::SIGKILL);
        }
        for file in files {
            libc::unlink(file.as_ptr());
        }
        libc::rmdir(folder.as_ptr());
    }
}

/// Where a guest's files would lie, and its memory if `with_memory`: for `doctor`.
///
/// # Errors
/// [`GuestError::Memory`], [`GuestError::Files`].
pub fn place(with_memory: bool) -> Result<PathBuf, GuestError> {
    find(with_memory.then_some(SMALL_GUEST))
}

fn find(memory_mib: Option<u32>) -> Result<PathBuf, GuestError> {
    let mut candidates = vec![std::env::temp_dir(), PathBuf::from("/dev/shm")];
    candidates.dedup();
    match memory_mib {
        Some(memory_mib) => find_for_memory(candidates, memory_mib),
        None => find_for_files(candidates),
    }
}

/// The first folder that can be written to and has room; of those one that leaves nothing on a disk, if there is one.
fn find_for_files(candidates: Vec<PathBuf>) -> Result<PathBuf, GuestError> {
    let mut why = Vec::new();
    let mut fit = Vec::new();
    for candidate in candidates {
        let tried = access(&candidate, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|errno| format!("can't be written to ({errno})"))
            .and_then(|()| has_room(&candidate, ROOM_FOR_FILES));
        match tried {
            Ok(()) => fit.push(candidate),
            Err(reason) => why.push(format!("{} {reason}", candidate.display())),
        }
    }
    let on_tmpfs = fit.iter().position(|place| is_tmpfs(place) == Ok(true));
    if fit.is_empty() {
        why.push("name a folder by TMPDIR".to_owned());
        return Err(GuestError::Files(why.join("; ")));
    }
    Ok(fit.swap_remove(on_tmpfs.unwrap_or(0)))
}

/// A tmpfs from which programs may be run, with room for the guest's memory.
fn find_for_memory(candidates: Vec<PathBuf>, memory_mib: u32) -> Result<PathBuf, GuestError> {
    let needed = u64::from(memory_mib) << 20;
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

fn is_tmpfs(folder: &Path) -> Result<bool, String> {
    let about = nix::sys::statfs::statfs(folder).map_err(|e| format!("can't be used ({e})"))?;
    Ok(about.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}

fn has_room(folder: &Path, needed: u64) -> Result<(), String> {
    let space = statvfs(folder).map_err(|e| format!("can't be used ({e})"))?;
    let free = space.blocks_available() * space.fragment_size();
    if free < needed {
        return Err(format!("has only {} MiB free", free >> 20));
    }
    Ok(())
}

fn suits(folder: &Path, needed: u64) -> Result<(), String> {
    if !is_tmpfs(folder)? {
        return Err("is not a tmpfs".to_owned());
    }
    let mount = statvfs(folder).map_err(|e| format!("can't be used ({e})"))?;
    if mount.flags().contains(FsFlags::ST_NOEXEC) {
        return Err("is mounted noexec".to_owned());
    }
    has_room(folder, needed)
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
        let folder = Folder::make_in(place.path(), &["job"])?;
        fs::write(folder.path().join("job"), "x")?;
        let path = folder.path().to_path_buf();
        let _without_drop = std::mem::ManuallyDrop::new(folder);
        assert!(path.exists());
        nix::unistd::close(_without_drop.alive.as_raw_fd())?;
        assert!(gone(&path));
        Ok(())
    }

    /// Who is in the guest's process group goes with it, whoever its parent is.
    #[test]
    fn the_keeper_ends_the_guests_programs() -> io::Result<()> {
        use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
        let place = tempfile::tempdir()?;
        let folder = Folder::make_in(place.path(), &[])?;
        let keeper = folder.keeper().as_raw_fd();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        command.stdout(std::process::Stdio::piped());
        // SAFETY: makes system calls only.
        unsafe { command.pre_exec(move || lead(keeper)) };
        let mut guest = command.spawn()?;
        let mut line = String::new();
        let output = guest.stdout.take().expect("a pipe");
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
        let program = Pid::from_raw(line.trim().parse().expect("a number"));
        let _without_drop = std::mem::ManuallyDrop::new(folder);
        nix::unistd::close(_without_drop.alive.as_raw_fd())?;
        assert_eq!(guest.wait()?.signal(), Some(libc::SIGKILL));
        let ended = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let stat = fs::read_to_string(format!("/proc/{program}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(ended, "{program}");
        Ok(())
    }

    #[test]
    fn a_folder_is_removed_with_its_value() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let folder = Folder::make_in(place.path(), &["job"])?;
        let path = folder.path().to_path_buf();
        drop(folder);
        assert!(!path.exists());
        Ok(())
    }
}
