//! What comes from outside and may be anything: files that are none, text that steers a terminal, full disks, signals,
//! programs that end at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::command::{
    Outcome, Run, changed, client, halfopen, outcome, program, repository, run, two_seconds,
    user_namespaces_or_skip,
};
use crate::{machine, needs};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Ends a program that reads for ever, which is then no longer `halfopen`'s exit code.
fn in_time<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    let mut command = needs::program("timeout");
    command.args(["20"]).arg(program()).args(arguments);
    outcome(&mut command)
}

#[test]
fn what_has_no_end_or_waits_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.yaml");
    let made = needs::program("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let link = folder.path().join("zero.ndjson");
    symlink("/dev/zero", &link).expect("a link");
    for command in ["check", "run", "list", "report", "explain"] {
        for path in ["/dev/zero", text(&link)] {
            in_time([command, path]).assert(2, &[path, "it is a device"]);
        }
        in_time([command, text(&pipe)]).assert(2, &["it is a pipe"]);
    }
    // One found in a folder as well.
    in_time(["check", text(folder.path())]).assert(2, &["pipe.yaml", "it is a pipe"]);
}

#[test]
fn a_path_that_can_t_be_read_is_named_with_the_reason() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("link.yaml");
    symlink("/nowhere/it.yaml", &link).expect("a link");
    let strange = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"a\xff\x1b[2J.yaml"));
    fs::write(&strange, "nodes: 7\n").expect("written");
    for command in ["check", "run", "list"] {
        run([command, text(&link)]).assert(2, &["link.yaml, a link to /nowhere/it.yaml: No such"]);
        let ended = run([command.as_ref(), strange.as_os_str()]);
        ended.assert(2, &["\\u{1b}[2J.yaml"]);
        assert!(!ended.stderr.contains('\u{1b}'), "{ended}");
    }
    let missing = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"b\xff.yaml"));
    run(["check".as_ref(), missing.as_os_str()]).assert(2, &["b\\xff.yaml: No such file"]);
}

#[test]
fn a_path_without_permission_is_named_with_the_reason() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("closed.yaml");
    fs::copy(two_seconds(), &file).expect("a copy");
    let closed = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("changed");
        let mut command = halfopen(["check", text(path)]);
        if nix::unistd::geteuid().is_root() {
            // Root may read everything.
            command = needs::program("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(program()).args(["check", text(path)]);
        }
        outcome(&mut command)
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    closed(&file).assert(2, &["closed.yaml", "Permission denied"]);
    closed(folder.path()).assert(2, &["failed to read the folder", "Permission denied"]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
}

#[test]
fn folders_that_lead_into_one_another_are_searched_once() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(two_seconds(), folder.path().join("one.yaml")).expect("a copy");
    for name in ["a", "b", "c"] {
        symlink(".", folder.path().join(name)).expect("a link");
    }
    in_time(["check", text(folder.path())]).assert(0, &["1 case, nothing wrong"]);
}

/// What steers a terminal: colours, the cursor, the direction of text.
const STEERING: [char; 4] = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'];

#[track_caller]
fn does_not_steer(ended: &Outcome) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let steers = |c: &char| said.contains(*c);
    assert!(!STEERING.iter().any(steers), "{said:?}");
}

#[test]
fn nothing_in_a_scenario_steers_the_terminal() {
    let name = ("name: two-seconds", "name: \"a\\e[31m\\u202Eb\\x9b\\a\"");
    let (_folder, file) = changed(&two_seconds(), &[name]);
    for command in ["check", "list", "run"] {
        does_not_steer(&run([command, text(&file)]));
    }
    // As it stands in the file, before the place of the mistake and after it.
    let bytes = (
        "nodes: [node1",
        "description: \"\u{1b}[31m\u{202e}\" # \u{9b}\nnodes: [node1",
    );
    let wrong = ("servers:", "wrong\u{202e}: 1 # \u{1b}[2J\nservers:");
    let (_folder, file) = changed(&two_seconds(), &[bytes, wrong]);
    let ended = run(["check", text(&file)]);
    does_not_steer(&ended);
    ended.assert(2, &["\\u{202e}", "\\u{1b}[2J"]);
}

#[test]
fn nothing_in_a_record_steers_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = fs::read_to_string(repository("fixtures/records/quickstart.ndjson"));
    let record = record
        .expect("a record")
        .replace("quickstart", "quick\\u001b[31m\u{202e}\u{9b}");
    // Its clients, endpoints and expectations too.
    let record = record
        .replace("echo-", "echo\\u001b[2J\\u0007-")
        .replace("within", "with\u{202e}in");
    let file = folder.path().join("record.ndjson");
    fs::write(&file, &record).expect("written");
    for arguments in [
        &["report", text(&file)][..],
        &["report", "--report", "markdown=-", text(&file)],
        &["explain", text(&file)],
        &["explain", "--verbose", text(&file)],
    ] {
        let ended = run(arguments);
        does_not_steer(&ended);
        assert!(
            ended.stdout.contains("\\u{202e}") || ended.stdout.contains("u{202e}"),
            "{ended}"
        );
    }
    // What is no record is told with what it has instead of an event.
    fs::write(&file, "{\"t_ns\":1,\"event\":\"\u{1b}[31m\u{202e}\"}\n").expect("written");
    for command in ["report", "explain"] {
        let ended = run([command, text(&file)]);
        ended.assert(2, &["line 1: not an event"]);
        does_not_steer(&ended);
    }
}

