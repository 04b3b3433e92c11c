//! Written by `halfopen init rust`, for halfopen __VERSION__. After an upgrade: remove this file and write it anew.
//!
//! A test of what a client makes of a server whose node loses its power:
//!
//! ```ignore
//! mod halfopen;
//!
//! #[test]
//! fn recovers() {
//!     halfopen::Test::new().within(Duration::from_secs(10)).run(|lab| {
//!         let mut client = Client::new(&lab.url);
//!         lab.every(Duration::from_secs(1), || client.ask())
//!     });
//! }
//! ```
//!
//! The client is a program of its own: this test binary is started again in a lab, and comes through the test to the closure. Of
//! what the test made before it has its own copy; what it does there reaches nothing outside. Time passes in the lab at once.
//!
//! Environment: `HALFOPEN` names the program, if it is not in `PATH`. Where it or the virtual clock's kernel is missing, the test
//! says so and passes, or fails with `HALFOPEN_REQUIRE=1`. `HALFOPEN_CLOCK=real` runs in real time. `HALFOPEN_RECORDS` is the folder
//! for records of failures, instead of the one for temporary files.
// Each test binary takes what it needs.
#![allow(dead_code)]

use std::any::type_name;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Display};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{self, AssertUnwindSafe, Location};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

const VERSION: &str = "__VERSION__";

/// What the client finds in the lab.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Of the service: `http://service/`, or `tcp://service:8080` with [`Test::serve`].
    pub url: String,
    /// The service's IP address and port.
    pub address: String,
    /// File with the certificate authority.
    pub ca: PathBuf,
}

impl Lab {
    /// Calls a request again and again, and says how each went: a second witness. It never returns.
    pub fn every<T, E: Display>(
        &self,
        pause: Duration,
        mut request: impl FnMut() -> Result<T, E>,
    ) -> Result<Infallible, String> {
        loop {
            match request() {
                Ok(_) => println!("halfopen: ok"),
                Err(error) => println!("halfopen: error: {error}"),
            }
            thread::sleep(pause);
        }
    }
}

/// A test to be run.
#[derive(Debug)]
#[must_use = "`run` runs it"]
pub struct Test {
    within: Duration,
    cause: Option<String>,
    phase: Option<String>,
    tls: bool,
    serve: Option<fn(&str)>,
    scenario: Option<PathBuf>,
}

impl Test {
    /// One in which the client must have recovered 30 s after the fault.
    pub fn new() -> Self {
        Self {
            within: Duration::from_secs(30),
            cause: None,
            phase: None,
            tls: false,
            serve: None,
            scenario: None,
        }
    }

    /// The client must have recovered so soon after the fault.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// What must have ended its wait: one or more of docs/scenario.md, "Cause", with commas.
    pub fn cause(mut self, cause: &str) -> Self {
        self.cause = Some(cause.to_owned());
        self
    }

    /// Lose the power when the client is `idle`, `request_unacknowledged` or `waiting_for_response`.
    pub fn phase(mut self, phase: &str) -> Self {
        self.phase = Some(phase.to_owned());
        self
    }

    /// The built-in HTTP servers speak TLS; `SSL_CERT_FILE` names their authority.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The servers instead of the built-in ones: serves at `HOST:PORT`, and goes on.
    pub fn serve(mut self, serve: fn(&str)) -> Self {
        self.serve = Some(serve);
        self
    }

    /// A scenario file of your own instead of all of the above.
    pub fn scenario(mut self, file: impl Into<PathBuf>) -> Self {
        self.scenario = Some(file.into());
        self
    }

    /// Runs `client` in a lab, and panics if it does not recover as expected. It must go on until it is ended.
    #[track_caller]
    pub fn run<R: Debug, F: FnOnce(Lab) -> R>(self, client: F) {
        if let Ok(wanted) = std::env::var("HALFOPEN_TEST_RUN") {
            // Another run of the same test comes before or after this one.
            let test = wanted.rsplit_once('#').map_or("", |(test, _)| test);
            if wanted == count(test) {
                self.inside(client);
            }
            return;
        }
        let test = test_name::<F>();
        let own = count(&test);
        let Some(program) = program() else {
            return missing("there is no halfopen in PATH, and HALFOPEN names none");
        };
        let folder = folder(&test);
        let path = launchers(&folder, &test, &own).unwrap_or_else(|error| fail(&error.to_string()));
        let mut run = self.execute(&program, &test, &folder, &path, "run", "");
        if run.code == Some(1) && self.scenario.is_none() && clock() == "virtual" {
            // In virtual time the failure can be followed to its end: the kernel's own, after a quarter of an hour.
            let longer = self.execute(&program, &test, &folder, &path, "outage", "duration: 1200s");
            if longer.code == Some(1) {
                run = longer;
            }
        }
        match (run.code, run.told) {
            (Some(0), told) => {
                print!("halfopen: {}", told.unwrap_or_default());
                let _ = fs::remove_dir_all(&folder);
            }
            (Some(3), None) => {
                let _ = fs::remove_dir_all(&folder);
                missing(run.stderr.trim());
            }
            (Some(2), _) => {
                let _ = fs::remove_dir_all(&folder);
                fail(&format!("it refuses the scenario\n{}", run.stderr))
            }
            (code, told) => fail(&format!(
                "exit code {}: {}{}kept: {} (halfopen explain {})",
                code.map_or(String::from("none, a signal ended it"), |code| code
                    .to_string()),
                told.unwrap_or_default(),
                run.stderr,
                folder.display(),
                run.record.display()
            )),
        }
    }

