//! On the virtual clock a case is a pure function of its text, its repetition, the seed, the kernel and the version of this
//! program: whatever runs beside it, from wherever, by whomever, its record is the same to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{kernel_or_skip, outcome, program, repository, two_seconds};
use crate::{machine, needs};

/// A program that says what it sees of its guest: randomness, clocks, memory, processes, what the kernel counts.
const LOOKS: &str = r#"
name: looks
nodes: [node1, node2]
servers:
  echo: { node: node2 }
clients:
  looker:
    node: node1
    url: http://echo/
    workload: { exec: { command: [sh, -c, "COMMAND"], every: 400ms } }
faults:
  - { at: 1s, fault: { power_loss: { node: node2 } } }
duration: 2s
"#;

/// What the same case must not depend on.
const SEES: &str = "cat /proc/sys/kernel/random/uuid /proc/uptime /proc/stat /proc/self/maps /proc/self/auxv /proc/cpuinfo /proc/version | \
                    od -An -tx1 | head -c 60000; date +%s.%N; env; id -un >/dev/null; echo $$";

/// A case's name, and its record.
type Records = BTreeMap<String, String>;

/// Scenarios of all sorts, in a folder that everybody may read.
struct Scenarios {
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Scenarios {
    fn new() -> Self {
        let folder = open_folder();
        let mut files: Vec<PathBuf> = [
            two_seconds(),
            repository("scenarios/quickstart.yaml"),
            repository("scenarios/incidents/a1-leader-election-h2.yaml"),
            repository("scenarios/incidents/a4-httptest-h1.yaml"),
            repository("scenarios/incidents/a7-request-timeout.yaml"),
            repository("scenarios/incidents/d2-accept-queue.yaml"),
        ]
        .iter()
        .map(|from| {
            let to = folder.path().join(from.file_name().expect("a name"));
            fs::copy(from, &to).expect("copied");
            to
        })
        .collect();
        files.push(looking(folder.path(), "looks.yaml", SEES));
        Self { folder, files }
    }
}

/// A scenario with a program that runs `command`.
fn looking(folder: &Path, name: &str, command: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, LOOKS.replace("COMMAND", command)).expect("written");
    file
}

/// A folder that everybody may enter.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    folder
}

/// Runs `files` by `command`, which is given the rest, and reads their records.
fn records(mut command: Command, files: &[PathBuf], arguments: &[&str]) -> Records {
    let folder = open_folder();
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("a folder");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o777)).expect("opened");
    command
        .args(["run", "--clock", "virtual", "--record"])
        .arg(&kept)
        .args(arguments)
        .args(files);
    let ended = outcome(&mut command);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    let files = fs::read_dir(&kept).expect("records");
    let records: Records = files
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "ndjson"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read_to_string(&path).expect("text"))
        })
        .collect();
    assert!(!records.is_empty(), "{ended}");
    records
}

/// Cases of `other` whose record is not that of `first`, each with the first line that differs.
fn differences(first: &Records, other: &Records) -> Vec<String> {
    let differs = |(name, record): (&String, &String)| {
        let expected = first.get(name).map_or("", String::as_str);
        if expected == record {
            return None;
        }
        let mut lines = expected.lines().zip(record.lines());
        let place = lines.find(|(a, b)| a != b);
        Some(format!("{name}: {place:#?}"))
    };
    other.iter().filter_map(differs).collect()
}

#[track_caller]
fn assert_same(first: &Records, other: &Records, how: &str) {
    let differences = differences(first, other);
    assert!(differences.is_empty(), "{how}: {}", differences.join("\n"));
}

fn halfopen() -> Command {
    Command::new(program())
}

#[test]
fn a_case_has_the_same_record_however_it_is_run() {
    if kernel_or_skip().is_none() {
        return;
    }
    let _turn = machine::alone();
    let scenarios = Scenarios::new();
    let first = records(halfopen(), &scenarios.files, &["--jobs", "1"]);
    assert!(first.len() >= scenarios.files.len());

    for file in &scenarios.files {
        let alone = records(halfopen(), std::slice::from_ref(file), &[]);
        assert_same(&first, &alone, "alone");
    }
    let twice: Vec<PathBuf> = scenarios.files.iter().rev().cloned().collect();
    let together = records(halfopen(), &twice, &["--jobs", "8"]);
    assert_same(&first, &together, "side by side, in another order");
    let under_load = busy(|| records(halfopen(), &scenarios.files, &[]));
    assert_same(&first, &under_load, "under load");
    let filtered = records(halfopen(), &scenarios.files, &["--filter", "default"]);
    assert_same(&first, &filtered, "by a filter");
    assert_eq!(
        reported(&scenarios.files, None),
        reported(
            &scenarios.files,
            Some(&scenarios.folder.path().join("kept"))
        ),
        "with and without a record"
    );
}

