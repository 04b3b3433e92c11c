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