    /// Runs the scenario, with one more line, to its end.
    #[track_caller]
    fn execute(
        &self,
        program: &Path,
        test: &str,
        folder: &Path,
        path: &OsStr,
        name: &str,
        line: &str,
    ) -> Outcome {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        let (brief, record) = (file("txt"), folder.join(name));
        let scenario = self.scenario.clone().unwrap_or_else(|| {
            let scenario = file("yaml");
            fs::write(&scenario, self.written(test, line)).unwrap_or_else(|e| fail(&e.to_string()));
            scenario
        });
        let output = Command::new(program)
            .arg("run")
            .arg(scenario)
            .args(["--quiet", "--clock", &clock(), "--report"])
            .arg(format!("brief={}", brief.display()))
            .arg("--report")
            .arg(format!("json={}", file("json").display()))
            .arg("--record")
            .arg(&record)
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| fail(&error.to_string()));
        Outcome {
            code: output.status.code(),
            told: fs::read_to_string(&brief).ok(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            record,
        }
    }

    /// The client, or a server, in the lab. It ends the process.
    fn inside<R: Debug, F: FnOnce(Lab) -> R>(self, client: F) {
        let of = |name: &str| std::env::var(name).unwrap_or_default();
        let role = of("HALFOPEN_TEST_ROLE");
        let lab = Lab {
            url: of("HALFOPEN_URL"),
            address: of("HALFOPEN_ADDRESS"),
            ca: of("HALFOPEN_CA").into(),
        };
        let run = || match (role.as_str(), self.serve) {
            ("client", _) => format!("{:?}", client(lab)),
            (_, Some(serve)) => {
                serve(&of("HALFOPEN_TEST_LISTEN"));
                String::from("()")
            }
            (_, None) => String::from("because the test has no `serve`"),
        };
        // Its message is written already; the test harness would write more below it.
        let Ok(result) = panic::catch_unwind(AssertUnwindSafe(run)) else {
            process::exit(101);
        };
        println!("halfopen: the {role} returned {result}: it must go on until it is ended");
        process::exit(1);
    }

    fn written(&self, test: &str, duration: &str) -> String {
        let (server, port, url) = match (self.serve, self.tls) {
            (Some(_), true) => fail(
                "`tls` is for the built-in servers; with `serve` it is the servers' own affair",
            ),
            (Some(_), false) => (
                r#"port: 8080, exec: { command: [halfopen-test-server, "{self}:{port}"], memory: 512MiB }"#,
                "8080",
                "tcp://service:8080",
            ),
            (None, true) => ("app: echo, tls: true", "443", "https://service/"),
            (None, false) => ("app: echo", "80", "http://service/"),
        };
        let when = self.phase.as_ref().map_or_else(
            || String::from("at: 10s"),
            |phase| format!("when: {{ client: test, phase: {phase}, after: 10s }}"),
        );
        let cause = self.cause.as_ref();
        let cause = cause.map_or_else(String::new, |cause| format!(", cause: [{cause}]"));
        SCENARIO
            .replace("SERVER", server)
            .replace("PORT", port)
            .replace("URL", url)
            .replace("WHEN", &when)
            .replace("WITHIN", &format!("{}ms", self.within.as_millis()))
            .replace("CAUSE", &cause)
            .replace("DURATION", duration)
            .replace("NAME", &format!("{test:?}"))
    }
}

/// What came of a run.
struct Outcome {
    code: Option<i32>,
    /// The brief report, if it began.
    told: Option<String>,
    stderr: String,
    record: PathBuf,
}

