//! What the tests of programs share: a scenario with programs in it, run by the command line as users run it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file takes what it needs"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use halfopen::clock::kernel;
use halfopen::record::Event;
use halfopen::verdict::result::ClientResult;
use halfopen::verdict::{CaseResult, Verdict};
use tempfile::TempDir;

/// A clock to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Real,
    Virtual,
}

/// The clocks of this machine.
pub fn clocks() -> Vec<Clock> {
    let mut clocks = vec![Clock::Real];
    clocks.extend(virtual_clock());
    clocks
}

/// The virtual clock, if there is a kernel for it; says so if there is none.
pub fn virtual_clock() -> Option<Clock> {
    match kernel::choose(&[]) {
        Ok(_) => Some(Clock::Virtual),
        Err(error) => {
            eprintln!("skipped on the virtual clock: {error}");
            None
        }
    }
}

/// A program of this machine by its path; says so if there is none.
pub fn program(name: &str) -> Option<String> {
    let found = match name {
        // It may be a script that looks for the real one.
        "python3" => ask("python3", &["-c", "import sys; print(sys.executable)"]),
        _ => ask("sh", &["-c", &format!("command -v {name}")]),
    };
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Go client, built once; says so if there is no Go.
pub fn go_client() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let installed = PathBuf::from("/usr/local/go/bin/go");
        let go = ask("sh", &["-c", "command -v go"]).map(PathBuf::from);
        let Some(go) = go.or_else(|| installed.exists().then_some(installed)) else {
            eprintln!("skipped: go is not installed");
            return None;
        };
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
    built.as_deref()
}

/// What came of a run.
pub struct Run {
    pub code: Option<i32>,
    /// The table.
    pub table: String,
    /// What was written to standard error.
    pub errors: String,
    pub cases: Vec<CaseResult>,
    /// The records, by case.
    pub records: Vec<Vec<Event>>,
}

impl Run {
    /// The only case.
    pub fn case(&self) -> &CaseResult {
        assert_eq!(self.cases.len(), 1, "{}\n{}", self.table, self.errors);
        &self.cases[0]
    }

    /// A client of the only case.
    pub fn client(&self, name: &str) -> &ClientResult {
        self.case()
            .client(name)
            .unwrap_or_else(|| panic!("{name}: {}", self.table))
    }

    /// The case's verdict and the reason for it.
    pub fn verdict(&self) -> (Verdict, String) {
        let case = self.case();
        (
            case.verdict,
            case.reason
                .as_ref()
                .map(|r| r.text.clone())
                .unwrap_or_default(),
        )
    }

    /// All that the programs of a case wrote.
    pub fn output(&self) -> String {
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
pub fn run(yaml: &str, clock: Clock, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.yaml");
    fs::write(&file, yaml).expect("a scenario");
    run_file(&file, clock, arguments, &folder)
}

/// Runs the scenario in a file.
pub fn run_file(file: &Path, clock: Clock, arguments: &[&str], folder: &TempDir) -> Run {
    let (json, records) = (
        folder.path().join("result.json"),
        folder.path().join("records"),
    );
    let mut path: OsString = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bin"));
    let output = Command::new(env!("CARGO_BIN_EXE_halfopen"))
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
        .output()
        .expect("halfopen runs");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
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
    }
}

fn read_record(file: &Path) -> Vec<Event> {
    let text = fs::read_to_string(file).expect("a record");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}
