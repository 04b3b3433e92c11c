//! Real programs beside the presets that name their libraries, as in scenarios/libraries: what halfopen measures of a
//! program is held against what the program says itself, and the preset against the program.

use std::time::Duration;

use halfopen::plan::Cause;
use halfopen::record::{Observation, OutputStream};
use halfopen::verdict::result::ClientResult;

use crate::needs;
use crate::shared::{Run, repository, run_file, virtual_clock};

/// Late by so much at most is what is due at a moment: timers of runtimes and of the kernel.
const TIMER_STEP: Duration = Duration::from_millis(250);
/// A preset and its library may lie apart by so many percent.
const PERCENT: u32 = 2;
/// Known differences of a program from its preset, by scenario, client and what is measured, in seconds.
const DIFFERS: [(&str, &str, &str, f64); 4] = [
    // asyncio waits 30 s for a dead peer's goodbye of TLS before it lets the socket go; the preset does not wait.
    ("python-limits", "aiohttp", "detected", 30.0),
    ("python-idle", "aiohttp", "detected", 30.0),
    // client-go's REST client asks again 1 s after a connection was lost, and only then: the preset is its transport alone.
    ("client-go-limits", "default", "recovered", -1.0),
    // curl counts its pause from a transfer's beginning, so after a timeout the next one begins at once.
    ("curl-limits", "h1-5s", "recovered", -2.0),
];

/// Where a program's own output tells that it gave the dead connection up.
#[derive(Debug, Clone, Copy)]
enum GivenUp {
    /// At its first error: its own limit ended the connection.
    FirstError,
    /// At its last error, or with its first good answer where it asked again by itself: it waited for the kernel.
    End,
    /// So many milliseconds before its first good answer: it asked again by itself, after a pause.
    Before(u64),
    /// So many milliseconds after its first error.
    Later(u64, u64),
    /// Nowhere: nothing was asked at the time.
    Silent,
}

use GivenUp::{Before, End, FirstError, Later, Silent};

/// What a program says of itself: times since the case's begin, and whether the answer was good.
struct OwnAccount(Vec<(Duration, bool)>);

impl OwnAccount {
    fn of(run: &Run, client: &str) -> Self {
        let mut began = None;
        let mut text = String::new();
        for event in &run.records[0] {
            match &event.what {
                Observation::ProgramStarted { client: name, .. } if name == client => {
                    began.get_or_insert(event.at());
                }
                Observation::ProgramOutput {
                    client: name,
                    stream: OutputStream::Stdout,
                    text: piece,
                    ..
                } if name == client => text.push_str(piece),
                _ => {}
            }
        }
        let began = began.unwrap_or_else(|| panic!("{client} was not started"));
        let results = text.lines().filter_map(|line| {
            let (kind, rest) = line.split_once(' ')?;
            let at = rest.split(' ').next()?.parse().ok()?;
            let at = began + Duration::from_secs_f64(at);
            matches!(kind, "ok" | "error").then_some((at, kind == "ok"))
        });
        let results: Vec<_> = results.collect();
        assert!(!results.is_empty(), "{client} said nothing: {text}");
        Self(results)
    }

    /// The first good answer after `fault` that nothing but good ones followed.
    fn recovered(&self, fault: Duration) -> Option<Duration> {
        // By their order: a program that counts hundredths has an error and an answer at one time.
        let failed = self.0.iter().rposition(|(_, ok)| !ok);
        let mut later = self.0.iter().skip(failed.map_or(0, |last| last + 1));
        later.find(|(at, _)| *at > fault).map(|(at, _)| *at)
    }

    fn errors(&self, fault: Duration) -> impl DoubleEndedIterator<Item = Duration> {
        let errors = self.0.iter().filter(move |(at, ok)| !ok && *at > fault);
        errors.map(|(at, _)| *at)
    }
}

/// The names of programs that the scenario in `file` runs and that are not built.
fn missing(scenario: &str) -> Vec<&str> {
    let words = scenario.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
    let mut programs: Vec<&str> = words.filter(|w| w.starts_with("halfopen-poll-")).collect();
    programs.sort_unstable();
    programs.dedup();
    let folder = repository().join("target/clients");
    programs.retain(|program| !folder.join(program).is_file());
    programs
}

/// Runs a scenario of scenarios/libraries and judges each of its programs, and the preset beside it.
fn library(scenario_name: &str, programs: &[(&str, GivenUp)]) {
    let Some(clock) = virtual_clock() else { return };
    let file = repository().join(format!("scenarios/libraries/{scenario_name}.yaml"));
    let scenario = std::fs::read_to_string(&file).expect("a scenario");
    let missing = missing(&scenario);
    if !missing.is_empty() {
        return needs::skipped(format_args!(
            "{} are not built: `ci/clients` builds them",
            missing.join(", ")
        ));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let run = run_file(&file, clock, &["--standstill", "300"], &folder);
    assert_eq!(run.code, Some(0), "{}\n{}", run.table, run.errors);
    let names = run.case().clients.iter().map(|client| client.name.as_str());
    let names: Vec<&str> = names.filter(|name| !name.ends_with("-preset")).collect();
    let known: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "every program is judged");
    let mut wrong = Vec::new();
    for (name, given_up) in programs {
        let (program, preset) = (run.client(name), run.client(&format!("{name}-preset")));
        let own = OwnAccount::of(&run, name);
        wrong.extend(against_itself(program, &own, *given_up, fault_of(&run)));
        wrong.extend(against_preset(scenario_name, program, preset));
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), run.table);
}

fn fault_of(run: &Run) -> Duration {
    run.case().faults[0].at.expect("it fired")
}

