//! The command line: what people read, and the exit codes that other programs rely on.

use std::fs;
use std::path::Path;

use crate::command::{Run, changed, halfopen, outcome, repository, run, two_seconds};

/// One that every case of two seconds meets, and one that none does.
pub(crate) const HOLDS: &str = "recovered: { within: 1400ms }";
pub(crate) const FAILS: &str = "recovered: { within: 10ms }";

/// What no network namespace has, before the servers of a scenario.
pub(crate) const NO_SUCH_SYSCTL: (&str, &str) = (
    "servers:",
    "sysctls: { net.ipv4.tcp_max_orphans: 1 }\nservers:",
);

/// What every kernel refuses.
pub(crate) const REFUSED_SYSCTL: (&str, &str) = (
    "servers:",
    "sysctls: { net.ipv4.tcp_retries2: 99999 }\nservers:",
);

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn help_of_every_command() {
    let commands = [
        "",
        "run",
        "check",
        "list",
        "report",
        "compare",
        "tune",
        "explain",
        "profiles",
        "doctor",
        "schema",
        "init",
        "completions",
    ];
    let mut all = String::new();
    for name in commands {
        let arguments = [name, "--help"];
        let help = run(arguments.iter().filter(|a| !a.is_empty()));
        help.assert(0, &[]);
        all += &format!("$ halfopen {name}\n{}\n", help.stdout);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn no_command_is_left_out_of_the_help() {
    let help = run(["--help"]).stdout;
    let listed = help
        .lines()
        .filter(|line| {
            line.starts_with("  ") && !line.starts_with("  -") && !line.starts_with("   ")
        })
        .count();
    // Those above without the first, and `help` itself.
    assert_eq!(listed, 13, "{help}");
}

#[test]
fn list_shows_cases_with_predictions() {
    let listed = run(["list", "scenarios/quickstart.yaml"]);
    listed.assert(0, &[]);
    insta::assert_snapshot!(listed.stdout);
}

#[test]
fn list_gives_the_plans_as_json() {
    let listed = run(["list", "--json", "scenarios/quickstart.yaml"]);
    let cases: Vec<halfopen::plan::Case> = serde_json::from_str(&listed.stdout).expect("plans");
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].lab.clients.len(), 4);
}

