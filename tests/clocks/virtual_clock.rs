//! The virtual clock: the same figures on every run, the kernel's own arithmetic, and next to nothing asked of the
//! machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use halfopen::record::{Event, Observation};
use halfopen::timeout_model::{Rounding, Series, TcpSysctls};
use serde_json::Value;

use crate::command::{
    Run, client, kernel_or_skip, number, outcome, program, repository, two_seconds,
    user_namespaces_or_skip,
};
use crate::needs;

/// The guest kernel's timer frequency.
const HZ: u64 = 250;

/// The kernel's count of ticks when its clock is at 0 (`INITIAL_JIFFIES`: five minutes before it overflows).
const FIRST_JIFFY: u64 = (1 << 32) - 300 * HZ;

fn on_virtual(scenarios: &[&Path], arguments: &[&str]) -> Run {
    on_virtual_with(scenarios, arguments, |_| {})
}

fn on_virtual_with(
    scenarios: &[&Path],
    arguments: &[&str],
    change: impl FnOnce(&mut Command),
) -> Run {
    let all = [&["--clock", "virtual"], arguments].concat();
    let run = Run::with(scenarios, &all, change);
    run.outcome.assert(0, &["virtual clock"]);
    run
}

/// Whoever runs them: some have folders in their PATH where the lab looks in vain for its programs.
#[test]
fn fifty_runs_are_the_same_to_the_nanosecond() {
    if kernel_or_skip().is_none() {
        return;
    }
    let scenario = repository("scenarios/quickstart.yaml");
    let mut first: Option<(Value, String)> = None;
    for number in 0..50 {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("quickstart--default.ndjson");
        let folder = folder.path().to_str().expect("UTF-8");
        let path = "/nowhere:".repeat(number % 3) + &std::env::var("PATH").expect("a PATH");
        let run = on_virtual_with(&[&scenario], &["--record", folder], |command| {
            command.env("PATH", path);
        });
        let case = run.cases()[0].clone();
        let record = fs::read_to_string(&record).expect("a record");
        let Some((first_case, first_record)) = &first else {
            first = Some((case, record));
            continue;
        };
        assert_eq!(&case, first_case, "run {number}");
        for (line, first_line) in record.lines().zip(first_record.lines()) {
            assert_eq!(line, first_line, "run {number}");
        }
        assert_eq!(record.len(), first_record.len(), "run {number}");
    }
}

#[test]
fn retransmissions_are_the_timer_wheel_s_arithmetic_to_the_millisecond() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = repository("scenarios/incidents/a4-httptest-h1.yaml");
    let path = folder.path().to_str().expect("UTF-8");
    let run = on_virtual(&[&scenario], &["--record", path]);
    let record = fs::read_to_string(folder.path().join("a4-httptest-h1--default.ndjson"));
    let events: Vec<Event> = record
        .expect("a record")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let sent = sendings_in_vain(&events);
    // The request, a tail loss probe, and one a retry.
    assert_eq!(sent.len(), 1 + 1 + 15, "{sent:?}");
    let (probe, first) = (sent[1], sent[2]);
    // Short timers fire one tick late.
    let first_rto = ticks(first - probe) - 1;
    assert!(
        (50..=52).contains(&first_rto),
        "200 ms and the round trip: {first_rto} ticks"
    );

    // A case begins with the wheel at a whole multiple of 4096 ticks after the kernel's first.
    let series = Series {
        hz: HZ,
        rounding: Rounding::Wheel,
        start: FIRST_JIFFY + ticks(first),
        first_rto,
        rto_max: 120 * HZ,
        linear: 0,
    };
    let mut worst = Duration::ZERO;
    for (expected, sent) in series.fires().zip(&sent[3..]) {
        worst = worst.max(expected.abs_diff(*sent - first));
    }
    assert!(
        worst < Duration::from_millis(1),
        "off by {worst:?}: {sent:?}"
    );
    let last = sent[16] - sent[15];
    assert_eq!(last.as_millis(), 120_832, "a timer of 120 s");

    let given_up = series.gives_up(TcpSysctls::default().retransmission_bound());
    let poller = client(&run.cases()[0], "poller");
    let measured = number(&poller["fault_at_s"]) + number(&poller["detected_after_s"]);
    let off = (measured - (first + given_up).as_secs_f64()).abs();
    assert!(off < 0.002, "given up {off} s beside the prediction");
}

/// When the request was sent that met the dead node, and when it was sent again.
fn sendings_in_vain(events: &[Event]) -> Vec<Duration> {
    let segments: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            // What passes its pod's link as well is in the record twice.
            Observation::Segment(s) if s.len > 0 && s.node.starts_with("node") => Some(s),
            _ => None,
        })
        .collect();
    let again = segments.iter().find(|segment| segment.retransmission > 0);
    let seq = again.expect("a retransmission").seq;
    segments
        .iter()
        .filter(|segment| segment.seq == seq)
        .map(|segment| Duration::from_nanos(segment.stamp_ns))
        .collect()
}

/// A time in whole ticks.
fn ticks(time: Duration) -> u64 {
    (time.as_secs_f64() * HZ as f64).round() as u64
}

#[test]
fn without_user_namespaces_and_without_a_network() {
    if !user_namespaces_or_skip() || kernel_or_skip().is_none() {
        return;
    }
    let places: [(&[&str], &str); 2] = [
        (
            &["--user", "--map-root-user"],
            "echo 0 > /proc/sys/user/max_user_namespaces",
        ),
        (
            &["--user", "--map-root-user", "--net"],
            "test ! -e /sys/class/net/eth0 || true",
        ),
    ];
    for (namespaces, preparation) in places {
        let mut command = needs::program("unshare");
        command
            .args(namespaces)
            .args(["sh", "-ec"])
            .arg(format!("{preparation}\nexec \"$0\" \"$@\""))
            .arg(program())
            .args(["run", "--clock", "virtual"])
            .arg(two_seconds());
        outcome(&mut command).assert(0, &["virtual clock", "1 passed"]);
    }
}

/// Whoever runs the tests: as a user who owns nothing here, with nothing but a folder.
#[test]
fn as_an_ordinary_user_on_both_clocks() {
    if !nix::unistd::geteuid().is_root() {
        // Then every other test shows it.
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("made readable");
    let scenario = home.path().join("scenario.yaml");
    let halfopen = home.path().join("halfopen");
    fs::copy(two_seconds(), &scenario).expect("copied");
    fs::copy(program(), &halfopen).expect("copied");
    let as_nobody = |clock: &str, namespaces_forbidden: bool| {
        let mut command = needs::program("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        if namespaces_forbidden {
            let forbid = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
            needs::path("unshare");
            command.args(["unshare", "--user", "--map-root-user", "sh", "-ec", forbid]);
        }
        command
            .arg(&halfopen)
            .args(["run", "--clock", clock])
            .arg(&scenario)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .current_dir("/");
        command
    };
    outcome(&mut as_nobody("real", false)).assert(0, &["real clock", "1 passed"]);
    outcome(&mut as_nobody("real", true)).assert(3, &["user namespaces are forbidden here"]);
    if let Some(kernel) = kernel_or_skip() {
        let copy = home.path().join("linux");
        fs::copy(&kernel.path, &copy).expect("copied");
        for namespaces_forbidden in [false, true] {
            let mut command = as_nobody("virtual", namespaces_forbidden);
            let ended = outcome(command.env("HALFOPEN_KERNEL", &copy));
            ended.assert(0, &["virtual clock", "1 passed"]);
        }
    }
}
