//! `halfopen doctor`: what this machine can and can't do, by name, and how to mend it.

use std::process::{Command, ExitCode, Stdio};

use super::stdout::say;
use super::{Exit, screen};
use crate::clock::confine;
use crate::clock::kernel::{self, Kernel};
use crate::clock::machine::{Check, State, probe_host, probe_in_namespace};
use crate::clock::{folder, real};
use crate::report::Sheet;

/// Name of the hidden subcommand that tries things out in namespaces of its own.
pub(super) const PROBE: &str = "__probe";

pub(super) fn doctor() -> Exit {
    let mut real_clock = probe_host();
    real_clock.extend(tried_inside());
    let virtual_clock = virtual_clock();
    let columns = screen::width_of_stdout();
    let width = columns.unwrap_or(screen::COLUMNS);
    let mut text = format!(
        "real clock, and what both clocks need of this machine\n{}\n\nvirtual clock\n{}",
        table(&real_clock, width),
        table(&virtual_clock, width)
    );
    let usable = |checks: &[Check]| {
        checks
            .iter()
            .all(|c| c.state != State::Missing || c.fix.is_none())
    };
    // Missing things are for a case to name when it needs them; the doctor itself has done its work.
    if !usable(&real_clock) && !usable(&virtual_clock) {
        text += "\n\nneither clock is complete here; the fixes above say what to do";
    }
    say(&screen::folded(&text, columns), Exit::Held)
}

/// Runs inside the probe process: prints its checks as JSON.
pub(super) fn probe() -> ExitCode {
    let inside = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return ExitCode::FAILURE;
        };
        // A packet queue is read by it.
        let _within = runtime.enter();
        let checks = probe_in_namespace();
        match serde_json::to_string(&checks) {
            Ok(text) => say(&text, Exit::Held).into(),
            Err(_) => ExitCode::FAILURE,
        }
    };
    match real::in_own_namespaces(inside) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", super::with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// What can only be told by trying, in namespaces that are thrown away.
fn tried_inside() -> Vec<Check> {
    let tried = Command::new("/proc/self/exe")
        .arg(PROBE)
        .stdin(Stdio::null())
        .output();
    let failed = |detail: String| {
        vec![Check {
            name: "namespaces of one's own".to_owned(),
            state: State::Missing,
            detail,
            fix: Some("see user namespaces above".to_owned()),
        }]
    };
    match tried {
        Ok(output) if output.status.success() => match serde_json::from_slice(&output.stdout) {
            Ok(checks) => checks,
            Err(error) => failed(error.to_string()),
        },
        Ok(output) => failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => failed(error.to_string()),
    }
}

fn virtual_clock() -> Vec<Check> {
    let check = |name: &str, tried: Result<String, String>, fix: &str| match tried {
        Ok(detail) => Check {
            name: name.to_owned(),
            state: State::Ok,
            detail,
            fix: None,
        },
        Err(detail) => Check {
            name: name.to_owned(),
            state: State::Missing,
            detail,
            fix: Some(fix.to_owned()),
        },
    };
    let describe = |kernels: Vec<Kernel>| {
        kernels
            .iter()
            .map(|k| {
                let whose = if k.is_of_the_release() {
                    ", of this release"
                } else {
                    ""
                };
                format!("{} at {}{whose}", k.name(), k.path.display())
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    let chosen = kernel::choose(&[]);
    let in_memfd = chosen
        .as_ref()
        .is_ok_and(|kernels| kernels.iter().all(Kernel::has_memory_in_memfd));
    let chosen = chosen.map(describe).map_err(|e| e.to_string());
    let others: Vec<String> = kernel::built().iter().map(Kernel::name).collect();
    let mut checks = vec![check(
        "a guest kernel",
        chosen,
        "./ci/kernel builds one in a few minutes, and a release has one beside its program",
    )];
    if others.len() > 1 {
        checks.push(check("all kernels", Ok(others.join(", ")), ""));
    }
    let room = folder::place(!in_memfd)
        .map(|place| place.display().to_string())
        .map_err(|e| e.to_string());
    checks.push(if in_memfd {
        let fix = "name a folder that can be written by TMPDIR";
        check(
            "a folder for a guest's files; its memory is a memfd",
            room,
            fix,
        )
    } else {
        let fix = "name one with exec and room by TMPDIR";
        check("a tmpfs for a guest's memory", room, fix)
    });
    let held = confine::available().map_err(|e| e.to_string());
    checks.push(check(
        "Landlock, to hold a guest in",
        held,
        "boot with `lsm=landlock,…` on Linux 5.13 or later",
    ));
    checks
}

/// Columns that lines stand further in.
const INDENT: usize = 2;

fn table(checks: &[Check], columns: usize) -> String {
    let mut sheet = Sheet::new(["", "", ""]).plain();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Missing => "missing",
            State::Unknown => "unknown",
        };
        sheet.row([state.to_owned(), check.name.clone(), check.detail.clone()]);
        if let (State::Missing | State::Unknown, Some(fix)) = (check.state, &check.fix) {
            sheet.row([String::new(), String::new(), format!("→ {fix}")]);
        }
    }
    let columns = columns.saturating_sub(INDENT);
    let lines = sheet.within(columns);
    let lines = lines.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