#[test]
fn check_names_a_mistake_and_shows_it() {
    let checked = run(["check", "fixtures/bad/unknown-server.yaml"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(checked.stderr);
}

#[test]
fn check_of_right_scenarios_says_so() {
    run(["check", "scenarios"]).assert(0, &[" cases, nothing wrong"]);
}

#[test]
fn check_warns_of_a_node_s_sysctl_that_its_pods_do_not_see() {
    let on_node = (
        "nodes: [node1, node2, node3]",
        "nodes: { node1: { sysctls: { net.ipv4.tcp_retries2: 5 } }, node2: , node3: }",
    );
    let (_folder, file) = changed(&two_seconds(), &[on_node]);
    run(["check", text(&file)]).assert(0, &["warning: ", "node1", ":3:"]);
}

#[test]
fn exit_2_says_what_is_wrong_with_the_command_line() {
    let empty = tempfile::tempdir().expect("a folder");
    let (empty, two) = (text(empty.path()).to_owned(), two_seconds());
    let two = text(&two);
    let to_folder = format!("json={empty}");
    let formats: Vec<&str> = halfopen::report::names().collect();
    let unknown_format = format!("no report format `xml`; there are {}", formats.join(", "));
    let cases: [(&[&str], &str); 19] = [
        (&[], "Usage: halfopen <COMMAND>"),
        (&["walk"], "unrecognized subcommand 'walk'"),
        (&["run"], "<PATHS>..."),
        (&["run", "--fast", two], "unexpected argument '--fast'"),
        (
            &["run", "--clock", "sun", two],
            "[possible values: real, virtual, both]",
        ),
        (&["run", "--jobs", "0", two], "'--jobs <N>'"),
        (&["run", "--shard", "0/3", two], "numbered from 1 to 3"),
        (&["run", "--shard", "4/3", two], "the last is 3/3"),
        (
            &["list", "--shard", "a/b", two],
            "write which shard of how many",
        ),
        (
            &["run", "--shard", "1/0", two],
            "there is at least one shard",
        ),
        (&["run", "--report", "xml=x", two], unknown_format.as_str()),
        (&["run", "--report", "json", two], "is not FORMAT=FILE"),
        (
            &["run", "--report", "json=/nowhere/x.json", two],
            "failed to write the report /nowhere/x.json: No such file",
        ),
        // A folder where the report should be.
        (&["run", "--report", &to_folder, two], "Is a directory"),
        (
            &["run", "--report", "json=-", "--report", "junit=-", two],
            "only one report can go to standard output",
        ),
        (
            &["run", "--clock", "real", "--kernel", "/bin/true", two],
            "--kernel names a kernel for the virtual clock",
        ),
        (&["run", "/nowhere.yaml"], "failed to read /nowhere.yaml"),
        (&["run", &empty], "there is no *.yaml file below"),
        (&["report", &empty], "there is no *.ndjson file below"),
    ];
    for (arguments, says) in cases {
        let ended = run(arguments);
        ended.assert(2, &[]);
        assert!(ended.stderr.contains(says), "{arguments:?}: {ended}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn exit_2_for_a_wrong_scenario_even_beside_right_ones_and_nothing_is_run() {
    let records = tempfile::tempdir().expect("a folder");
    let kept = records.path().join("records");
    let ended = run([
        "run",
        text(&two_seconds()),
        "fixtures/bad/unknown-server.yaml",
        "--record",
        text(&kept),
    ]);
    ended.assert(2, &["fixtures/bad/unknown-server.yaml:"]);
    assert!(!kept.exists(), "nothing was run");
}

#[test]
fn exit_0_when_every_expectation_holds() {
    let run = Run::of(&[&two_seconds()], &[]);
    run.outcome.assert(0, &["1 case: 1 passed, 0 failed"]);
    assert_eq!(run.verdicts(), ["pass"]);
}

#[test]
fn exit_1_for_a_failed_expectation_shows_its_line_and_the_actual_value() {
    let (_folder, file) = changed(&two_seconds(), &[(HOLDS, FAILS)]);
    let run = Run::of(&[&file], &[]);
    run.outcome.assert(
        1,
        &[
            "recovered: { within: 10ms }",
            "two-seconds.yaml:19:24",
            "actual 5",
        ],
    );
    let expectation = &run.cases()[0]["expectations"][0];
    assert_eq!(expectation["verdict"], "fail");
    assert_eq!(expectation["line"], 19);
}

#[test]
fn exit_1_outranks_a_case_that_could_not_be_run() {
    let (_failing, failing) = changed(&two_seconds(), &[(HOLDS, FAILS)]);
    let (_broken, broken) = changed(&two_seconds(), &[REFUSED_SYSCTL]);
    let run = Run::of(&[&broken, &failing], &[]);
    assert_eq!(run.verdicts(), ["error", "fail"]);
    assert_eq!(run.outcome.code, Some(1), "{}", run.outcome);
}

#[test]
fn exit_1_stays_when_a_report_can_t_be_written() {
    let (_folder, failing) = changed(&two_seconds(), &[(HOLDS, FAILS)]);
    let full = ["--report", "json=/dev/full"];
    run(["run", text(&failing)].iter().chain(&full)).assert(1, &["failed to write"]);
    run(["run", text(&two_seconds())].iter().chain(&full)).assert(3, &["failed to write"]);
}

/// As after `| true`: nobody reads what is written.
fn unread<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = halfopen(arguments);
    command.stdin(std::process::Stdio::null()).stdout(writer);
    command.status().expect("it runs").code()
}

#[test]
fn a_reader_that_has_had_enough_changes_no_exit_code() {
    let two = two_seconds();
    let two = text(&two);
    let (_folder, failing) = changed(&two_seconds(), &[(HOLDS, FAILS)]);
    let commands: [(&[&str], i32); 8] = [
        (&["list", two], 0),
        (&["list", "--json", "scenarios"], 0),
        (&["check", two], 0),
        (&["schema"], 0),
        (&["completions", "bash"], 0),
        (&["doctor"], 0),
        (&["run", "--report", "json=-", two], 0),
        (&["run", text(&failing)], 1),
    ];
    for (arguments, code) in commands {
        assert_eq!(unread(arguments), Some(code), "{arguments:?}");
    }
}

#[test]
fn standard_output_that_is_full_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let mut command = halfopen(["schema"]);
    command.stdout(full.expect("/dev/full"));
    assert_eq!(command.status().expect("it runs").code(), Some(3));
}

#[test]
fn records_are_not_mixed_with_those_of_another_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let older = folder.path().join("1-real/older.ndjson");
    fs::create_dir(folder.path().join("1-real")).expect("a folder");
    fs::write(&older, "a record").expect("written");
    let record = ["--record", text(folder.path())];
    let two = two_seconds();
    let ended = run(["run", text(&two)].iter().chain(&record));
    ended.assert(2, &["there are records already", "older.ndjson"]);
    assert_eq!(fs::read_to_string(&older).expect("it"), "a record");
}

#[test]
fn exit_3_when_the_filter_leaves_nothing() {
    let ended = run(["run", text(&two_seconds()), "--filter", "nothing like it"]);
    ended.assert(3, &["no case's name contains `nothing like it`"]);
}

#[test]
fn exit_3_when_a_case_could_not_be_run_and_its_line_is_named() {
    let (_folder, broken) = changed(&two_seconds(), &[REFUSED_SYSCTL]);
    let run = Run::of(&[&broken, &two_seconds()], &[]);
    run.outcome.assert(
        3,
        &[
            "writing net.ipv4.tcp_retries2 = 99999: Invalid argument",
            "two-seconds.yaml:4:12",
            "1 could not be run",
        ],
    );
    assert_eq!(run.verdicts(), ["error", "pass"]);
}

#[test]
fn a_skipped_case_names_what_is_missing_and_is_not_green_unless_it_may_be_skipped() {
    let (_folder, skipped) = changed(&two_seconds(), &[NO_SUCH_SYSCTL]);
    let both = [skipped.as_path(), &two_seconds()];
    let names = [
        "skipped: two-seconds / default",
        "the sysctl net.ipv4.tcp_max_orphans",
        "two-seconds.yaml:4:12",
    ];
    let run = Run::of(&both, &[]);
    run.outcome.assert(3, &names);
    assert_eq!(run.verdicts(), ["skipped", "pass"]);
    let allowed = Run::of(&both, &["--allow-skipped"]);
    allowed.outcome.assert(0, &names);
    // A run of nothing else did not hold.
    let alone = Run::of(&both[..1], &["--allow-skipped"]);
    alone.outcome.assert(3, &names);
}

#[test]
fn a_value_the_kernel_has_no_module_for_is_named_itself() {
    let sysctl = "sysctls: { net.ipv4.tcp_congestion_control: nosuch }\nservers:";
    let (_folder, file) = changed(&two_seconds(), &[("servers:", sysctl)]);
    let says = "`nosuch` for the sysctl net.ipv4.tcp_congestion_control";
    run(["run", text(&file)]).assert(3, &[says, "two-seconds.yaml:4:12"]);
}

#[test]
fn init_writes_a_scenario_that_runs_and_passes_and_never_overwrites() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.yaml");
    run(["init", text(&file)]).assert(0, &["halfopen run"]);
    let written = fs::read_to_string(&file).expect("the file");
    // The line by which editors find the schema, and how the schema gets there.
    assert!(written.starts_with("# yaml-language-server: $schema=./halfopen.schema.json\n"));
    assert!(written.contains("`halfopen schema > halfopen.schema.json`"));
    run(["run", text(&file)]).assert(0, &["1 passed, 0 failed"]);
    fs::write(&file, "somebody's work").expect("written");
    run(["init", text(&file)]).assert(2, &["File exists"]);
    assert_eq!(
        fs::read_to_string(&file).expect("the file"),
        "somebody's work"
    );
}

#[test]
fn init_without_a_name_writes_scenario_yaml_here() {
    let folder = tempfile::tempdir().expect("a folder");
    outcome(halfopen(["init"]).current_dir(folder.path())).assert(0, &["scenario.yaml"]);
    outcome(halfopen(["check", "."]).current_dir(folder.path())).assert(0, &["nothing wrong"]);
}

#[test]
fn schema_prints_the_published_one() {
    let published = fs::read_to_string(repository("docs/scenario.schema.json")).expect("it");
    let printed = run(["schema"]);
    printed.assert(0, &[]);
    assert!(printed.stdout == published, "they differ");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = run(["completions", shell]);
        printed.assert(0, &["halfopen"]);
        assert!(
            printed.stdout.contains("allow-skipped"),
            "{shell}: {}",
            printed.stdout
        );
        // What the program starts itself by is nobody's to complete.
        let hidden = ["__lab", "__guest", "__probe"];
        assert!(
            !hidden.iter().any(|name| printed.stdout.contains(name)),
            "{shell}: {}",
            printed.stdout
        );
    }
    run(["completions", "tcsh"]).assert(2, &["possible values"]);
}
