//! Files that are given to be read.
//!
//! Only regular files are: a device has no end, and a FIFO waits until somebody writes to it.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file, through symbolic links.
///
/// # Errors
/// If it is something else, or can't be opened.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Asked before it is opened as well: to open a device may do something.
    regular(path.metadata()?.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

fn regular(kind: FileType) -> io::Result<()> {
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let text = format!("it is {what}, and only regular files are read");
    Err(io::Error::new(ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> String {
        open(path).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_has_no_end_or_waits_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("made");
        assert!(refused(Path::new("/dev/zero")).starts_with("it is a device"));
        assert!(refused(&link).starts_with("it is a device"));
        assert!(refused(&pipe).starts_with("it is a pipe"));
        assert!(refused(folder.path()).starts_with("it is a folder"));
    }

    #[test]
    fn a_file_is_read_through_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::fs::write(folder.path().join("file"), "text").expect("written");
        std::os::unix::fs::symlink("file", &link).expect("made");
        let text = io::read_to_string(open(&link).expect("open")).expect("read");
        assert_eq!(text, "text");
    }
}