/// The name of the test that this is called in, as the test harness has it: its thread's, or the one that a closure of its type says.
fn test_name<F>() -> String {
    let thread = thread::current();
    if let Some(name) = thread.name().filter(|name| *name != "main") {
        return name.to_owned();
    }
    // crate::module::test::{{closure}}; with one thread, tests run on the main one.
    let closure = type_name::<F>();
    let Some((path, _)) = closure.split_once("::{{closure}}") else {
        fail(
            "with one test thread the client must be a closure: by its name the test is found again",
        )
    };
    let (_, test) = path.split_once("::").unwrap_or(("", path));
    test.to_owned()
}

/// The name of a run: its test, and which of that test's runs it is.
fn count(test: &str) -> String {
    static RUNS: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);
    let mut runs = RUNS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let number = runs
        .get_or_insert_with(HashMap::new)
        .entry(test.to_owned())
        .or_default();
    *number += 1;
    format!("{test}#{number}")
}

fn clock() -> String {
    let named = std::env::var("HALFOPEN_CLOCK");
    named
        .ok()
        .filter(|clock| !clock.is_empty())
        .unwrap_or_else(|| String::from("virtual"))
}

/// The program, of this file's version; `None` if there is none.
#[track_caller]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("HALFOPEN").filter(|name| !name.is_empty());
    let found = || {
        std::env::split_paths(&path)
            .map(|f| f.join("halfopen"))
            .find(|f| f.is_file())
    };
    let program = named.map(PathBuf::from).or_else(found)?;
    let shown = program.display();
    let said = match Command::new(&program).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => fail(&format!("{shown} --version: {error}")),
    };
    let version = said.trim_start_matches("halfopen ").trim();
    if version != VERSION {
        let file = file!();
        fail(&format!(
            "{shown} is version {version}, and {file} was written for {VERSION}: remove that file and run `halfopen init rust`"
        ));
    }
    Some(program)
}

#[track_caller]
fn missing(why: &str) {
    if std::env::var("HALFOPEN_REQUIRE").is_ok_and(|require| require == "1") {
        fail(why);
    }
    // Past the harness, which shows the output of failed tests only.
    let place = Location::caller();
    let line =
        format!("SKIPPED {place}: halfopen: {why} (HALFOPEN_REQUIRE=1 makes this a failure)\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

#[track_caller]
fn fail(text: &str) -> ! {
    panic!("halfopen: {text}")
}

/// Where everything of a run lies, an absolute path.
#[track_caller]
fn folder(test: &str) -> PathBuf {
    let records = std::env::var_os("HALFOPEN_RECORDS").filter(|folder| !folder.is_empty());
    let records = records.map_or_else(std::env::temp_dir, PathBuf::from);
    let records = std::path::absolute(&records).unwrap_or(records);
    let name = format!("halfopen-{}", test.replace("::", "-"));
    // Of two with one name the first one stays.
    let made = fs::create_dir_all(&records).and_then(|()| {
        (0..)
            .map(|n| records.join(format!("{name}-{}-{n}", process::id())))
            .find_map(|folder| match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|()| folder)),
            })
            .unwrap_or(Err(io::ErrorKind::AlreadyExists.into()))
    });
    made.unwrap_or_else(|error| fail(&format!("{}: {error}", records.display())))
}

/// Writes the programs `halfopen-test-client` and `halfopen-test-server`, and returns the `PATH` with them. What `PATH` names can be
/// seen in the lab, in folders for temporary files as well: the test binary too.
fn launchers(folder: &Path, test: &str, run: &str) -> io::Result<OsString> {
    let (programs, binary) = (folder.join("bin"), std::env::current_exe()?);
    fs::create_dir_all(&programs)?;
    let of = |name: &str| quoted(&std::env::var(name).unwrap_or_default());
    let arguments = "--exact --nocapture --include-ignored";
    for role in ["client", "server"] {
        let text = format!(
            "#!/bin/sh\nexport HALFOPEN_TEST_LISTEN=\"$1\" HALFOPEN_TEST_ROLE={role} HALFOPEN_TEST_RUN={} LD_LIBRARY_PATH={}\nexec {} {} {arguments}\n",
            quoted(run),
            of("LD_LIBRARY_PATH"),
            quoted(&binary.to_string_lossy()),
            quoted(test)
        );
        let file = programs.join(format!("halfopen-test-{role}"));
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [programs, binary.parent().unwrap_or(&binary).to_owned()];
    let all = own[..1]
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .chain(own[1..].iter().cloned());
    std::env::join_paths(all).map_err(io::Error::other)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const SCENARIO: &str = r#"
__SCENARIO__"#;