#[test]
fn a_cached_kernel_that_can_t_be_used_is_named() {
    let cache = tempfile::tempdir().expect("a folder");
    let kernels = cache.path().join("halfopen/kernels");
    fs::create_dir_all(&kernels).expect("a folder");
    let about = "{\"version\":\"7.3.4\",\"hz\":250,\"source\":\"test\"}";
    fs::write(kernels.join("linux-7.3.4-hz250.json"), about).expect("written");
    let tried = |arguments: &[&str]| {
        let mut command = halfopen(["run", text(&two_seconds())]);
        command.args(arguments);
        command
            .env("XDG_CACHE_HOME", cache.path())
            .env_remove("HALFOPEN_KERNEL");
        outcome(&mut command)
    };
    let why = "linux-7.3.4-hz250 can't be run: No such file";
    tried(&[]).assert(
        0,
        &[
            "warning: ",
            why,
            "run on the real clock",
            "real clock, Linux",
        ],
    );
    tried(&["--clock", "virtual"]).assert(3, &["error: ", why]);
    fs::write(kernels.join("linux-7.3.4-hz250.json"), "{").expect("written");
    tried(&["--clock", "virtual"]).assert(3, &["linux-7.3.4-hz250.json is not what"]);
    fs::remove_file(kernels.join("linux-7.3.4-hz250.json")).expect("removed");
    tried(&["--clock", "virtual"]).assert(3, &["no kernel for the virtual clock is built"]);
}

#[test]
fn a_record_that_can_t_be_written_is_an_error_and_what_there_is_of_it_is_kept() {
    if !user_namespaces_or_skip() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (small, kept) = (folder.path().join("small"), folder.path().join("kept"));
    fs::create_dir(&small).expect("a folder");
    let disk = format!("mount -t tmpfs -o size=12k tmpfs {}", text(&small));
    // The file system is gone with its namespace.
    let script = format!(
        "{disk}\n\"$0\" \"$@\" || code=$?\ncp -r {} {}\nexit $code",
        text(&small),
        text(&kept)
    );
    let mut command = needs::program("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
    command.arg(program()).args([
        "run",
        "--clock",
        "real",
        "--record",
        text(&small),
        text(&two_seconds()),
    ]);
    let ended = outcome(&mut command);
    ended.assert(
        3,
        &[
            "1 case: 1 passed",
            "error: the record file",
            "is incomplete: No space left",
        ],
    );
    let record = kept.join("two-seconds--default.ndjson");
    run(["report", text(&record)]).assert(3, &["the record is cut off"]);
}

#[test]
fn an_interrupted_run_says_how_many_cases_were_not_begun() {
    let (_one, one) = changed(&two_seconds(), &[]);
    let two = two_seconds();
    let mut command = halfopen(["run", "--clock", "real", "--jobs", "1"]);
    command
        .args([text(&one), text(&two), text(&two)])
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let _turn = machine::beside_others();
    let running = command.spawn().expect("it runs");
    sleep(Duration::from_millis(1200));
    let pid = nix::unistd::Pid::from_raw(running.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    let output = running.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains("interrupted: 2 of 3 cases were not begun"),
        "{said}"
    );
}

#[test]
fn a_program_that_ended_before_the_fault_has_passed_nothing() {
    const EXPECTED: &str =
        "expect:\n  poller: { recovered: { within: 1400ms }, cause: request_timeout }\n";
    let ran = |script: &str, more: &[(&str, &str)]| {
        let client = format!(
            "  program: {{ node: node1, url: http://echo/, workload: {{ exec: {{ command: [sh, -c, \"{script}\"] }} }} }}\nfaults:"
        );
        let mut changes = vec![("faults:", client.as_str())];
        changes.extend(more);
        let (_folder, file) = changed(&two_seconds(), &changes);
        Run::of(&[&file], &["--report", "markdown=-"])
    };
    let script = "echo no licence file >&2; exit 42";
    let says = [
        "program: its program exited with 42, ",
        "before the fault: nothing was tested of it",
        "no licence file",
    ];
    // Nothing else is expected either.
    let ended = ran(script, &[(EXPECTED, "")]);
    ended.outcome.assert(3, &says);
    assert_eq!(ended.verdicts(), ["error"]);
    // What is expected of another was tested.
    let ended = ran(script, &[]);
    ended.outcome.assert(0, &says);
    ended.outcome.assert(0, &["not tested"]);
    let told = &client(&ended.cases()[0], "program")["program"];
    assert_eq!(told["exit_code"], 42);
    assert_eq!(told["signal"], Value::Null);
    assert_eq!(told["last_output"], serde_json::json!(["no licence file"]));
    let killed = ran("kill -SEGV $$", &[(EXPECTED, "")]);
    killed
        .outcome
        .assert(3, &["ended by signal 11 (SIGSEGV)", "it wrote nothing"]);
    // One that goes on until its case ends has ended by nobody's fault.
    let runs = ran("echo up; exec sleep 60", &[]);
    runs.outcome.assert(0, &["1 passed"]);
    assert!(
        !runs.outcome.stderr.contains("its program"),
        "{}",
        runs.outcome
    );
    let told = &client(&runs.cases()[0], "program")["program"];
    assert_eq!(told["ended_at_s"], Value::Null);
    assert_eq!(told["last_output"], serde_json::json!(["up"]));
}
