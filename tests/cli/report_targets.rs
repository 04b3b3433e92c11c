//! `--report FORMAT=FILE`: what there is, and where it may go.

use std::ffi::OsStr;
use std::fs;

use crate::command::{run, two_seconds};

#[test]
fn the_help_names_every_report_format() {
    for command in ["run", "report"] {
        let help = run([command, "--help"]).stdout;
        for format in halfopen::report::formats() {
            assert!(help.contains(format.name), "{}: {help}", format.name);
        }
    }
}

#[test]
fn completions_offer_every_report_format() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(["completions", shell]).stdout;
        for format in halfopen::report::formats() {
            assert!(script.contains(format.prefix), "{}: {script}", format.name);
        }
    }
}

#[test]
fn two_reports_to_one_file_are_refused_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.json");
    let other = folder.path().join("sub");
    fs::create_dir(&other).expect("a folder");
    let same = [file.clone(), other.join("../out.json")];
    let reports = [
        format!("--report=json={}", same[0].display()),
        format!("--report=junit={}", same[1].display()),
    ];
    let two = two_seconds();
    let refused = |first: &str, second: &str| {
        let mut arguments = vec![OsStr::new("run"), two.as_os_str()];
        arguments.extend([OsStr::new(first), OsStr::new(second)]);
        run(arguments).assert(2, &["are one file"]);
    };
    refused(&reports[0], &reports[1]);
    assert!(!file.exists(), "nothing was run");
    // One that is there is the same by another name as well.
    fs::write(&file, "an earlier report").expect("written");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    refused(&reports[0], &format!("--report=junit={}", link.display()));
    assert_eq!(
        fs::read_to_string(&file).expect("the file"),
        "an earlier report"
    );
}

/// A case's wall time is a CI's; who judges its record again has none.
#[test]
fn the_wall_time_of_a_run_is_in_its_reports_and_not_in_its_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let report = |format: &str, name: &str| format!("--report={format}={}", file(name).display());
    let record = format!("--record={}", file("record").display());
    let (two, records) = (two_seconds(), file("record"));
    let of_run = [
        record,
        report("junit", "run.xml"),
        report("ctrf", "run.json"),
        report("trace", "run.trace"),
    ];
    let of_run = of_run.iter().map(OsStr::new);
    run([OsStr::new("run"), two.as_os_str()]
        .into_iter()
        .chain(of_run))
    .assert(0, &[]);
    let again = [report("junit", "again.xml"), report("trace", "again.trace")];
    let again = again.iter().map(OsStr::new);
    run([OsStr::new("report"), records.as_os_str()]
        .into_iter()
        .chain(again))
    .assert(0, &[]);
    let read = |name: &str| fs::read_to_string(file(name)).expect("a report");
    assert!(
        read("run.xml").contains(r#"name="the case runs""#) && read("run.xml").contains(" time=\"")
    );
    assert!(!read("again.xml").contains(" time=\""));
    assert_eq!(
        read("run.trace"),
        read("again.trace"),
        "the trace is a function of the record"
    );
    let ctrf: serde_json::Value = serde_json::from_str(&read("run.json")).expect("JSON");
    let summary = &ctrf["results"]["summary"];
    let took = summary["stop"]
        .as_u64()
        .zip(summary["start"].as_u64())
        .map(|(stop, start)| stop - start);
    assert_eq!(took, summary["duration"].as_u64());
    assert!(took > Some(0), "{summary}");
}
