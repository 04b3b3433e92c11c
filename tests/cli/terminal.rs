//! What a terminal shows: nothing is wider than it, and it is spared what it can't do.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use unicode_width::UnicodeWidthStr as _;

use crate::command::{halfopen, repository, run, two_seconds, user_namespaces_or_skip};
use crate::command_line::text;
use crate::machine;

/// What a command writes to a terminal of so many columns, as it came.
fn on_terminal(command: &mut Command, columns: u16) -> (Option<i32>, String) {
    let _turn = machine::beside_others();
    let size = Winsize {
        ws_row: 50,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).expect("a terminal");
    let end = |of: &OwnedFd| Stdio::from(of.try_clone().expect("a descriptor"));
    command.stdin(Stdio::null());
    command.stdout(end(&pty.slave)).stderr(end(&pty.slave));
    let mut child = command.spawn().expect("it runs");
    // The command holds them as well.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(pty.slave);
    let mut all = Vec::new();
    // A terminal that nobody writes to any more is an error, not an end.
    let _ = File::from(pty.master).read_to_end(&mut all);
    let code = child.wait().expect("it ends").code();
    (code, String::from_utf8_lossy(&all).into_owned())
}

fn terminal(arguments: &[&str], columns: u16) -> (Option<i32>, String) {
    let mut command = halfopen(arguments);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    on_terminal(&mut command, columns)
}

/// Its lines without colours and movements; each state of a line that changes is one.
fn lines(shown: &str) -> Vec<String> {
    let text = console::strip_ansi_codes(shown);
    text.split(['\r', '\n']).map(str::to_owned).collect()
}

#[track_caller]
fn assert_fits(shown: &str, columns: u16, what: &str) {
    for line in lines(shown) {
        assert!(
            line.width() <= columns.into(),
            "{what} at {columns}: {} columns: {line}",
            line.width()
        );
    }
}

/// Only to look whether something has too many columns.
fn folder_of_records() -> String {
    text(&repository("fixtures/records/incidents")).to_owned()
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    let record = text(&repository(
        "fixtures/records/incidents/a8-http2-ping--default.ndjson",
    ))
    .to_owned();
    let records = folder_of_records();
    let scenarios = text(&repository("scenarios")).to_owned();
    let commands: [&[&str]; 10] = [
        &["list", &scenarios],
        &["check", &scenarios],
        &["profiles"],
        &["profiles", "client-go"],
        &["doctor"],
        &["explain", &record],
        &["explain", "-v", &record],
        &["report", &records],
        &["compare", &records, &record],
        &["--help"],
    ];
    for columns in [80, 60] {
        for command in commands {
            let (code, shown) = terminal(command, columns);
            assert!(
                matches!(code, Some(0 | 1 | 3)),
                "{command:?}: {code:?} {shown}"
            );
            assert!(shown.lines().count() > 1, "{command:?}: {shown}");
            assert_fits(&shown, columns, &command.join(" "));
        }
    }
}

#[test]
fn tables_keep_to_80_columns_where_nobody_looks() {
    let reported = run(["report", &folder_of_records()]).stdout;
    let rulings: Vec<&str> = reported
        .lines()
        .filter(|line| line.contains("────"))
        .collect();
    // Excerpts of scenarios have some as well.
    let rulings = rulings.iter().filter(|line| !line.contains(['╰', '╭']));
    assert!(rulings.clone().count() > 3, "{reported}");
    for line in rulings {
        assert!(line.width() <= 80, "{line}");
    }
    let listed = run(["list", text(&repository("scenarios"))]).stdout;
    // A sentence is a line, for programs that look for it.
    let rows = listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.contains(": "));
    assert!(rows.clone().count() > 100, "{listed}");
    for line in rows {
        assert!(line.width() <= 80, "{line}");
    }
}

#[test]
fn a_run_shows_phases_and_times_and_takes_them_away() {
    if !user_namespaces_or_skip() {
        return;
    }
    let two = two_seconds();
    // What a busy machine makes of the case is told elsewhere.
    let (_, shown) = terminal(&["run", "--clock", "real", text(&two)], 80);
    // Lines that change fill the terminal's with spaces.
    for line in lines(&shown) {
        for part in line.split("    ") {
            assert!(part.width() <= 80, "{part}");
        }
    }
    for part in [
        "two-seconds/default: ",
        "outage · ",
        " of 2 s · ",
        "0 of 1 cases · ",
        " left",
    ] {
        assert!(shown.contains(part), "`{part}` is missing: {shown:?}");
    }
    let last = shown.rfind(" left").unwrap_or_default();
    assert!(shown[last..].contains("two-seconds / default"), "{shown:?}");
}

#[test]
fn quiet_no_color_and_dumb_terminals_are_respected() {
    let two = two_seconds();
    let (_, quiet) = terminal(&["run", "--quiet", text(&two)], 80);
    assert_eq!(
        lines(&quiet).iter().filter(|line| !line.is_empty()).count(),
        1,
        "{quiet:?}"
    );
    let with = |name: &str, value: &str| {
        let mut command = halfopen(["run", text(&two)]);
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env(name, value);
        on_terminal(&mut command, 80).1
    };
    let coloured = with("NO_COLOR", "");
    assert!(coloured.contains("[1;32mpass"), "{coloured:?}");
    let plain = with("NO_COLOR", "1");
    assert!(
        !plain.contains("[1;32m") && plain.contains("pass: two-seconds / default"),
        "{plain:?}"
    );
    let dumb = with("TERM", "dumb");
    assert!(!dumb.contains('\u{1b}'), "{dumb:?}");
    assert!(
        dumb.contains("1 of 1: pass two-seconds/default"),
        "{dumb:?}"
    );
}

#[test]
fn elsewhere_a_case_that_is_over_is_a_line() {
    let two = two_seconds();
    let ended = run(["run", text(&two), text(&two)]);
    ended.assert(0, &[]);
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(told.len(), 2, "{ended}");
    assert!(
        told[0].starts_with("1 of 2: pass two-seconds/default, about "),
        "{ended}"
    );
    assert_eq!(told[1], "2 of 2: pass two-seconds/default");
    assert_eq!(run(["run", "--quiet", text(&two)]).stderr, "");
}