/// What a program is started in (folder, PATH, user) is its own affair: the cases without one.
#[test]
fn a_case_has_the_same_record_wherever_and_by_whomever_it_is_run() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let scenarios = Scenarios::new();
    let (_looks, files) = scenarios.files.split_last().expect("files");
    let first = records(halfopen(), files, &[]);

    let deep = scenarios
        .folder
        .path()
        .join("a/b/c/".to_owned() + &"d".repeat(200));
    fs::create_dir_all(&deep).expect("a folder");
    let (copy, linux) = (deep.join("another name"), deep.join("linux"));
    fs::copy(program(), &copy).expect("copied");
    fs::copy(&kernel.path, &linux).expect("copied");
    let about = PathBuf::from(format!("{}.json", kernel.path.display()));
    fs::copy(about, deep.join("linux.json")).expect("copied");

    let mut elsewhere = halfopen();
    elsewhere
        .current_dir(&deep)
        .env(
            "PATH",
            format!("/usr/bin:/bin:{}", "/nowhere:".repeat(1000)),
        )
        .env("HALFOPEN_TEST", "x".repeat(100_000));
    let elsewhere = records(elsewhere, files, &[]);
    assert_same(
        &first,
        &elsewhere,
        "in another folder, with another environment",
    );

    let copied = records(Command::new(&copy), files, &[]);
    assert_same(&first, &copied, "by a copy of the program");

    if nix::unistd::geteuid().is_root() {
        let mut nobody = needs::program("setpriv");
        nobody
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .env_clear()
            .env("HALFOPEN_KERNEL", &linux);
        let nobody = records(nobody, files, &[]);
        assert_same(
            &first,
            &nobody,
            "by another user, with a copy of the kernel",
        );
    }
}

#[test]
fn another_seed_is_another_run() {
    if kernel_or_skip().is_none() {
        return;
    }
    let file = [repository("scenarios/quickstart.yaml")];
    let first = records(halfopen(), &file, &[]);
    let other = records(halfopen(), &file, &["--seed", "1"]);
    assert_eq!(differences(&first, &other).len(), 1);
    let without_the_case = |records: &Records| -> Vec<String> {
        let record = records.values().next().expect("a record");
        record.lines().skip(1).map(str::to_owned).collect()
    };
    assert_ne!(without_the_case(&first), without_the_case(&other));
}

/// The comparison finds what it looks for: a program that says where it was started.
#[test]
fn a_leak_that_was_planted_is_found() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = open_folder();
    let file = [looking(folder.path(), "leaks.yaml", "pwd")];
    let first = records(halfopen(), &file, &[]);
    let mut elsewhere = halfopen();
    elsewhere.current_dir("/");
    let differences = differences(&first, &records(elsewhere, &file, &[]));
    assert_eq!(differences.len(), 1, "{differences:?}");
}

/// Each case starts the program anew, and each is of the program that was started. All but the one, if any, whose guest is
/// just about to open the file; that one says so.
#[test]
fn a_program_that_is_replaced_while_it_runs_goes_on_as_it_is() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = open_folder();
    let copy = folder.path().join("halfopen");
    fs::copy(program(), &copy).expect("copied");
    let scenario = two_seconds();
    let mut run = Command::new(&copy)
        .args(["run", "--clock", "virtual", "--jobs", "1"])
        .args(vec![&scenario; 40])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(run.try_wait().expect("a child").is_none(), "it runs still");
    let other = folder.path().join("other");
    fs::write(&other, "#!/bin/sh\n").expect("written");
    fs::rename(&other, &copy).expect("replaced");
    let ended = run.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ended.stdout);
    let met = told.matches("has taken the place of this program").count();
    let all = format!("40 cases: {} passed, 0 failed", 40 - met);
    assert!(met <= 1 && told.contains(&all), "{told}");
}

/// The cases of the JSON report of `files`, with records in `kept` or without.
fn reported(files: &[PathBuf], kept: Option<&Path>) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("result.json");
    let mut command = halfopen();
    command
        .args(["run", "--clock", "virtual", "--report"])
        .arg(format!("json={}", report.display()))
        .args(files);
    if let Some(kept) = kept {
        command.arg("--record").arg(kept);
    }
    let ended = outcome(&mut command);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    let text = fs::read_to_string(&report).expect("a report");
    serde_json::from_str::<Value>(&text).expect("JSON")["cases"].take()
}

/// Does `work` while four threads never rest.
fn busy<T>(work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}
