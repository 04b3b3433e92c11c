//! What the tests of programs share: a scenario with programs in it, run by the command line as users run it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halfopen::clock::kernel;
use halfopen::record::Event;
use halfopen::verdict::CaseResult;
use halfopen::verdict::result::ClientResult;
use tempfile::TempDir;

use crate::machine;
use crate::needs;
use crate::processes::descendants;

/// A clock to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Real,
    Virtual,
}

/// The clocks of this machine.
pub(crate) fn clocks() -> Vec<Clock> {
    let mut clocks = vec![Clock::Real];
    clocks.extend(virtual_clock());
    clocks
}

/// The virtual clock, if there is a kernel for it; says so if there is none.
pub(crate) fn virtual_clock() -> Option<Clock> {
    match kernel::choose(&[]) {
        Ok(_) => Some(Clock::Virtual),
        Err(error) => {
            needs::skipped(format_args!("on the virtual clock: {error}"));
            None
        }
    }
}

/// The repository's folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Go client, built once; says so if there is no Go, which `ci/deps` does not install.
pub(crate) fn go_client() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let go = needs::find("go")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bin");
        fs::create_dir_all(&folder).expect("a folder for what is built");
        // Test binaries run side by side: each builds a file of its own and puts it in place at once.
        let (own, place) = (
            folder.join(format!("go-{}", std::process::id())),
            folder.join("halfopen-poll-go"),
        );
        let mut command = Command::new(go);
        command
            .args(["build", "-o"])
            .arg(&own)
            .arg(repository().join("fixtures/clients/poll.go"));
        let output = command
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=mod")
            .output()
            .expect("go runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&own, &place).expect("what was built can be renamed");
        Some(place)
    });
    if built.is_none() {
        needs::skipped("go is not installed");
    }
    built.as_deref()
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    /// The table.
    pub(crate) table: String,
    /// What was written to standard error, without what cases came to (`1 of 2: pass …`).
    pub(crate) errors: String,
    pub(crate) cases: Vec<CaseResult>,
    /// The records, by case.
    pub(crate) records: Vec<Vec<Event>>,
    /// The run's processes, as far as they were seen.
    pub(crate) family: BTreeSet<u32>,
}

impl Run {
    /// The only case.
    pub(crate) fn case(&self) -> &CaseResult {
        assert_eq!(self.cases.len(), 1, "{}\n{}", self.table, self.errors);
        &self.cases[0]
    }

    /// A client of the only case.
    pub(crate) fn client(&self, name: &str) -> &ClientResult {
        self.case()
            .client(name)
            .unwrap_or_else(|| panic!("{name}: {}", self.table))
    }

    /// All that the servers of a case wrote that are programs.
    pub(crate) fn served(&self) -> String {
        let all = self.records.iter().flatten();
        let pieces = all.filter_map(|event| match &event.what {
            halfopen::record::Observation::ServerOutput { text, .. } => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    }

    /// All that the programs of a case wrote.
    pub(crate) fn output(&self) -> String {
        let pieces = self
            .records
            .iter()
            .flatten()
            .filter_map(|event| match &event.what {
                halfopen::record::Observation::ProgramOutput { text, .. } => Some(text.as_str()),
                _ => None,
            });
        pieces.collect()
    }
}

/// Runs the scenario `yaml` with more `arguments`, from the repository's folder.
pub(crate) fn run(yaml: &str, clock: Clock, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.yaml");
    fs::write(&file, yaml).expect("a scenario");
    run_file(&file, clock, arguments, &folder)
}

/// Runs the scenario in a file.
pub(crate) fn run_file(file: &Path, clock: Clock, arguments: &[&str], folder: &TempDir) -> Run {
    let _turn = machine::beside_others();
    let (json, records) = (
        folder.path().join("result.json"),
        folder.path().join("records"),
    );
    let mut path: OsString = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bin"));
    path.push(":");
    path.push(repository().join("target/clients"));
    let running = Command::new(env!("CARGO_BIN_EXE_halfopen"))
        .arg("run")
        .arg(file)
        .args([
            "--clock",
            if clock == Clock::Real {
                "real"
            } else {
                "virtual"
            },
        ])
        .arg("--report")
        .arg(format!("json={}", json.display()))
        .arg("--record")
        .arg(&records)
        .args(arguments)
        .current_dir(repository())
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("halfopen starts");
    let (done, family) = (AtomicBool::new(false), running.id());
    let (output, family) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(family, &done));
        let output = running.wait_with_output().expect("halfopen runs");
        done.store(true, Ordering::Relaxed);
        (output, watching.join().expect("it watches"))
    });
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let is_progress = |line: &&str| line.split_whitespace().nth(1) == Some("of");
    let errors = errors.lines().filter(|line| !is_progress(line));
    let errors = errors.collect::<Vec<_>>().join("\n").trim().to_owned();
    let report =
        fs::read_to_string(&json).unwrap_or_else(|_| panic!("no report\n{table}\n{errors}"));
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    let cases = serde_json::from_value(report["cases"].clone()).expect("cases");
    let mut files: Vec<_> = fs::read_dir(records)
        .expect("records")
        .flatten()
        .map(|e| e.path())
        .filter(|path| path.extension().is_some_and(|e| e == "ndjson"))
        .collect();
    files.sort();
    let records = files.iter().map(|file| read_record(file)).collect();
    Run {
        code: output.status.code(),
        table,
        errors,
        cases,
        records,
        family,
    }
}

/// The process and all below it, looked at again and again until it is `done`.
fn watch(root: u32, done: &AtomicBool) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        seen.extend(descendants(root));
        std::thread::sleep(Duration::from_millis(200));
    }
    seen
}

fn read_record(file: &Path) -> Vec<Event> {
    let text = fs::read_to_string(file).expect("a record");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}
