//! The helpers that `halfopen init` writes for test suites, in suites as users have them: what fails tells of the outage, and what
//! is mended passes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::machine;
use crate::needs;
use crate::shared::{repository, virtual_clock};

/// A test suite of a language.
struct Suite {
    /// As `halfopen init` calls it.
    kind: &'static str,
    folder: TempDir,
    /// What runs it: the program and its arguments.
    command: Vec<OsString>,
}

/// What came of a suite.
struct Ran {
    passed: bool,
    text: String,
}

impl Suite {
    /// A copy of a folder of fixtures/suites, with its helper.
    fn new(kind: &'static str, fixture: &str, command: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = repository().join("fixtures/suites");
        copy(&source.join(fixture), folder.path());
        for file in ["own.yaml", "refused.yaml"] {
            fs::copy(source.join(file), folder.path().join(file)).expect("copied");
        }
        let init = Command::new(env!("CARGO_BIN_EXE_halfopen"))
            .args(["init", kind])
            .arg(folder.path())
            .output()
            .expect("it runs");
        assert!(init.status.success(), "{init:?}");
        Self {
            kind,
            folder,
            command: command.iter().map(OsString::from).collect(),
        }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .args(more)
            .current_dir(self.folder.path())
            .env("PATH", needs::search_path())
            .env("HALFOPEN", env!("CARGO_BIN_EXE_halfopen"))
            .env("HALFOPEN_REQUIRE", "1")
            .env("HALFOPEN_RECORDS", self.kept())
            // What the caller has of its own.
            .env("CARGO_TARGET_DIR", self.folder.path().join("target"))
            .env_remove("HALFOPEN_CLOCK")
            .env_remove("RUST_BACKTRACE")
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::null());
        command
    }

    /// Where records of failures are.
    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    /// The names of what was kept.
    fn kept_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.kept()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    }

    /// Removes what was kept.
    fn kept_no_more(&self) {
        fs::remove_dir_all(self.kept()).expect("removed");
    }

    /// Runs the suite, or what `more` chooses of it, after a `change` of its environment.
    fn run(&self, more: &[&str], change: impl FnOnce(&mut Command)) -> Ran {
        let _turn = machine::beside_others();
        let mut command = self.command(more);
        change(&mut command);
        let output = command
            .output()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let streams = [output.stdout, output.stderr];
        let streams = streams.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ran {
            passed: output.status.success(),
            text: streams.concat(),
        }
    }

    /// `naive`, chosen by `choice`, where something is missing or wrong with halfopen itself.
    fn without_a_usable_program(&self, choice: &[&str]) {
        let not_there = "there is no halfopen in PATH, and HALFOPEN names none";
        let hide = |command: &mut Command| {
            let path = needs::search_path();
            let folders = std::env::split_paths(&path).filter(|f| !f.join("halfopen").exists());
            command.env("PATH", std::env::join_paths(folders).expect("a PATH"));
            command.env_remove("HALFOPEN");
        };
        self.run(choice, hide).assert(false, &[not_there]);
        let skipped = self.run(choice, |command| {
            hide(command);
            command.env_remove("HALFOPEN_REQUIRE");
        });
        skipped.assert(
            true,
            &[not_there, "HALFOPEN_REQUIRE=1 makes this a failure"],
        );

        let no_kernel = self.run(choice, |command| {
            command.env("HALFOPEN_KERNEL", "/nowhere/linux");
        });
        no_kernel.assert(false, &["/nowhere/linux"]);

        let other = self.folder.path().join("other");
        fs::write(&other, "#!/bin/sh\necho halfopen 99.0.0\n").expect("written");
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("set");
        let other = self.run(choice, |command| {
            command
                .env("HALFOPEN", &other)
                .env_remove("HALFOPEN_REQUIRE");
        });
        let own = format!("was written for {}", env!("CARGO_PKG_VERSION"));
        let mend = format!("run `halfopen init {}`", self.kind);
        other.assert(false, &["is version 99.0.0", &own, &mend]);

        let no_program = self.run(choice, |command| {
            command
                .env("HALFOPEN", "/nowhere/halfopen")
                .env_remove("HALFOPEN_REQUIRE");
        });
        no_program.assert(false, &["/nowhere/halfopen --version"]);
        assert!(self.kept_names().is_empty(), "{:?}", self.kept_names());
    }
}

impl Ran {
    #[track_caller]
    fn assert(&self, passed: bool, texts: &[&str]) {
        assert_eq!(self.passed, passed, "{}", self.text);
        for text in texts {
            assert!(
                self.text.contains(text),
                "`{text}` is missing:\n{}",
                self.text
            );
        }
    }
}

