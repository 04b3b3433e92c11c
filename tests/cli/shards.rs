//! A run divided among machines, and put together again: nobody can tell from the reports.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::{halfopen, kernel_or_skip, outcome, run, two_seconds};
use crate::command_line::{FAILS, HOLDS, NO_SUCH_SYSCTL, REFUSED_SYSCTL, text};

const FORMATS: [&str; 4] = ["json", "junit", "table", "markdown"];

/// Cases of every kind: ten of a matrix, one that is repeated, and one each that fails, is skipped, can't be run.
fn scenarios() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let two = fs::read_to_string(two_seconds()).expect("a scenario");
    let named = |name: &str, changes: &[(&str, &str)], more: &str| {
        let mut text = two.replace("name: two-seconds", &format!("name: {name}"));
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "`{from}`");
            text = text.replace(from, to);
        }
        let file = folder.path().join(format!("{name}.yaml"));
        fs::write(file, text + more).expect("written");
    };
    let matrix = "matrix:\n  clients.poller.workload.poll.every: [50ms, 60ms, 70ms, 80ms, 90ms]\n";
    named("a-matrix", &[(HOLDS, "recovered: { within: 1s }")], matrix);
    named("b-repeated", &[], "repeat: 3\n");
    named("c-fails", &[(HOLDS, FAILS)], "");
    named("d-skipped", &[NO_SUCH_SYSCTL], "");
    named("e-broken", &[REFUSED_SYSCTL], "");
    // Of one name: their records' names need a number.
    named("f-one", &[], "");
    let again = fs::read_to_string(folder.path().join("f-one.yaml")).expect("a scenario");
    fs::write(folder.path().join("f-two.yaml"), again).expect("written");
    let path = folder.path().to_owned();
    (folder, path)
}

/// Whole cases in [`scenarios`].
const CASES: usize = 5 + 1 + 3 + 2;

/// What a command writes in every format.
fn reports<S: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = S>,
) -> (Option<i32>, String, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |format: &str| folder.path().join(format);
    let mut command = halfopen(arguments);
    for format in FORMATS {
        let target = format!("{format}={}", file(format).display());
        command.arg("--report").arg(target);
    }
    let ended = outcome(&mut command);
    let read = |format| {
        let text = fs::read_to_string(file(format)).unwrap_or_else(|e| panic!("{e}: {ended}"));
        match format {
            "junit" => without_wall_time(&text),
            _ => text,
        }
    };
    (ended.code, ended.stderr.clone(), FORMATS.map(read).into())
}

