//! A broken rig is exit 3 with its cause named, never a failed expectation; and it takes no other case with it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use halfopen::clock::{FromLab, LabJob};
use halfopen::plan::Case;
use halfopen::record::{ClockName, Event};
use halfopen::verdict::{Allowed, Exit, RunSummary, Verdict, judge};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{
    Outcome, Run, case, changed, halfopen, kernel_or_skip, next_child, outcome, outcome_of,
    program, run, run_inside, started, two_seconds, user_namespaces_or_skip,
};
use crate::machine;

/// Hides every iptables of this machine: from PATH, and where it is when it isn't there.
const WITHOUT_IPTABLES: &str = "
    for folder in /usr/sbin /sbin /usr/local/sbin; do
        if [ -d $folder ]; then mount -t tmpfs none $folder; fi
    done
    PATH=/nowhere; export PATH";

/// As in a container with Docker's defaults, or on Ubuntu 24.04.
const WITHOUT_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces";

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs the case of two seconds on `clock` after `preparation`.
fn run_on(clock: &str, preparation: &str) -> Outcome {
    let scenario = two_seconds();
    run_inside(preparation, ["run", text(&scenario), "--clock", clock])
}

/// Exit 3, the cause, and no word of a failed expectation.
#[track_caller]
fn assert_broken(outcome: &Outcome, cause: &str) {
    outcome.assert(3, &[cause, "0 failed, 1 could not be run"]);
    assert!(
        !outcome.stdout.contains("expected"),
        "an expectation was judged: {outcome}"
    );
}

/// Rules are written without it; it is asked, where it is there, what they are in the end.
#[test]
fn no_iptables() {
    if !user_namespaces_or_skip() {
        return;
    }
    run_on("real", WITHOUT_IPTABLES).assert(0, &["1 passed"]);
    if kernel_or_skip().is_some() {
        run_on("virtual", WITHOUT_IPTABLES).assert(0, &["1 passed"]);
    }
}

#[test]
fn user_namespaces_forbidden() {
    if !user_namespaces_or_skip() {
        return;
    }
    let ended = run_on("real", WITHOUT_USER_NAMESPACES);
    assert_broken(&ended, "user namespaces are forbidden here");
    assert!(ended.stdout.contains("`halfopen doctor` says"), "{ended}");
    let doctor = run_inside(WITHOUT_USER_NAMESPACES, ["doctor"]);
    doctor.assert(0, &["user namespaces", "missing"]);
}

#[test]
fn a_kernel_that_is_not_there_or_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = executable(folder.path(), "script", "#!/bin/sh\nexit 0\n");
    let plain = folder.path().join("plain");
    fs::write(&plain, "CONFIG_UML_TIME_TRAVEL_SUPPORT=y\n").expect("written");
    let is_none = "is no User Mode Linux kernel with CONFIG_UML_TIME_TRAVEL_SUPPORT";
    let cases = [
        (
            "/nowhere/linux",
            "there is no kernel that can be run at /nowhere/linux",
        ),
        ("/bin/true", is_none),
        (text(&script), is_none),
        (text(&plain), "there is no kernel that can be run at"),
        (text(folder.path()), is_none),
    ];
    let scenario = two_seconds();
    for (kernel, says) in cases {
        run(["run", text(&scenario), "--kernel", kernel]).assert(3, &[says]);
        // The same by the environment, whether or not the clock is named: no other clock is taken instead.
        for clock in [&["--clock", "virtual"][..], &[]] {
            let mut command = halfopen(["run", text(&scenario)]);
            let ended = outcome(command.args(clock).env("HALFOPEN_KERNEL", kernel));
            ended.assert(3, &[says]);
        }
    }
    let mut real = halfopen(["run", text(&scenario), "--clock", "real"]);
    outcome(real.env("HALFOPEN_KERNEL", "/nowhere/linux")).assert(0, &["real clock"]);
}

#[test]
fn a_kernel_that_ends_at_once_is_named_with_its_last_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = "#!/bin/sh\n# CONFIG_UML_TIME_TRAVEL_SUPPORT=y\necho this is not a kernel; exit 7\n";
    let kernel = executable(
        folder.path(),
        "linux",
        &body.replace("# CONFIG", ": x\nCONFIG"),
    );
    let ended = run(["run", text(&two_seconds()), "--kernel", text(&kernel)]);
    assert_broken(&ended, "exit status: 7");
    assert!(ended.stdout.contains("this is not a kernel"), "{ended}");
}

