//! The examples for CIs in ci/examples: the very commands in them are run, as each CI would run them, and come to what one run
//! of everything comes to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;
use tempfile::TempDir;

use crate::command::{Outcome, kernel_or_skip, outcome, program, repository, run, two_seconds};
use crate::command_line::text;
use crate::shards::without_wall_time;

/// Shards in each of the examples.
const SHARDS: u32 = 4;

/// Fewer cases than that: a shard stays empty.
const CASES: usize = 3;

fn example(name: &str) -> Value {
    let file = repository("ci/examples").join(name);
    let read = fs::read_to_string(&file).expect("an example");
    serde_yaml::from_str(&read).expect("YAML")
}

/// A folder as a CI's job finds it: the scenarios are there.
fn checked_out() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("scenarios")).expect("a folder");
    let two = fs::read_to_string(two_seconds()).expect("a scenario");
    for number in 0..CASES {
        let named = two.replace("name: two-seconds", &format!("name: case-{number}"));
        let file = folder.path().join(format!("scenarios/{number}.yaml"));
        fs::write(file, named).expect("written");
    }
    folder
}

/// Runs a script as a CI does, with halfopen in `PATH`.
fn script(lines: &str, folder: &Path, environment: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new("bash");
    command
        .args(["-e", "-o", "pipefail", "-c", lines])
        .current_dir(folder);
    let own = program().parent().expect("a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [own].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all).expect("a path"));
    command.envs(environment.iter().copied());
    outcome(&mut command)
}

/// The JUnit report of one run of everything, with the files' names as a CI's job gives them.
fn at_once(folder: &Path) -> String {
    let mut command = Command::new(program());
    command.args([
        "run",
        "scenarios",
        "--clock",
        "virtual",
        "--report",
        "junit=once.xml",
    ]);
    outcome(command.current_dir(folder)).assert(0, &["3 cases: 3 passed"]);
    junit(&folder.join("once.xml"))
}

/// A JUnit report, as far as every run has the same.
fn junit(file: &Path) -> String {
    without_wall_time(&fs::read_to_string(file).expect("a report"))
}

/// The step of a GitHub job that has this name.
fn step(workflow: &Value, job: &str, name: &str) -> String {
    let steps = workflow["jobs"][job]["steps"].as_sequence().expect("steps");
    let step = steps.iter().find(|step| step["name"] == name).expect(name);
    step["run"].as_str().expect("a script").to_owned()
}

/// Copies what a job keeps into one folder, as it is unpacked where it is needed.
fn keep(folder: &Path, into: &Path) {
    fs::create_dir_all(into).expect("a folder");
    for file in fs::read_dir(folder).expect("what was kept").flatten() {
        let to = into.join(file.file_name());
        assert!(!to.exists(), "{} is there already", to.display());
        fs::copy(file.path(), to).expect("copied");
    }
}

#[test]
fn github_s_jobs_come_to_what_one_run_comes_to() {
    if kernel_or_skip().is_none() {
        return;
    }
    let workflow = example("github.yml");
    assert_eq!(workflow["env"]["SHARDS"], SHARDS);
    let numbers = &workflow["jobs"]["shard"]["strategy"]["matrix"]["shard"];
    let numbers: Vec<u32> = serde_yaml::from_value(numbers.clone()).expect("numbers");
    assert_eq!(numbers, (1..=SHARDS).collect::<Vec<_>>());
    let report = checked_out();
    for number in numbers {
        let job = checked_out();
        let environment = [
            ("SHARD", number.to_string()),
            ("SHARDS", SHARDS.to_string()),
        ];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        script(&step(&workflow, "shard", "Run"), job.path(), &environment).assert(0, &[]);
        keep(&job.path().join("records"), &report.path().join("records"));
    }
    let summary = report.path().join("step-summary");
    let environment = [("GITHUB_STEP_SUMMARY", text(&summary))];
    let lines = step(&workflow, "report", "Report");
    script(&lines, report.path(), &environment).assert(0, &["3 cases: 3 passed"]);
    let written = junit(&report.path().join("junit.xml"));
    assert_eq!(written, at_once(report.path()));
    assert!(
        fs::read_to_string(&summary)
            .expect("a summary")
            .starts_with("## halfopen\n")
    );

    // A job that was cancelled: the summary is there, and the job is red.
    for file in fs::read_dir(report.path().join("records"))
        .expect("records")
        .flatten()
    {
        if text(&file.path()).contains("case-1") || text(&file.path()).contains("-1-of-4") {
            fs::remove_file(file.path()).expect("removed");
        }
    }
    script(&lines, report.path(), &environment).assert(3, &["missing"]);
    assert_eq!(
        fs::read_to_string(&summary)
            .expect("a summary")
            .matches("## halfopen")
            .count(),
        2
    );
}

#[test]
fn gitlab_s_jobs_come_to_what_one_run_comes_to() {
    if kernel_or_skip().is_none() {
        return;
    }
    let pipeline = example("gitlab.yml");
    assert_eq!(pipeline["outages"]["parallel"], SHARDS);
    let lines = |job: &str| {
        let lines = pipeline[job]["script"].as_sequence().expect("a script");
        let lines = lines.iter().map(|line| line.as_str().expect("a line"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let report = checked_out();
    for number in 1..=SHARDS {
        let job = checked_out();
        let number = number.to_string();
        let environment = [("CI_NODE_INDEX", number.as_str()), ("CI_NODE_TOTAL", "4")];
        script(&lines("outages"), job.path(), &environment).assert(0, &[]);
        let kept = pipeline["outages"]["artifacts"]["paths"][0]
            .as_str()
            .expect("a path");
        keep(&job.path().join(kept), &report.path().join(kept));
    }
    script(&lines("report"), report.path(), &[]).assert(0, &["3 cases: 3 passed"]);
    let kept = &pipeline["report"]["artifacts"]["reports"]["junit"];
    let written = junit(&report.path().join(kept.as_str().expect("a path")));
    assert_eq!(written, at_once(report.path()));
}

#[test]
fn kubernetes_pods_come_to_what_one_run_comes_to() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let job = example("kubernetes.yaml");
    assert_eq!(job["spec"]["completions"], SHARDS);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][0]["value"], SHARDS.to_string());
    let folder = checked_out();
    let records = folder.path().join("records");
    // Where the pod's volumes and its image have them.
    let here: [(&str, PathBuf); 3] = [
        ("/records/", folder.path().join("records/")),
        ("run /scenarios", PathBuf::from("run scenarios")),
        ("/usr/lib/halfopen/linux", kernel.path.clone()),
    ];
    let mut lines = container["args"][0].as_str().expect("a script").to_owned();
    for (there, here) in &here {
        assert_eq!(lines.matches(there).count(), 1, "{there}");
        lines = lines.replace(there, text(here));
    }
    for index in 0..SHARDS {
        let index = index.to_string();
        let environment = [("JOB_COMPLETION_INDEX", index.as_str()), ("SHARDS", "4")];
        script(&lines, folder.path(), &environment).assert(0, &[]);
        // Taken away and started again.
        script(&lines, folder.path(), &environment).assert(0, &[]);
    }
    let report = folder.path().join("junit.xml");
    let target = format!("junit={}", report.display());
    run(["report", text(&records), "--report", &target]).assert(0, &["3 cases: 3 passed"]);
    assert_eq!(junit(&report), at_once(folder.path()));
}
