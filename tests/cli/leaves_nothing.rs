//! Whatever ends a run, nothing of it stays: no process, namespace, rule, link, mount or file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::processes::descendants;
use crate::{machine, needs};

/// Moments at which a process of the harness is killed.
const KILLS: u64 = 60;

/// Moments at which a run is interrupted.
const INTERRUPTS: u64 = 100;

#[test]
fn a_sigkill_of_any_process_at_any_moment_leaves_nothing() {
    let _turn = machine::beside_others();
    let before = Host::look();
    let mut killed = BTreeSet::new();
    for round in 0..KILLS {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut run = start(temporary.path());
        std::thread::sleep(Duration::from_millis(dice(round) % 700));
        let family = descendants(run.id());
        let victim = family[usize::try_from(dice(round + 1000)).expect("a number") % family.len()];
        killed.insert(family.iter().position(|p| *p == victim));
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        if victim != run.id() {
            // The parent is not hurt: it says what happened, in its own time.
            wait(&mut run, Duration::from_secs(30));
        }
        let _ = run.wait();
        let gone = until(Duration::from_secs(10), || {
            family.iter().all(|p| !is_alive(*p))
        });
        assert!(
            gone,
            "round {round}: still alive of {family:?} after {victim} was killed"
        );
        let files: Vec<_> = fs::read_dir(temporary.path())
            .expect("the folder")
            .collect();
        assert!(
            files.is_empty(),
            "round {round}: {files:?} is left in TMPDIR"
        );
    }
    assert!(
        killed.len() >= 3,
        "the parent, a keeper and a lab were all hit: {killed:?}"
    );
    assert_eq!(before, Host::look());
}

#[test]
fn a_sigkill_of_any_process_of_a_guest_at_any_moment_leaves_nothing() {
    let _turn = machine::beside_others();
    if let Err(error) = halfopen::clock::kernel::choose(&[]) {
        return eprintln!("skipped: {error}");
    }
    // A folder that nobody else uses, on a tmpfs.
    let temporary = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let home = tempfile::tempdir().expect("a folder");
    let mut parents: u64 = 0;
    for round in 0..KILLS {
        let mut run = Command::new(halfopen())
            .args(["run", "--clock", "virtual", "--kernel"])
            .arg(&halfopen::clock::kernel::choose(&[]).expect("a kernel")[0].path)
            .arg(scenario())
            .env("TMPDIR", temporary.path())
            .env("HOME", home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("halfopen starts");
        // A machine with much to do starts a guest late: every second time, whoever is to be hit has to be there.
        if round % 2 == 1 {
            until(Duration::from_secs(10), || descendants(run.id()).len() > 1);
        }
        std::thread::sleep(Duration::from_millis(dice(round) % 150));
        let family = descendants(run.id());
        // Every second time its parent: the one that could clean up.
        let victim = match round % 2 {
            0 => run.id(),
            _ => family[usize::try_from(dice(round + 1000)).expect("a number") % family.len()],
        };
        parents += u64::from(victim == run.id());
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        wait(&mut run, Duration::from_secs(30));
        let gone = until(Duration::from_secs(10), || {
            family.iter().all(|p| !is_alive(*p))
        });
        assert!(
            gone,
            "round {round}: still alive of {family:?} after {victim} was killed"
        );
        for folder in [temporary.path(), home.path()] {
            let left = || {
                fs::read_dir(folder)
                    .expect("the folder")
                    .flatten()
                    .map(|e| e.path())
                    .collect::<Vec<_>>()
            };
            assert!(
                until(Duration::from_secs(5), || left().is_empty()),
                "round {round}: {:?} is left",
                left()
            );
        }
    }
    assert!(
        (KILLS / 2..KILLS).contains(&parents),
        "of {KILLS} kills {parents} hit the parent"
    );
}

#[test]
fn an_interrupt_keeps_the_record_and_ends_with_130() {
    let _turn = machine::beside_others();
    let temporary = tempfile::tempdir().expect("a folder");
    let records = temporary.path().join("records");
    let mut run = Command::new(halfopen())
        .args(["run", "--clock", "real", "--record"])
        .arg(&records)
        .arg(scenario())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("halfopen starts");
    // Its packets lie beside it.
    let record = || {
        let files = fs::read_dir(&records).ok()?.flatten().map(|e| e.path());
        files
            .into_iter()
            .find(|path| path.extension().is_some_and(|e| e == "ndjson"))
    };
    let said = |text: &str| {
        record()
            .and_then(|p| fs::read_to_string(p).ok())
            .is_some_and(|r| r.contains(text))
    };
    assert!(
        until(Duration::from_secs(20), || said("fault_injected")),
        "the fault comes"
    );
    let family = descendants(run.id());
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).expect("a signal");
    let status = run.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(said("\"interrupted\""), "the record says why it ends");
    assert!(!said("case_ended"));
    assert!(until(Duration::from_secs(5), || family
        .iter()
        .all(|p| !is_alive(*p))));
}

