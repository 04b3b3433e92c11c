//! What the tests of the whole program share: it is run as a user runs it, and its results are read as a CI reads them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file takes what it needs"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halfopen::clock::kernel::{self, Kernel};
use halfopen::plan::Case;
use halfopen::record::{ClockName, Event, Observation, RECORD_VERSION};
use halfopen::scenario::{self, PlanOptions};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{machine, needs};

/// Set to `1` where a test that finds no kernel for the virtual clock must fail.
const REQUIRE_KERNEL: &str = "HALFOPEN_REQUIRE_KERNEL";

/// Processors that others may use while the real clock still has to hold.
const OTHERS_MAY_USE: f64 = 0.5;

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_halfopen"))
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The smallest whole case: it lasts two seconds.
pub fn two_seconds() -> PathBuf {
    repository("fixtures/scenarios/two-seconds.yaml")
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails unless it ended with `code` and said each of `texts` on standard output or standard error.
    #[track_caller]
    pub fn assert(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        for text in texts {
            assert!(
                self.stdout.contains(text) || self.stderr.contains(text),
                "`{text}` is missing:\n{self}"
            );
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "exit {code:?}\n{stdout}\n{stderr}")
    }
}

/// Runs any command to its end, in a turn beside others.
pub fn outcome(command: &mut Command) -> Outcome {
    let _turn = machine::beside_others();
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program with `arguments`, where nothing of the caller's environment decides the result.
pub fn halfopen<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env("COLUMNS", "100");
    command
}

/// Runs the program with `arguments`.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    outcome(&mut halfopen(arguments))
}

/// A run of scenarios with its JSON report.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// The JSON report.
    pub json: Value,
    /// How long it took, by the wall's clock.
    pub took: Duration,
}

impl Run {
    /// Runs `scenarios` with more `arguments`.
    pub fn of(scenarios: &[&Path], arguments: &[&str]) -> Self {
        Self::with(scenarios, arguments, |_| {})
    }

    /// As [`Run::of`], by a command that `change` may change.
    pub fn with(
        scenarios: &[&Path],
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let report = folder.path().join("result.json");
        let mut command = halfopen(["run", "--report"]);
        command.arg(format!("json={}", report.display()));
        command.args(arguments).args(scenarios);
        change(&mut command);
        let begun = Instant::now();
        let outcome = outcome(&mut command);
        let took = begun.elapsed();
        let text = fs::read_to_string(&report).unwrap_or_else(|e| panic!("{e}: {outcome}"));
        Self {
            json: serde_json::from_str(&text).expect("JSON"),
            outcome,
            took,
        }
    }

    /// Its cases.
    pub fn cases(&self) -> &[Value] {
        self.json["cases"].as_array().expect("cases")
    }

    /// Every case's verdict.
    pub fn verdicts(&self) -> Vec<&str> {
        self.cases()
            .iter()
            .map(|case| case["verdict"].as_str().expect("a verdict"))
            .collect()
    }
}

/// A client of a case of the JSON report.
#[track_caller]
pub fn client<'a>(case: &'a Value, name: &str) -> &'a Value {
    let clients = case["clients"].as_array().expect("clients");
    clients
        .iter()
        .find(|client| client["name"] == name)
        .unwrap_or_else(|| panic!("no client {name} in {case:#}"))
}

/// A number of the JSON report.
#[track_caller]
pub fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// A folder with a changed copy of `scenario`: each `(from, to)` must be in it once.
pub fn changed(scenario: &Path, changes: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let mut text = fs::read_to_string(scenario).expect("a scenario");
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "`{from}`");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(scenario.file_name().expect("a name"));
    fs::write(&file, text).expect("written");
    (folder, file)
}

/// The kernel the virtual clock runs on by default. Without one the test is skipped, and says so past the test
/// harness; with `HALFOPEN_REQUIRE_KERNEL=1` it fails instead.
pub fn kernel_or_skip() -> Option<Kernel> {
    match kernel::choose(&[]) {
        Ok(kernels) => kernels.into_iter().next(),
        Err(error) => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let required = std::env::var_os(REQUIRE_KERNEL).is_some_and(|value| value == "1");
            assert!(!required, "{test} needs the virtual clock: {error}");
            needs::skipped(error);
            None
        }
    }
}

/// Whether this process may make user namespaces; a test that needs one of its own is skipped where it may not.
pub fn user_namespaces_or_skip() -> bool {
    let tried = needs::program("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status();
    let allowed = tried.is_ok_and(|status| status.success());
    if !allowed {
        needs::skipped("user namespaces are forbidden here");
    }
    allowed
}

/// Runs the program with `arguments` after the shell commands `preparation`, as root of new user and mount namespaces.
pub fn run_inside<S: AsRef<std::ffi::OsStr>>(
    preparation: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Outcome {
    let mut command = needs::program("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("{preparation}\nexec \"$0\" \"$@\""))
        .arg(program())
        .args(arguments);
    outcome(&mut command)
}

/// Runs `scenarios` on the real clock. Where others keep the processors busy, that clock measures them: a run that did
/// not hold meanwhile says so and is none.
pub fn on_real_clock_or_skip(scenarios: &[&Path]) -> Option<Run> {
    let _turn = machine::alone();
    let begun = Instant::now();
    let (busy, ours) = (processors_busy(), children_busy());
    let run = Run::of(scenarios, &["--clock", "real"]);
    let (busy, ours) = (processors_busy() - busy, children_busy() - ours);
    let others = busy.saturating_sub(ours).as_secs_f64() / begun.elapsed().as_secs_f64();
    if run.outcome.code == Some(0) || others <= OTHERS_MAY_USE {
        return Some(run);
    }
    needs::skipped(format_args!("others used {others:.1} processors meanwhile"));
    None
}

/// Processor time that everybody has used since boot.
fn processors_busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("/proc");
    let all = stat.lines().next().expect("all processors");
    let times = all.split_whitespace().skip(1).take(8).enumerate();
    // user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second.
    let busy = times.filter(|(place, _)| ![3, 4].contains(place));
    let hundredths: u64 = busy.filter_map(|(_, time)| time.parse::<u64>().ok()).sum();
    Duration::from_millis(hundredths * 10)
}

/// Processor time that the program and its labs have used.
fn children_busy() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
        .sum()
}

/// The only case of a scenario.
pub fn case(file: &Path) -> Case {
    let cases = scenario::load(file, &PlanOptions::default()).expect("a right scenario");
    cases.into_iter().next().expect("a case")
}

/// The event every record begins with.
pub fn started(case: &Case) -> Event {
    Event {
        t_ns: 0,
        what: Observation::CaseStarted {
            record_version: RECORD_VERSION,
            clock: ClockName::Real,
            kernel: "a test".to_owned(),
            hz: None,
            kernel_sha256: None,
            halfopen: None,
            case: Box::new(case.clone()),
        },
    }
}

/// The first child of a process, if it has one.
pub fn child_of(process: u32) -> Option<Pid> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let first = children.split_whitespace().next()?;
    Some(Pid::from_raw(first.parse().expect("a process")))
}

/// Waits until the program has a child other than `before`.
#[track_caller]
pub fn next_child(program: &mut Child, before: Option<Pid>) -> Pid {
    loop {
        let child = child_of(program.id());
        if let Some(child) = child.filter(|child| Some(*child) != before) {
            return child;
        }
        assert!(
            program.try_wait().expect("a child").is_none(),
            "it has begun"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the end of a program that was started with pipes.
pub fn outcome_of(program: Child) -> Outcome {
    let output = program.wait_with_output().expect("it ends");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
