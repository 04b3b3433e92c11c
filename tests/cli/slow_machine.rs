//! What a machine that was too slow made of a case is no verdict: the case is run again, and says so.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{child_of, halfopen, next_child, outcome_of, two_seconds};
use crate::{machine, needs};

/// A run of two seconds on the real clock that keeps its record in `folder`.
fn running(folder: &Path) -> Child {
    let file = two_seconds();
    let file = file.to_str().expect("UTF-8");
    let folder = folder.to_str().expect("UTF-8");
    halfopen(["run", file, "--clock", "real", "--record", folder])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// The lab process that a keeper looks after, once its case has begun, as the record in `folder` says.
fn lab_of(keeper: Pid, folder: &Path) -> Pid {
    let begun = Instant::now();
    while !record(folder).is_some_and(|record| record.contains("\"lab_ready\"")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has begun");
        std::thread::sleep(Duration::from_millis(5));
    }
    child_of(keeper.as_raw().cast_unsigned()).unwrap_or(keeper)
}

/// The only record in a folder.
fn record(folder: &Path) -> Option<String> {
    let mut files = fs::read_dir(folder).ok()?;
    files.find_map(|file| {
        let path = file.ok()?.path();
        let is_record = path.extension()? == "ndjson";
        is_record.then(|| fs::read_to_string(path).ok())?
    })
}

/// As an overloaded machine does it: the lab's turn comes late.
fn keep_waiting(lab: Pid) {
    kill(lab, Signal::SIGSTOP).expect("a signal");
    std::thread::sleep(Duration::from_millis(1500));
    kill(lab, Signal::SIGCONT).expect("a signal");
}

const AGAIN: &str = "run again with fewer cases beside it: before, this machine was too slow to tell what it came to";

#[test]
fn a_case_that_got_no_turn_on_the_processor_is_run_again() {
    let _turn = machine::beside_others();
    let records = tempfile::tempdir().expect("a folder");
    let mut child = running(records.path());
    let keeper = next_child(&mut child, None);
    keep_waiting(lab_of(keeper, records.path()));
    outcome_of(child).assert(0, &["1 case: 1 passed", AGAIN]);
    // The record is the second attempt's alone.
    let record = record(records.path()).expect("a record");
    for (what, times) in [("case_started", 1), ("case_ended", 1), ("rig_error", 0)] {
        assert_eq!(
            record.matches(&format!("\"{what}\"")).count(),
            times,
            "{what}"
        );
    }
    assert!(record.contains(AGAIN));
}

#[test]
fn a_case_that_never_gets_its_turns_has_no_verdict() {
    let _turn = machine::beside_others();
    let records = tempfile::tempdir().expect("a folder");
    let mut child = running(records.path());
    let mut before = None;
    for _attempt in 0..3 {
        let keeper = next_child(&mut child, before);
        keep_waiting(lab_of(keeper, records.path()));
        before = Some(keeper);
    }
    let outcome = outcome_of(child);
    outcome.assert(
        3,
        &["this machine is overloaded", "0 failed, 1 could not be run"],
    );
    assert!(
        !outcome.stdout.contains("expected"),
        "an expectation was judged: {outcome}"
    );
}

/// Busy programs on the only processor it may use, from its beginning on.
#[test]
fn a_case_that_waits_for_others_is_run_again() {
    let _turn = machine::alone();
    let records = tempfile::tempdir().expect("a folder");
    let mut child = running(records.path());
    let lab = lab_of(next_child(&mut child, None), records.path());
    let process = lab.to_string();
    for (program, arguments) in [
        ("taskset", ["-pc", "0", &process]),
        ("renice", ["-n", "19", &process]),
    ] {
        let mut change = needs::program(program);
        let changed = change.args(arguments).output();
        assert!(changed.is_ok_and(|it| it.status.success()), "{change:?}");
    }
    let busy = || {
        let mut command = needs::program("taskset");
        command.args(["-c", "0", "sh", "-c", "while :; do :; done"]);
        command.spawn().expect("it starts")
    };
    let busy: Vec<Child> = (0..16).map(|_| busy()).collect();
    std::thread::sleep(Duration::from_secs(3));
    for mut busy in busy {
        busy.kill().expect("it can be killed");
        busy.wait().expect("it ends");
    }
    outcome_of(child).assert(0, &["1 case: 1 passed", AGAIN]);
}
