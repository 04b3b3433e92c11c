//! `halfopen init`: each kind's files, where they go, and what is not overwritten.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::command::{halfopen, outcome, run};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn init(kind: &str, folder: &Path, more: &[&str]) -> crate::command::Outcome {
    let mut command = halfopen(["init", kind]);
    outcome(command.args(more).current_dir(folder))
}

/// Each kind, and the files that it writes in an empty repository of its language.
const KINDS: [(&str, &[&str]); 8] = [
    ("scenario", &["scenario.yaml"]),
    ("go", &["halfopen_test.go"]),
    ("pytest", &["halfopen_pytest.py", "conftest.py"]),
    ("rust", &["tests/halfopen/mod.rs"]),
    ("node", &["halfopen.mjs"]),
    ("github", &[".github/workflows/halfopen.yml"]),
    ("gitlab", &[".gitlab-ci.yml"]),
    ("kubernetes", &["halfopen-job.yaml"]),
];

#[test]
fn every_kind_writes_its_files_here_and_never_twice() {
    for (kind, files) in KINDS {
        let folder = folder(&[("main.go", "package main\n"), ("Cargo.toml", "")]);
        init(kind, folder.path(), &[]).assert(0, &["written; "]);
        for file in files {
            let text = fs::read_to_string(folder.path().join(file)).expect("written");
            assert!(
                !text.contains("__VERSION__") && !text.contains("__SCENARIO__"),
                "{file}"
            );
        }
        let first = fs::read_to_string(folder.path().join(files[0])).expect("written");
        let version = format!("halfopen {}", env!("CARGO_PKG_VERSION"));
        assert!(kind == "scenario" || first.contains(&version), "{first}");
        init(kind, folder.path(), &[]).assert(2, &[files[0], "File exists"]);
    }
}

#[test]
fn a_folder_may_be_given() {
    let there = folder(&[("Cargo.toml", "")]);
    let elsewhere = folder(&[]);
    for (kind, files) in KINDS
        .into_iter()
        .filter(|(kind, _)| *kind != "scenario" && *kind != "go")
    {
        let path = there.path().to_str().expect("UTF-8");
        init(kind, elsewhere.path(), &[path]).assert(0, &[files[0]]);
        assert!(there.path().join(files[0]).exists(), "{kind}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a folder").count(), 0);
}

#[test]
fn help_names_every_kind() {
    let help = run(["init", "--help"]).stdout;
    for (kind, _) in KINDS {
        assert!(help.contains(&format!("  {kind} ")), "{kind}: {help}");
    }
}

#[test]
fn a_go_helper_has_the_package_of_the_folder_s_tests() {
    /// Files with their texts, more arguments, and the package.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let cases: [Case<'_>; 5] = [
        (
            &[("a.go", "// Package b is b.\npackage b // b\n")],
            &[],
            "b",
        ),
        (
            &[("a.go", "package a\n"), ("a_test.go", "package a_test\n")],
            &[],
            "a_test",
        ),
        (
            &[
                ("a.go", "package a\n"),
                ("gen.go", "//go:build ignore\n\npackage main\n"),
                ("b.go", "package a\n"),
            ],
            &[],
            "a",
        ),
        (&[("a.go", "package a\n")], &["--package", "other"], "other"),
        (&[], &["--package", "alone"], "alone"),
    ];
    for (files, more, package) in cases {
        let folder = folder(files);
        init("go", folder.path(), more).assert(0, &["halfopen_test.go is written"]);
        let text = fs::read_to_string(folder.path().join("halfopen_test.go")).expect("written");
        assert!(
            text.contains(&format!("\npackage {package}\n")),
            "{package}: {text}"
        );
    }
}

#[test]
fn what_has_no_place_is_said() {
    let empty = folder(&[]);
    let cases: [(&str, &[&str], &str); 4] = [
        (
            "go",
            &[],
            "there is no Go file in . that says which package it is: name one with --package",
        ),
        ("go", &["nowhere"], "failed to read the folder nowhere"),
        ("rust", &[], "there is no Cargo.toml in ."),
        ("pytset", &[], "there is no kind `pytset`"),
    ];
    for (kind, more, says) in cases {
        init(kind, empty.path(), more).assert(2, &[says]);
    }
    assert_eq!(fs::read_dir(empty.path()).expect("a folder").count(), 0);
}

#[test]
fn pytest_s_own_conftest_stays_and_its_line_is_said() {
    let folder = folder(&[("conftest.py", "# mine\n"), ("__init__.py", "")]);
    let line = "from .halfopen_pytest import halfopen_run";
    init("pytest", folder.path(), &[]).assert(0, &[line, "conftest.py"]);
    let conftest = fs::read_to_string(folder.path().join("conftest.py")).expect("it");
    assert_eq!(conftest, "# mine\n");
}