/// A JUnit report without the times that its cases took by the wall's clock: no two runs agree on them, and records don't have them.
pub(crate) fn without_wall_time(text: &str) -> String {
    let times = regex::Regex::new(r#" time="[0-9.]+"| timestamp="[^"]+""#).expect("a pattern");
    times.replace_all(text, "").into_owned()
}

/// Runs each shard into a folder of its own below `into`.
fn run_shards(scenarios: &Path, of: usize, into: &Path) -> Vec<PathBuf> {
    let one = |number: usize| {
        let records = into.join(format!("shard-{number}"));
        let shard = format!("{number}/{of}");
        let ended = run([
            "run",
            "--clock",
            "virtual",
            text(scenarios),
            "--shard",
            &shard,
            "--record",
            text(&records),
        ]);
        assert_ne!(ended.code, Some(2), "{ended}");
        records
    };
    (1..=of).map(one).collect()
}

fn reported(folders: &[&PathBuf], more: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let folders = folders.iter().map(|folder| text(folder));
    let all: Vec<&str> = ["report"]
        .into_iter()
        .chain(folders)
        .chain(more.iter().copied())
        .collect();
    reports(all)
}

#[test]
fn shards_are_all_of_the_run_and_each_case_once() {
    let (_folder, scenarios) = scenarios();
    let names = |shard: &str| {
        let listed = run(["list", "--json", text(&scenarios), "--shard", shard]);
        listed.assert(0, &[]);
        let cases: Vec<halfopen::plan::Case> = serde_json::from_str(&listed.stdout).expect("plans");
        let name = |case: &halfopen::plan::Case| format!("{}/{}", case.scenario, case.name);
        cases.iter().map(name).collect::<Vec<_>>()
    };
    let mut all = names("1/1");
    let mut parts: Vec<String> = ["1/3", "2/3", "3/3"]
        .iter()
        .flat_map(|i| names(i))
        .collect();
    all.sort();
    parts.sort();
    assert_eq!(all, parts);
    let last = run(["list", text(&scenarios), "--shard", "2/3"]).stdout;
    let told = last.lines().last().unwrap_or_default();
    assert!(
        told.starts_with("shard 2/3: ") && told.ends_with(&format!(" of {CASES} cases")),
        "{told}"
    );
}

#[test]
fn merged_shards_give_the_reports_of_one_run_to_the_byte() {
    if kernel_or_skip().is_none() {
        return;
    }
    let ((_scenarios, scenarios), folder) = (scenarios(), tempfile::tempdir().expect("a folder"));
    let whole = folder.path().join("whole");
    let at_once = reports([
        "run",
        "--clock",
        "virtual",
        text(&scenarios),
        "--record",
        text(&whole),
    ]);
    assert_eq!(at_once.0, Some(1));
    let shards = run_shards(&scenarios, 3, folder.path());
    for order in [[0, 1, 2], [2, 0, 1]] {
        let merged = reported(&order.map(|at| &shards[at]), &[]);
        assert_eq!(
            (merged.0, &merged.2),
            (at_once.0, &at_once.2),
            "{}",
            merged.1
        );
    }
    // As one folder that is searched, and copied into one, as some CIs do with what is kept of their jobs.
    assert_eq!(reported(&[&whole], &[]).2, at_once.2);
    let together = folder.path().join("together");
    fs::create_dir(&together).expect("a folder");
    for file in shards
        .iter()
        .flat_map(|shard| fs::read_dir(shard).expect("records").flatten())
    {
        let to = together.join(file.file_name());
        assert!(!to.exists(), "{} is taken", to.display());
        fs::copy(file.path(), to).expect("copied");
    }
    assert_eq!(reported(&[&together], &[]).2, at_once.2);
    // A record knows nothing of shards.
    for file in fs::read_dir(&whole).expect("records").flatten() {
        if file.path().extension().is_some_and(|e| e == "ndjson") {
            let other = together.join(file.file_name());
            let bytes = |path: &Path| fs::read(path).expect("a record");
            assert!(bytes(&file.path()) == bytes(&other), "{}", other.display());
        }
    }
}

#[test]
fn what_is_missing_or_there_twice_is_told() {
    if kernel_or_skip().is_none() {
        return;
    }
    let ((folder, scenarios), records) = (scenarios(), tempfile::tempdir().expect("a folder"));
    for other in ["c-fails", "d-skipped", "e-broken"] {
        fs::remove_file(folder.path().join(format!("{other}.yaml"))).expect("removed");
    }
    let shards = run_shards(&scenarios, 3, records.path());
    let [one, two, three] = &shards[..] else {
        panic!("three shards");
    };
    let whole = reported(&[one, two, three], &[]);
    assert_eq!(whole.0, Some(0), "{}", whole.1);

    let (code, told, written) = reported(&[one, three], &[]);
    assert_eq!(code, Some(3));
    assert!(told.contains("error: shard 2/3 is missing: its "), "{told}");
    let json = &written[0];
    assert!(
        json.contains("shard 2/3, which was to run it, is missing"),
        "{json}"
    );
    let (code, told, written) = reported(&[one, three], &["--allow-missing"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("warning: shard 2/3 is missing"), "{told}");
    assert!(!&written[0].contains("which was to run it"));

    // Twice the same is as good as once; two that differ are not.
    let twice = reported(&[one, two, three, two], &[]);
    assert_eq!((twice.0, &twice.2), (Some(0), &whole.2));
    assert!(
        twice.1.contains("there twice, alike, and counted once"),
        "{}",
        twice.1
    );
    let copy = records.path().join("copy");
    copied(two, &copy);
    let record = of_kind(&copy, "ndjson").remove(0);
    let changed =
        fs::read_to_string(&record)
            .expect("a record")
            .replacen("\"t_ns\":0", "\"t_ns\":1", 1);
    fs::write(&record, changed).expect("written");
    let mut command = halfopen(["report", text(one), text(two), text(three), text(&copy)]);
    outcome(&mut command).assert(
        2,
        &[
            "has two different records",
            "leave one of the two folders out",
        ],
    );

    // A machine that was switched off: its last records are empty, or not there.
    fs::remove_dir_all(&copy).expect("removed");
    copied(two, &copy);
    let ended = of_kind(&copy, "ndjson");
    fs::write(&ended[0], "").expect("written");
    fs::remove_file(&ended[1]).expect("removed");
    let (code, told, _) = reported(&[one, &copy, three], &[]);
    assert_eq!(code, Some(3));
    assert!(
        told.contains("2 records are missing of shard 2/3"),
        "{told}"
    );
}

#[test]
fn shards_of_different_runs_are_no_run() {
    let (folder, records) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("one"),
    );
    for name in ["one", "two"] {
        fs::copy(two_seconds(), folder.path().join(format!("{name}.yaml"))).expect("copied");
    }
    let kept = |shard: &str, seed: &str| {
        let into = records.path().join(seed);
        let ended = run([
            "run",
            text(folder.path()),
            "--shard",
            shard,
            "--seed",
            seed,
            "--record",
            text(&into),
        ]);
        assert_ne!(ended.code, Some(2), "{ended}");
        into
    };
    let (one, two) = (kept("1/2", "1"), kept("2/2", "2"));
    let (code, told, _) = reported(&[&one, &two], &[]);
    assert_eq!(code, Some(3));
    for says in [
        "these are shards of different runs: they differ in --seed (1, and 2)",
        "shard 2/2 is missing: its 1 case is in none of these folders",
        "shard 1/2 is missing",
    ] {
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn a_shard_without_a_case_is_no_failure_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (records, report) = (
        folder.path().join("records"),
        folder.path().join("report.xml"),
    );
    let target = format!("junit={}", report.display());
    let two = two_seconds();
    let arguments = [
        "run",
        text(&two),
        "--shard",
        "3/4",
        "--record",
        text(&records),
        "--report",
        &target,
    ];
    run(arguments).assert(0, &["no case in this shard: 4 shards for 1 case"]);
    assert!(
        fs::read_to_string(report)
            .expect("a report")
            .contains("tests=\"0\"")
    );
    run(["list", text(&two), "--shard", "3/4"])
        .assert(0, &["no case in this shard: 4 shards for 1 case"]);
    // A filter that leaves nothing stays a mistake.
    run(["run", text(&two), "--shard", "3/4", "--filter", "nobody"])
        .assert(3, &["no case's name contains `nobody`"]);
    // Alone it is a run of which all is missing.
    run(["report", text(&records)]).assert(
        3,
        &["shard 1/4 is missing: its 1 case is in none of these folders"],
    );
}

#[test]
fn a_file_that_says_nothing_of_a_run_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("halfopen-run-1-of-2.json");
    for (content, says) in [
        ("{}", "not what `halfopen run --record` writes there"),
        (
            "{\"run_version\": 99}",
            "run_version 99; this program reads up to 1",
        ),
    ] {
        fs::write(&file, content).expect("written");
        let ended = run(["report", text(folder.path())]);
        ended.assert(2, &["halfopen-run-1-of-2.json", says]);
    }
}

fn of_kind(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|file| file.path());
    let mut all: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    all.sort();
    all
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for file in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}