/// The whole outage of a client that waits for the kernel.
const OUTAGE: [&str; 5] = [
    "test.recovered: within 30 s, actual 9",
    "power_loss of node3 at 10",
    "cause retransmission_timeout",
    "detected 9",
    "kept: ",
];

/// A scenario with a mistake, shown where it stands.
const REFUSED: [&str; 3] = ["refuses the scenario", "refused.yaml:1", "node4"];

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir_all(&to).expect("made");
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

/// A program of the language, where there is a kernel for the virtual clock too.
fn needed(name: &str) -> Option<String> {
    virtual_clock()?;
    let found = needs::find(name).map(|path| path.display().to_string());
    if found.is_none() {
        needs::skipped(format_args!("{name} is not installed"));
    }
    found
}

/// pytest's Python, which `ci/clients python` builds.
fn pytest() -> Option<String> {
    virtual_clock()?;
    let python = repository().join("target/clients/venv/bin/python");
    let mut asked = Command::new(&python);
    let there = asked.args(["-c", "import pytest"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        needs::skipped("there is no pytest in target/clients/venv: `ci/clients python` builds it");
        return None;
    }
    Some(python.display().to_string())
}

/// What every language's suite has to tell of its failures.
#[track_caller]
fn assert_told(ran: &Ran, suite: &Suite, failed: usize) {
    ran.assert(false, &OUTAGE);
    ran.assert(false, &REFUSED);
    ran.assert(
        false,
        &["must go on until it is ended", "a programmer's mistake"],
    );
    ran.assert(
        false,
        &[
            "test: its program exited with 1, ",
            " before the fault: nothing was tested of it; it wrote last:",
        ],
    );
    let kept = suite.kept_names();
    assert_eq!(
        kept.len(),
        failed,
        "of those that failed in a lab: {kept:?}\n{}",
        ran.text
    );
    for folder in kept {
        let folder = suite.kept().join(folder);
        let there = |name: &str| folder.join(name).is_dir();
        assert!(there("run"), "{} has a record", folder.display());
        // What failed was followed to its end; what broke was not.
        let name = folder.display().to_string();
        let failed = name.contains("aive-") || name.contains("TimeoutAlone-");
        assert_eq!(there("outage"), failed, "{name}");
    }
}

#[test]
fn go_tests_run_their_own_client() {
    let Some(go) = needed("go") else { return };
    let suite = Suite::new("go", "go", &[&go, "test", "-count=1"]);
    let ran = suite.run(&["-v"], |_| {});
    for name in [
        "TestMended/at_any_time",
        "TestMended/idle",
        "TestMended/unacknowledged",
        "TestMended/own_scenario",
        "TestMended/waiting_(GOOD)",
        "TestTwice",
        "TestOwnServer",
        "TestPing",
    ] {
        ran.assert(false, &[&format!("--- PASS: {name} (")]);
    }
    for name in [
        "TestNaive",
        "TestTimeoutAlone",
        "TestRefused",
        "TestReturns",
        "TestPanics",
        "TestGivesUp",
    ] {
        ran.assert(false, &[&format!("--- FAIL: {name} (")]);
    }
    ran.assert(
        false,
        &[
            "invalid URL escape",
            "the client panicked: ",
            "client_test.go:77 ",
            "client_test.go:82: fatal in the lab",
        ],
    );
    assert_told(&ran, &suite, 5);
}

#[test]
fn go_tests_say_what_is_missing_and_end_in_time() {
    let Some(go) = needed("go") else { return };
    let suite = Suite::new("go", "go", &[&go, "test", "-count=1"]);
    suite.without_a_usable_program(&["-v", "-run", "^TestNaive$"]);
    let late = suite.run(&["-run", "^TestNaive$", "-timeout", "7s"], |command| {
        command.env("HALFOPEN_CLOCK", "real");
    });
    late.assert(
        false,
        &[
            "the time of this test is over (-timeout), and its run was interrupted",
            "FAIL: TestNaive",
        ],
    );
}

#[test]
fn go_tests_of_grpc_go_see_its_user_timeout_fire() {
    let Some(go) = needed("go") else { return };
    let suite = Suite::new("go", "grpc-go", &[&go, "test", "-count=1"]);
    let mended = suite.run(&["-v", "-run", "Fires"], |_| {});
    mended.assert(
        true,
        &[
            "cause user_timeout, detected 3.",
            "cause closed_by_client, detected 12.",
        ],
    );
    let without = suite.run(&["-run", "^TestWithoutKeepalive$"], |_| {});
    without.assert(
        false,
        &[
            "test.recovered: within 16 s, actual 9",
            "cause retransmission_timeout",
        ],
    );
    // What the documentation says of it was seen, where the kernel is the documentation's.
    let page = fs::read_to_string(repository().join("docs/suites.md")).expect("a page");
    for ran in [&mended, &without]
        .into_iter()
        .filter(|ran| ran.text.contains("Linux 7.3.4, HZ 250"))
    {
        let figures = ran
            .text
            .lines()
            .filter_map(|line| line.split_once(", detected "));
        for (_, figure) in figures {
            let figure = figure.split(',').next().unwrap_or_default();
            assert!(
                page.contains(&format!("| {figure} |")),
                "{figure} is not in docs/suites.md"
            );
        }
    }
}

#[test]
fn pytest_runs_its_own_client() {
    let Some(python) = pytest() else { return };
    let suite = Suite::new(
        "pytest",
        "pytest",
        &[
            &python,
            "-B",
            "-m",
            "pytest",
            "-v",
            "-p",
            "no:cacheprovider",
        ],
    );
    let ran = suite.run(&[], |_| {});
    for name in [
        "mended",
        "mended_waiting",
        "mended_over_tls",
        "mended_own_server",
        "mended_own_scenario",
    ] {
        ran.assert(false, &[&format!("test_client.py::test_{name} PASSED")]);
    }
    for name in ["naive", "refused", "returns", "raises", "inner_function"] {
        ran.assert(false, &[&format!("test_client.py::test_{name} FAILED")]);
    }
    ran.assert(
        false,
        &["line 82, in raises", "must stand at its module's top level"],
    );
    assert_told(&ran, &suite, 3);
    suite.kept_no_more();
    suite.without_a_usable_program(&["-rs", "-k", "naive"]);
}

#[test]
fn pytest_finds_the_client_however_its_module_is_imported() {
    let Some(python) = pytest() else { return };
    let suite = Suite::new(
        "pytest",
        "pytest",
        &[&python, "-B", "-m", "pytest", "-p", "no:cacheprovider"],
    );
    let folder = suite.folder.path();
    let tests = folder.join("tests");
    fs::create_dir(&tests).expect("made");
    for file in [
        "__init__.py",
        "test_client.py",
        "conftest.py",
        "halfopen_pytest.py",
    ] {
        let from = folder.join(file);
        if from.exists() {
            fs::rename(from, tests.join(file)).expect("moved");
        } else {
            fs::write(tests.join(file), "").expect("written");
        }
    }
    let from = "from .halfopen_pytest import halfopen_run\n";
    fs::write(tests.join("conftest.py"), from).expect("written");
    for mode in ["prepend", "importlib"] {
        let import = format!("--import-mode={mode}");
        suite
            .run(&[&import, "-k", "test_mended_waiting"], |_| {})
            .assert(true, &["1 passed"]);
    }
}

#[test]
fn node_tests_run_their_own_client() {
    let Some(node) = needed("node") else { return };
    let suite = Suite::new("node", "node", &[&node, "--test", "--test-reporter=tap"]);
    let ran = suite.run(&[], |_| {});
    for name in [
        "idle",
        "waiting",
        "over TLS (GOOD)",
        "own scenario",
        "own server",
        "two runs in one test",
    ] {
        assert!(
            ran.text
                .lines()
                .any(|line| line.trim_start().starts_with("ok ") && line.ends_with(name)),
            "{name}: {}",
            ran.text
        );
    }
    for name in ["naive", "refused", "returns", "throws"] {
        assert!(
            ran.text
                .lines()
                .any(|line| line.starts_with("not ok ") && line.ends_with(name)),
            "{name}: {}",
            ran.text
        );
    }
    ran.assert(false, &["client.test.js:40:9"]);
    assert_told(&ran, &suite, 3);
    suite.kept_no_more();
    suite.without_a_usable_program(&["--test-name-pattern=^naive$"]);
}

#[test]
fn rust_tests_run_their_own_client() {
    let Some(cargo) = needed("cargo") else { return };
    let suite = Suite::new(
        "rust",
        "rust",
        &[&cargo, "test", "--offline", "--test", "recovery", "--"],
    );
    let ran = suite.run(&[], |_| {});
    for name in ["idle", "waiting", "own_server", "own_scenario", "twice"] {
        ran.assert(false, &[&format!("test mended::{name} ... ok")]);
    }
    for name in ["naive", "refused", "returns", "panics"] {
        ran.assert(false, &[&format!("test {name} ... FAILED")]);
    }
    ran.assert(false, &["panicked at tests/recovery.rs:86:"]);
    assert_told(&ran, &suite, 3);
    // On one thread no thread says what the test's name is.
    suite
        .run(&["--test-threads=1", "mended::twice"], |_| {})
        .assert(true, &["1 passed"]);
    suite.kept_no_more();
    suite.without_a_usable_program(&["naive", "--show-output"]);
}
