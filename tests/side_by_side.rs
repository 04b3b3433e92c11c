//! A hundred cases side by side have the verdicts and the figures that each has alone.

mod command;

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use command::{Run, changed, client, kernel_or_skip, number, repository, two_seconds};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

const CASES: usize = 100;

/// Processors that others may use while the real clock still has to hold.
const OTHERS_MAY_USE: f64 = 0.5;

/// One test at a time: on the real clock nobody else may keep both processors busy.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_hundred_quickstarts_on_the_virtual_clock() {
    if kernel_or_skip().is_none() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // A hundred values of something that decides nothing: the same case under a hundred names.
    let values: Vec<String> = (0..CASES).map(|n| (600 + n).to_string()).collect();
    let key = "sysctls.net.ipv4.tcp_keepalive_time";
    let matrix = format!("matrix: {{ {key}: [{}] }}\nexpect:", values.join(", "));
    let sysctl = "net.ipv4.tcp_retries2: 5\n  net.ipv4.tcp_keepalive_time: 7200\n";
    let changes = [
        ("net.ipv4.tcp_retries2: 5\n", sysctl),
        ("\nexpect:", &format!("\n{matrix}")),
    ];
    let (_folder, file) = changed(&repository("scenarios/quickstart.yaml"), &changes);
    let alone = Run::of(
        &[&file],
        &["--clock", "virtual", "--filter", "keepalive_time=600"],
    );
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    run.outcome.assert(0, &["100 cases: 100 passed"]);
    for case in run.cases() {
        for expected in alone.cases()[0]["clients"].as_array().expect("clients") {
            let name = expected["name"].as_str().expect("a name");
            let actual = client(case, name);
            assert_eq!(actual["cause"], expected["cause"], "{name}");
            assert_eq!(actual["dials"], expected["dials"], "{name}");
            let off = number(&actual["recovered_after_s"]) - number(&expected["recovered_after_s"]);
            // Two ticks: a hundred labs in two guests do meet.
            assert!(off.abs() <= 0.008, "{name}: off by {off} s");
        }
    }
}

#[test]
fn a_hundred_cases_on_the_real_clock() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scenario = two_seconds();
    let begun = Instant::now();
    let (busy, ours) = (processors_busy(), children_busy());
    let run = Run::of(&vec![scenario.as_path(); CASES], &["--clock", "real"]);
    let (busy, ours) = (processors_busy() - busy, children_busy() - ours);
    let others = (busy.saturating_sub(ours)).as_secs_f64() / begun.elapsed().as_secs_f64();
    if run.outcome.code != Some(0) && others > OTHERS_MAY_USE {
        // Where others keep the processors busy, the real clock measures them.
        let line =
            format!("SKIPPED the real clock: others used {others:.1} processors meanwhile\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return;
    }
    run.outcome.assert(0, &["100 cases: 100 passed"]);
    let recovered: Vec<f64> = run
        .cases()
        .iter()
        .map(|case| number(&client(case, "poller")["recovered_after_s"]))
        .collect();
    let worst = recovered.iter().copied().fold(0.0, f64::max);
    println!("worst recovery {worst} s, all in {:?}", begun.elapsed());
    // One after the other they would take 200 s.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// Processor time that everybody has used since boot.
fn processors_busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("/proc");
    let all = stat.lines().next().expect("all processors");
    let times = all.split_whitespace().skip(1).take(8).enumerate();
    // user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second.
    let busy = times.filter(|(place, _)| ![3, 4].contains(place));
    let hundredths: u64 = busy.filter_map(|(_, time)| time.parse::<u64>().ok()).sum();
    Duration::from_millis(hundredths * 10)
}

/// Processor time that the program and its labs have used.
fn children_busy() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
        .sum()
}
