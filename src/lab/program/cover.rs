//! What of the machine's files is more than a file: sockets and FIFOs with a path lead to processes of the machine, and a
//! read-only mount does not hold a program off from them.
//!
//! An overlay does. Its files are the machine's, and its sockets and FIFOs are inodes of its own, at whose other end is
//! nobody. Every folder of the machine is covered by one, with nothing in its other layer.

use std::collections::BTreeSet;
use std::fs::{self, File, FileType};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::{AccessFlags, access};

/// Folders that are furnished anew for each program, or in which there are no sockets.
const OWN: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Overlays that are mounted at most: a machine with more mounts than that is left open, and programs get no sockets with
/// a path instead.
const MOST: usize = 2000;

/// Covers every folder of this mount namespace, which must be the program's own. Says whether all of them are covered.
///
/// `empty` is an empty folder on a file system of the lab's own.
///
/// # Errors
/// If the machine's mounts can't be read.
pub(super) fn cover(empty: &Path) -> io::Result<bool> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mut covering = Covering {
        mounts: mount_points(&mounts),
        empty,
        left: MOST,
        all: true,
    };
    covering.inside(Path::new("/"));
    Ok(covering.all)
}

struct Covering<'a> {
    mounts: BTreeSet<PathBuf>,
    empty: &'a Path,
    left: usize,
    all: bool,
}

impl Covering<'_> {
    /// Covers a folder with all in it. The kernel does not let an overlay hide what is mounted below it, so a folder with a
    /// mount below stays, and what is in it is covered.
    fn folder(&mut self, folder: &Path) {
        // Where this user can't go, no program gets.
        if OWN.iter().any(|own| folder == Path::new(own))
            || access(folder, AccessFlags::X_OK).is_err()
        {
            return;
        }
        match self.has_mounts_below(folder) {
            true => self.inside(folder),
            false => self.all &= self.overlay(folder).is_ok(),
        }
    }

    fn inside(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            self.all = false;
            return;
        };
        for entry in entries {
            let kind = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
            match kind {
                Ok((path, kind)) if kind.is_dir() => self.folder(&path),
                Ok((path, kind)) if leads_elsewhere(kind) => {
                    let flags = MsFlags::MS_BIND;
                    let hidden = mount(Some("/dev/null"), &path, NONE, flags, NONE);
                    self.all &= hidden.is_ok();
                }
                Ok(_) => {}
                Err(_) => self.all = false,
            }
        }
    }

    fn has_mounts_below(&self, folder: &Path) -> bool {
        let after = self.mounts.range(folder.to_path_buf()..);
        let mut below = after.filter(|mount| *mount != folder);
        below.next().is_some_and(|mount| mount.starts_with(folder))
    }

    fn overlay(&mut self, folder: &Path) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(io::ErrorKind::QuotaExceeded)?;
        let opened = File::open(folder)?;
        // By its number: colons and commas in a path would separate paths and options.
        let layers = format!(
            "lowerdir=/proc/self/fd/{}:{}",
            opened.as_raw_fd(),
            self.empty.display()
        );
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let kind = Some("overlay");
        Ok(mount(kind, folder, kind, flags, Some(layers.as_str()))?)
    }
}

const NONE: Option<&str> = None;

fn leads_elsewhere(kind: FileType) -> bool {
    kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
}

/// Where something is mounted, by `/proc/self/mountinfo`. Paths sort by their parts there, so that what is below a folder
/// comes right after it.
fn mount_points(mounts: &[u8]) -> BTreeSet<PathBuf> {
    let lines = mounts.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescaped).collect()
}

/// Spaces and the like are written as three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_a_folder_is_found_and_nothing_beside_it() {
        let mounts = b"22 27 0:21 / / rw - ext4 /dev/vda rw\n\
                       23 27 0:22 / /home/some\\040one/mnt rw - tmpfs tmpfs rw\n\
                       24 27 0:22 / /opt/x rw - tmpfs tmpfs rw\n\
                       25 27 0:22 / /opt-y rw - tmpfs tmpfs rw\n";
        let covering = Covering {
            mounts: mount_points(mounts),
            empty: Path::new("/none"),
            left: 0,
            all: true,
        };
        let below = |folder: &str| covering.has_mounts_below(Path::new(folder));
        assert!(below("/") && below("/home") && below("/home/some one") && below("/opt"));
        assert!(
            !below("/home/some one/mnt") && !below("/opt/x") && !below("/op") && !below("/usr")
        );
    }
}
