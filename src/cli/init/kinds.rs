//! What each kind of `halfopen init` writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Written;
use crate::cli::args::InitKind;

const SCENARIO: &str = include_str!("scenario.yaml");
/// The scenario of all helpers for test suites.
const SUITE: &str = include_str!("suite.yaml");
const GO: &str = include_str!("halfopen_test.go");
const PYTEST: &str = include_str!("halfopen_pytest.py");
const RUST: &str = include_str!("halfopen_mod.rs");
const NODE: &str = include_str!("halfopen.mjs");
const GITHUB: &str = include_str!("../../../ci/examples/github.yml");
const GITLAB: &str = include_str!("../../../ci/examples/gitlab.yml");
const KUBERNETES: &str = include_str!("../../../ci/examples/kubernetes.yaml");

/// The files of a kind, and what is to be done next.
///
/// # Errors
/// A sentence, if they have no place where they were asked for.
pub(super) fn written(kind: &InitKind) -> Result<Written, String> {
    match kind {
        InitKind::Scenario { path } => Ok(Written {
            files: vec![(path.clone(), SCENARIO.to_owned())],
            next: format!("run it with `halfopen run {}`", path.display()),
        }),
        InitKind::Go { folder, package } => go(folder, package.as_deref()),
        InitKind::Pytest { folder } => Ok(pytest(folder)),
        InitKind::Rust { folder } => rust(folder),
        InitKind::Node { folder } => Ok(one(
            folder.join("halfopen.mjs"),
            NODE,
            "in a test: `import { halfopen } from './halfopen.mjs'`, as its first lines show; `node --test` runs it",
        )),
        InitKind::Github { folder } => Ok(ci(
            "github",
            folder,
            ".github/workflows/halfopen.yml",
            GITHUB,
        )),
        InitKind::Gitlab { folder } => Ok(ci("gitlab", folder, ".gitlab-ci.yml", GITLAB)),
        InitKind::Kubernetes { folder } => {
            Ok(ci("kubernetes", folder, "halfopen-job.yaml", KUBERNETES))
        }
    }
}

fn one(path: PathBuf, text: &str, next: &str) -> Written {
    Written {
        files: vec![(path, of_this_version(text))],
        next: next.to_owned(),
    }
}

fn ci(kind: &str, folder: &Path, name: &str, example: &str) -> Written {
    let text = format!("# Written by `halfopen init {kind}`, for halfopen __VERSION__.\n{example}");
    one(
        folder.join(name),
        &text,
        "its first lines say what it needs, and where your scenarios are",
    )
}

/// A template with the version and the scenario of suites in it.
fn of_this_version(template: &str) -> String {
    let text = template.replace("__VERSION__", env!("CARGO_PKG_VERSION"));
    text.replace("__SCENARIO__", SUITE)
}

fn go(folder: &Path, package: Option<&str>) -> Result<Written, String> {
    let package = match package {
        Some(package) => package.to_owned(),
        None => package_of(folder)?,
    };
    let text = GO.replace("__PACKAGE__", &package);
    let next = "a test begins as its first lines show; `go test` runs it";
    Ok(one(folder.join("halfopen_test.go"), &text, next))
}

/// The package of a folder's Go files: of its tests, if it has any, as most of them have it.
fn package_of(folder: &Path) -> Result<String, String> {
    let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("failed to read the folder {}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut counted: BTreeMap<(bool, String), usize> = BTreeMap::new();
    for file in files {
        let Some(name) = name(&file).filter(|name| name.ends_with(".go")) else {
            continue;
        };
        let text = fs::read_to_string(&file).unwrap_or_default();
        let clause = text.lines().find_map(|line| line.strip_prefix("package "));
        let package = clause.and_then(|rest| rest.split_whitespace().next());
        // Not of the package are those that no build takes.
        let taken = !text.lines().any(|line| line.trim() == "//go:build ignore");
        if let Some(package) = package.filter(|_| taken) {
            let own = (name.ends_with("_test.go"), package.to_owned());
            *counted.entry(own).or_default() += 1;
        }
    }
    let most = counted
        .into_iter()
        .max_by_key(|((test, _), count)| (*test, *count));
    most.map(|((_, package), _)| package).ok_or_else(|| {
        format!(
            "there is no Go file in {} that says which package it is: name one with --package, or the folder of one",
            folder.display()
        )
    })
}

fn pytest(folder: &Path) -> Written {
    let line = match folder.join("__init__.py").exists() {
        true => "from .halfopen_pytest import halfopen_run",
        false => "from halfopen_pytest import halfopen_run",
    };
    let mut written = one(folder.join("halfopen_pytest.py"), PYTEST, "");
    let conftest = folder.join("conftest.py");
    match conftest.exists() {
        true => {
            let conftest = conftest.display();
            written.next =
                format!("now write `{line}` into {conftest}, and a test as its first lines show");
        }
        false => {
            written
                .files
                .push((conftest, format!("{line}  # noqa: F401 (a fixture)\n")));
            "a test begins as the first lines of halfopen_pytest.py show; `pytest` runs it"
                .clone_into(&mut written.next);
        }
    }
    written
}

fn rust(folder: &Path) -> Result<Written, String> {
    if !folder.join("Cargo.toml").exists() {
        let folder = folder.display();
        return Err(format!(
            "there is no Cargo.toml in {folder}: name the folder of a package"
        ));
    }
    let next =
        "in a test below tests/: `mod halfopen;`, as its first lines show; `cargo test` runs it";
    Ok(one(folder.join("tests/halfopen/mod.rs"), RUST, next))
}