/// Where what was measured of a program differs from what it says itself.
fn against_itself(
    program: &ClientResult,
    own: &OwnAccount,
    given_up: GivenUp,
    fault: Duration,
) -> Vec<String> {
    let name = &program.name;
    let mut wrong = Vec::new();
    let recovered = own.recovered(fault).map(|at| at - fault);
    if program.cause.is_some() && !near(program.recovered_after, recovered) {
        wrong.push(format!(
            "{name} recovered after {:?}, and says {recovered:?}",
            program.recovered_after
        ));
    }
    let first = own.errors(fault).next().map(|at| at - fault);
    let last = own.errors(fault).next_back().map(|at| at - fault);
    let detected = program.detected_after;
    let same = match given_up {
        Silent => true,
        FirstError => near(detected, first),
        End => near(detected, last) || near(detected, recovered),
        Before(pause) => near(
            detected.map(|at| at + Duration::from_millis(pause)),
            recovered,
        ),
        Later(from, to) => detected.zip(first).is_some_and(|(detected, first)| {
            let after = first + Duration::from_millis(from)..=first + Duration::from_millis(to);
            after.contains(&detected)
        }),
    };
    if !same {
        wrong.push(format!(
            "{name} gave up after {detected:?}, and by its own account {given_up:?}: errors {first:?} to {last:?}, \
             answer {recovered:?}"
        ));
    }
    wrong
}

fn near(a: Option<Duration>, b: Option<Duration>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) <= TIMER_STEP,
        (None, None) => true,
        _ => false,
    }
}

/// Where a preset differs from the library that it names.
fn against_preset(scenario: &str, program: &ClientResult, preset: &ClientResult) -> Vec<String> {
    let name = &preset.name;
    let mut wrong = Vec::new();
    for (what, program, preset) in [
        ("detected", program.detected_after, preset.detected_after),
        ("recovered", program.recovered_after, preset.recovered_after),
    ] {
        let known = DIFFERS.iter().find(|(file, client, figure, _)| {
            *file == scenario && format!("{client}-preset") == *name && *figure == what
        });
        let known = known.map_or(0.0, |(_, _, _, seconds)| *seconds);
        let same = match (program, preset) {
            (Some(program), Some(preset)) => {
                let apart = program.as_secs_f64() - preset.as_secs_f64() - known;
                let program = program * PERCENT / 100;
                apart.abs() <= TIMER_STEP.max(program).as_secs_f64()
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            wrong.push(format!(
                "{name}: {what} {preset:?}, the library {program:?}"
            ));
        }
    }
    if !same_cause(program.cause, preset.cause) {
        wrong.push(format!(
            "{name}: {:?}, the library {:?}",
            preset.cause, program.cause
        ));
    }
    wrong
}

/// Of a program's own timers nobody but itself knows which one it was.
fn same_cause(program: Option<Cause>, preset: Option<Cause>) -> bool {
    let own = [
        Cause::RequestTimeout,
        Cause::ReadTimeout,
        Cause::PingTimeout,
        Cause::IdleTimeout,
    ];
    match (program, preset) {
        (Some(Cause::ClosedByClient), Some(preset)) => own.contains(&preset),
        (program, preset) => program == preset,
    }
}

#[test]
fn go_net_http() {
    library("go-http", &[("h1", End), ("h2", End), ("h2-10s", End)]);
    let limits = [("h1-10s", FirstError), ("h2-ping", FirstError)];
    library("go-http-limits", &limits);
    let idle = [("h1", Silent), ("h2", Silent), ("h2-ping", Silent)];
    library("go-http-idle", &idle);
}

#[test]
fn python() {
    library("python", &[("requests", End), ("urllib3", End)]);
    let limits = [
        ("httpx-h1", FirstError),
        // The pool finds it expired 5 s later, at the next call after that.
        ("httpx-h2", Later(5_000, 7_250)),
        ("aiohttp", Later(30_000, 30_250)),
    ];
    library("python-limits", &limits);
    let idle = [
        ("requests", End),
        ("httpx-h1", Silent),
        ("httpx-h2", Silent),
        ("aiohttp", Silent),
    ];
    library("python-idle", &idle);
}

#[test]
fn node() {
    library("node", &[("agent", End), ("http2", End)]);
    let limits = [("fetch", FirstError), ("fetch-5s", FirstError)];
    library("node-limits", &limits);
    let idle = [("fetch", Silent), ("agent", Silent), ("http2", End)];
    library("node-idle", &idle);
}

#[test]
fn curl() {
    library("curl", &[("h1", End), ("h2", End), ("h2-5s", End)]);
    library("curl-limits", &[("h1-5s", FirstError)]);
    library("curl-idle", &[("h1", Silent), ("h2", Silent)]);
}

#[test]
fn java() {
    library("java", &[("h2", End), ("h2-5s", End), ("h1", End)]);
    library("java-idle", &[("h2", End)]);
}

#[test]
fn okhttp() {
    // Its next call finds that the PING had no answer.
    let limits = [("h2", Later(2_000, 2_250)), ("h1", FirstError)];
    library("okhttp-limits", &limits);
    library("okhttp-idle", &[("h2", Silent), ("h1", Silent)]);
}

#[test]
fn rust() {
    library("rust", &[("reqwest-0-11", End), ("hyper", End)]);
    library("rust-limits", &[("reqwest-0-12", FirstError)]);
    let idle = [
        ("reqwest-0-11", Silent),
        ("reqwest-0-12", Silent),
        ("hyper", Silent),
    ];
    library("rust-idle", &idle);
}

#[test]
fn client_go() {
    library("client-go", &[("no-ping", End), ("h1", End)]);
    library("client-go-limits", &[("default", Before(1_000))]);
    library("client-go-idle", &[("default", Silent)]);
}