#[test]
fn a_run_changes_nothing_on_the_host() {
    let _turn = machine::beside_others();
    let before = Host::look();
    let temporary = tempfile::tempdir().expect("a folder");
    let mut run = start(temporary.path());
    assert_eq!(run.wait().expect("it ends").code(), Some(0));
    assert_eq!(before, Host::look());
}

/// An orphaned socket goes on sending for minutes, and holds its namespace. In a user namespace with room for one
/// network namespace there is room again only when all of the lab's are gone.
#[test]
fn a_connection_to_the_dead_holds_no_namespace_after_its_lab() {
    let _turn = machine::beside_others();
    let script = "\"$0\" run --clock real \"$1\" || exit; echo 1 > /proc/sys/user/max_net_namespaces; \
                  for try in $(seq 100); do unshare --net true 2>/dev/null && exit; sleep 0.1; done; exit 99";
    let ended = needs::program("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script, halfopen()])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios/stuck.yaml"))
        .output()
        .expect("unshare starts");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// What of the host a lab could have changed.
#[derive(Debug, PartialEq)]
struct Host {
    links: BTreeSet<String>,
    mounts: BTreeSet<String>,
    sysctls: Vec<(PathBuf, String)>,
    rules: String,
    named_namespaces: BTreeSet<String>,
}

impl Host {
    fn look() -> Self {
        let mut sysctls = Vec::new();
        read_below(Path::new("/proc/sys/net"), &mut sysctls);
        needs::path("iptables-save");
        let rules = needs::program("sh")
            .args([
                "-c",
                "iptables-save 2>/dev/null | grep -v '^#' | sed 's/\\[.*\\]//'",
            ])
            .env("PATH", needs::search_path())
            .output()
            .expect("sh");
        Self {
            links: names("/sys/class/net"),
            mounts: fs::read_to_string("/proc/self/mountinfo")
                .expect("mounts")
                .lines()
                .map(str::to_owned)
                .collect(),
            sysctls,
            rules: String::from_utf8_lossy(&rules.stdout).into_owned(),
            named_namespaces: names("/run/netns"),
        }
    }
}

fn read_below(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_below(&path, found);
        } else if let Ok(value) = fs::read_to_string(&path) {
            // Counters that move by themselves are not settings.
            let moves = [
                "nf_conntrack_count",
                "route/",
                "random",
                "tcp_mem",
                "fib_multipath_hash",
            ];
            if !moves.iter().any(|m| path.to_string_lossy().contains(m)) {
                found.push((path, value));
            }
        }
    }
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

fn halfopen() -> &'static str {
    env!("CARGO_BIN_EXE_halfopen")
}

/// A case of two seconds.
fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios/two-seconds.yaml")
}

fn start(temporary: &Path) -> Child {
    Command::new(halfopen())
        .args(["run", "--clock", "real"])
        .arg(scenario())
        .env("TMPDIR", temporary)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("halfopen starts")
}

fn wait(child: &mut Child, at_most: Duration) {
    let ended = until(at_most, || child.try_wait().expect("a child").is_some());
    if !ended {
        let _ = child.kill();
        panic!("it did not end within {at_most:?}");
    }
}

fn until(at_most: Duration, done: impl FnMut() -> bool) -> bool {
    let mut done = done;
    let begun = Instant::now();
    while begun.elapsed() < at_most {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    done()
}

fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // State follows the name in parentheses; a zombie is nobody.
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A number that looks random and is the same on every run (SplitMix64).
fn dice(seed: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// On the virtual clock nothing is left even at the moment in which the program ends.
#[test]
fn an_interrupt_of_a_guest_leaves_no_process_of_it() {
    if let Err(error) = halfopen::clock::kernel::choose(&[]) {
        return eprintln!("skipped: {error}");
    }
    let mut hit = 0;
    for round in 0..INTERRUPTS {
        let mut run = Command::new(halfopen())
            .args(["run", "--clock", "virtual"])
            .arg(scenario())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("halfopen starts");
        std::thread::sleep(Duration::from_millis(20 + 7 * (round % 60)));
        let family = descendants(run.id());
        let signal = [Signal::SIGINT, Signal::SIGTERM][round as usize % 2];
        let _ = kill(Pid::from_raw(run.id().cast_signed()), signal);
        let status = run.wait().expect("it ends");
        hit += u32::from(status.code() == Some(130) && !family.is_empty());
        // A kernel with much to do takes a moment to clear away who was killed.
        let gone = until(Duration::from_secs(2), || {
            family.iter().all(|p| !is_alive(*p))
        });
        assert!(
            gone || status.code().is_none(),
            "round {round}: of {family:?} some are left"
        );
    }
    assert!(hit > 0, "no interrupt hit a guest");
}
