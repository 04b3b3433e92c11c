//! A release unpacked somewhere: the program finds the kernel that lies beside it, and needs neither a cache nor a tmpfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use halfopen::clock::kernel::Kernel;
use tempfile::TempDir;

use crate::command::{
    Outcome, kernel_or_skip, outcome, program, run_inside, two_seconds, user_namespaces_or_skip,
};
use crate::needs;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Whether it was said, wherever its lines are broken.
fn says(outcome: &Outcome, words: &str) -> bool {
    let joined = |text: &str| text.split_whitespace().collect::<String>();
    joined(&outcome.stdout).contains(&joined(words))
}

/// `kernel` in a folder, described as it is but for `change`.
fn laid(kernel: &Kernel, folder: &Path, change: (&str, &str)) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder");
    let place = folder.join(kernel.path.file_name().expect("a name"));
    fs::copy(&kernel.path, &place).expect("copied");
    let about = |path: &Path| PathBuf::from(format!("{}.json", path.display()));
    let described = fs::read_to_string(about(&kernel.path)).expect("described");
    fs::write(about(&place), described.replace(change.0, change.1)).expect("written");
    place
}

/// A release in a folder whose name has blanks, with its program, and a folder without a kernel for a cache.
struct Release {
    folder: TempDir,
    kernel: PathBuf,
}

impl Release {
    fn unpacked(kernel: &Kernel) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("a place of my own");
        fs::create_dir_all(root.join("bin")).expect("a folder");
        fs::copy(program(), root.join("bin/halfopen")).expect("copied");
        let kernel = laid(kernel, &root.join("share/halfopen/kernels"), ("{", "{"));
        Self { folder, kernel }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("a place of my own/bin/halfopen"));
        command.args(arguments).env_remove("HALFOPEN_KERNEL");
        command.env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command
    }
}

#[test]
fn the_kernel_beside_the_program_is_found_after_all_others() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let release = Release::unpacked(&kernel);
    let scenario = two_seconds();
    let ended = outcome(&mut release.command(&["run", text(&scenario)]));
    ended.assert(0, &["virtual clock", "1 passed"]);
    let own = format!("{}, of this release", release.kernel.display());
    let doctor = outcome(&mut release.command(&["doctor"]));
    assert!(says(&doctor, &own), "{doctor}");

    // By a link in PATH, as such programs are installed.
    let link = release.folder.path().join("halfopen");
    std::os::unix::fs::symlink(
        release.folder.path().join("a place of my own/bin/halfopen"),
        &link,
    )
    .expect("a link");
    let mut by_link = Command::new(&link);
    by_link.arg("doctor").env_remove("HALFOPEN_KERNEL");
    let by_link = outcome(by_link.env("XDG_CACHE_HOME", release.folder.path().join("cache")));
    assert!(says(&by_link, &own), "{by_link}");

    // One of the user's own is taken first, and one that is named before that.
    let cached = laid(
        &kernel,
        &release.folder.path().join("cache/halfopen/kernels"),
        ("{", "{"),
    );
    let doctor = outcome(&mut release.command(&["doctor"]));
    assert!(says(&doctor, text(&cached)), "{doctor}");
    assert!(!says(&doctor, "of this release"), "{doctor}");
    let named = outcome(
        release
            .command(&["doctor"])
            .env("HALFOPEN_KERNEL", &release.kernel),
    );
    assert!(says(&named, &own), "{named}");
}

#[test]
fn a_broken_kernel_beside_the_program_is_named() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let release = Release::unpacked(&kernel);
    fs::remove_file(&release.kernel).expect("removed");
    let scenario = two_seconds();
    let ended = outcome(&mut release.command(&["run", text(&scenario), "--clock", "virtual"]));
    ended.assert(3, &[text(&release.kernel), "can't be run"]);
}

/// As in a container: what there is of tmpfs is small, and nothing may be executed from it.
#[test]
fn memory_in_a_memfd_needs_no_tmpfs() {
    if !user_namespaces_or_skip() {
        return;
    }
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    if !kernel.has_memory_in_memfd() {
        needs::skipped(
            "the kernel keeps its memory in a file; `./ci/kernel` builds one that need not",
        );
        return;
    }
    let small = "mount -t tmpfs -o size=16m,noexec none /dev/shm; TMPDIR=/dev/shm; export TMPDIR";
    let scenario = two_seconds();
    let arguments = ["run", text(&scenario), "--kernel", text(&kernel.path)];
    run_inside(small, arguments).assert(0, &["1 passed"]);
    // A disk will do.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let disk = format!(
        "mount -t tmpfs -o ro none /dev/shm; TMPDIR='{}'; export TMPDIR",
        folder.path().display()
    );
    run_inside(&disk, arguments).assert(0, &["1 passed"]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    let nowhere = "mount -t tmpfs -o ro none /dev/shm; TMPDIR=/dev/shm; export TMPDIR";
    run_inside(nowhere, arguments)
        .assert(3, &["there is no folder for a guest's files", "/dev/shm"]);
}

/// A kernel that can't do that says what it needs.
#[test]
fn memory_in_a_file_needs_a_tmpfs_with_room() {
    if !user_namespaces_or_skip() {
        return;
    }
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let in_a_file = laid(
        &kernel,
        folder.path(),
        ("\"memory\":true", "\"memory\":false"),
    );
    let scenario = two_seconds();
    let arguments = ["run", text(&scenario), "--kernel", text(&in_a_file)];
    let on = |preparation: &str| run_inside(preparation, arguments);
    let small = "mount -t tmpfs -o size=16m none /dev/shm; TMPDIR=/dev/shm; export TMPDIR";
    on(small).assert(
        3,
        &[
            "there is no room for a guest's memory: /dev/shm has only 16 MiB free",
            "0 failed, 1 could not be run",
        ],
    );
    let no_exec = "mount -t tmpfs -o noexec none /dev/shm; TMPDIR=/dev/shm; export TMPDIR";
    on(no_exec).assert(3, &["/dev/shm is mounted noexec"]);
    // A place that is no tmpfs is passed over for one that is.
    on("TMPDIR=/proc; export TMPDIR").assert(0, &["1 passed"]);
}

/// Its pages are what a release carries: one for the program and one for each command that `--help` shows.
#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = outcome(Command::new(program()).arg("__man").arg(folder.path()));
    written.assert(0, &[]);
    let help = outcome(Command::new(program()).arg("--help")).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"doctor"), "{help}");
    for name in commands {
        let page = folder.path().join(format!("halfopen-{name}.1"));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(folder.path().join("halfopen.1").exists());
    let hidden = fs::read_dir(folder.path()).expect("a folder").flatten();
    let hidden: Vec<_> = hidden
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains("__"))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    let nowhere = outcome(Command::new(program()).args(["__man", "/nowhere"]));
    nowhere.assert(3, &["failed to write the manual to /nowhere"]);
}