#[test]
fn halfopen_kernel_names_the_kernel() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let mut command = halfopen(["run", text(&two_seconds())]);
    // Without the caches in which it would be found.
    command.env("HALFOPEN_KERNEL", &kernel.path);
    command.env("XDG_CACHE_HOME", "/nowhere");
    outcome(&mut command).assert(0, &["virtual clock", "1 passed"]);
    let mut command = halfopen(["run", text(&two_seconds()), "--clock", "virtual"]);
    let ended = outcome(
        command
            .env("XDG_CACHE_HOME", "/nowhere")
            .env_remove("HALFOPEN_KERNEL"),
    );
    ended.assert(
        3,
        &["no kernel for the virtual clock is built; `./ci/kernel` builds one"],
    );
}

#[test]
fn a_refused_sysctl_breaks_its_own_case_only() {
    let matrix = (
        "duration: 2s",
        "duration: 2s\nmatrix:\n  sysctls.net.ipv4.tcp_retries2: [5, 99999, 8]",
    );
    let sysctls = (
        "servers:",
        "sysctls: { net.ipv4.tcp_retries2: 15 }\nservers:",
    );
    let (_folder, file) = changed(&two_seconds(), &[matrix, sysctls]);
    let clocks = match kernel_or_skip() {
        Some(_) => &["real", "virtual"][..],
        None => &["real"],
    };
    for clock in clocks {
        let run = Run::of(&[&file], &["--clock", clock]);
        assert_eq!(run.verdicts(), ["pass", "error", "pass"], "{}", run.outcome);
        let cause = "node1: writing net.ipv4.tcp_retries2 = 99999: Invalid argument";
        run.outcome.assert(3, &[cause, "two-seconds.yaml:4:12"]);
        let expectation = &run.cases()[1]["expectations"][0];
        assert_eq!(expectation["verdict"], "error", "never a failed one");
    }
}

#[test]
fn an_address_in_use() {
    let _turn = machine::beside_others();
    let mut case = case(&two_seconds());
    let mut second = case.lab.servers[0].clone();
    second.name = "echo-1-again".to_owned();
    case.lab.servers.push(second);
    let events = lab_process(&case);
    let result = judge(&events);
    assert_eq!(result.verdict, Verdict::Error);
    let reason = result.reason.as_ref().map(|note| note.text.as_str());
    let reason = reason.unwrap_or_default();
    assert!(
        reason.contains("failed to bind server echo-1-again"),
        "{reason}"
    );
    assert!(reason.contains("Address already in use"), "{reason}");
    assert_eq!(
        RunSummary::of(&[result]).exit(Allowed::default()),
        Exit::NotRun
    );
    // Its record says the same later.
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = events
        .iter()
        .map(|event| serde_json::to_string(event).expect("JSON"))
        .collect();
    fs::write(folder.path().join("x.ndjson"), lines.join("\n") + "\n").expect("written");
    let reported = run(["report", text(folder.path())]);
    assert_broken(&reported, "Address already in use");
}

/// A run of two seconds on the real clock, and its lab's process, 700 ms after that began.
fn running() -> (Child, Pid) {
    let mut child = halfopen(["run", text(&two_seconds()), "--clock", "real"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lab = next_child(&mut child, None);
    std::thread::sleep(Duration::from_millis(700));
    (child, lab)
}

#[test]
fn a_lab_process_that_is_ended_from_outside() {
    let _turn = machine::beside_others();
    let (child, lab) = running();
    kill(lab, Signal::SIGKILL).expect("a signal");
    assert_broken(
        &outcome_of(child),
        "the lab process was ended from outside (signal: 9 (SIGKILL))",
    );
}

/// What the program's lab process records of a case, which may be one that no scenario can describe.
fn lab_process(case: &Case) -> Vec<Event> {
    let job = LabJob {
        lab: case.lab.clone(),
        clock: ClockName::Real,
        shell: halfopen::clock::Shell::default(),
        later_ticks: 0,
    };
    let mut child = Command::new(program())
        .arg("__lab")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let job = serde_json::to_vec(&job).expect("JSON");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&job).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let mut events = vec![started(case)];
    for line in said.lines() {
        if let FromLab::Event(event) = serde_json::from_str(line).expect("a message") {
            events.push(event);
        }
    }
    events
}

fn executable(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}
