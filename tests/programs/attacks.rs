//! Programs that mean harm, or do it: each case ends with a clear cause, other cases still get their result, and the
//! machine is as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use halfopen::plan::Cause;
use halfopen::record::Observation;
use halfopen::verdict::Verdict;

use crate::machine;
use crate::needs;
use crate::shared::{self, Clock, Run, clocks, run, virtual_clock};

/// Processor time without a sign of life, in seconds: short, because the tests wait for it.
const STANDSTILL: [&str; 2] = ["--standstill", "4"];
/// Time stands still while much is written, for as long as a busy machine takes for it.
const PATIENCE: [&str; 2] = ["--standstill", "300"];

/// A client of ours that loses its server, beside a program that runs `command`.
pub(crate) fn beside(command: &str, rest: &str) -> String {
    all_beside(&[command.to_owned()]) + rest
}

/// The same beside a program for each command, all at once.
pub(crate) fn all_beside(commands: &[String]) -> String {
    let names = std::iter::once("program".to_owned()).chain((2..).map(|n| format!("program{n}")));
    let programs: String = names
        .zip(commands)
        .map(|(name, command)| {
            format!("  {name}: {{ node: node1, url: http://web/, workload: {{ exec: {{ command: {command} }} }} }}\n")
        })
        .collect();
    format!(
        r#"
name: attack
nodes: [node1, node2]
servers: {{ web: {{ node: node2 }} }}
clients:
{programs}
  good: {{ node: node1, url: http://web/, profile: go-http1, workload: {{ poll: {{ every: 1s, timeout: 1s }} }} }}
faults:
  - {{ at: 2s, fault: {{ power_loss: {{ node: node2 }} }} }}
expect: {{ good: {{ recovered: never, cause: request_timeout }} }}
duration: 6s
"#
    )
}

/// A command in YAML's own words.
fn shell(script: &str) -> String {
    serde_json::to_string(&["sh", "-c", script]).expect("text")
}

pub(crate) fn passes(run: &Run) {
    assert_eq!(
        (run.code, run.case().verdict),
        (Some(0), Verdict::Pass),
        "{}\n{}",
        run.table,
        run.errors
    );
    assert_eq!(
        run.client("good").cause,
        Some(Cause::RequestTimeout),
        "{}",
        run.table
    );
}

#[test]
fn a_program_that_spins_stops_virtual_time_and_is_named_and_other_cases_get_their_result() {
    let spin = "while true; do :; done";
    let Some(clock) = virtual_clock() else { return };
    // One after the other, each in a guest of its own.
    let yaml = beside(
        &shell(spin),
        "matrix: { clients.program.workload.exec.command: [[sh, -c, \"while true; do :; done\"], [sleep, \"1000\"]] }",
    );
    let begun = Instant::now();
    let run = run(&yaml, clock, &[&STANDSTILL[..], &["--jobs", "1"]].concat());
    let [spins, waits] = &run.cases[..] else {
        panic!("{}", run.table)
    };
    assert_eq!(
        (spins.verdict, waits.verdict),
        (Verdict::Error, Verdict::Pass),
        "{}",
        run.table
    );
    let reason = &spins.reason.as_ref().expect("a reason").text;
    assert!(
        reason.starts_with("virtual time has stood still for 4 s of processor time")
            && reason.contains(spin),
        "{reason}"
    );
    assert_eq!(run.code, Some(3), "{}", run.table);
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_program_that_spins_on_the_real_clock_costs_a_processor_and_no_verdict() {
    passes(&run(
        &beside(&shell("while true; do :; done"), ""),
        Clock::Real,
        &[],
    ));
}

#[test]
fn a_program_that_forks_without_end_is_stopped_by_its_limit() {
    let script = "f() { sleep 1000 & }; while f; do :; done";
    let release = nix::sys::utsname::uname()
        .expect("uname")
        .release()
        .to_string_lossy()
        .into_owned();
    let mut version = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let own_limit = (version.next().unwrap_or(0), version.next().unwrap_or(0)) >= (6, 14);
    for clock in clocks() {
        if clock == Clock::Real && !own_limit && nix::unistd::geteuid().is_root() {
            eprintln!(
                "skipped on the real clock: before Linux 6.14 nothing limits root's processes"
            );
            continue;
        }
        let _turn = (clock == Clock::Real).then(machine::alone);
        let run = run(&beside(&shell(script), ""), clock, &[]);
        passes(&run);
        assert!(run.output().contains("fork"), "{}", run.output());
        // The guest's processes are its kernel's, some of them the machine's as well.
        let many = if clock == Clock::Real { 100 } else { 1 };
        assert!(
            run.family.len() > many,
            "{} processes seen",
            run.family.len()
        );
        let left = || {
            run.family
                .iter()
                .filter(|process| is_alive(**process))
                .count()
        };
        assert!(
            until(Duration::from_secs(5), || left() == 0),
            "{} processes of {} are left",
            left(),
            run.family.len()
        );
    }
}

#[test]
fn a_program_that_writes_without_measure_is_read_to_its_end_and_kept_in_part() {
    for clock in clocks() {
        // In a guest each byte is many times as dear.
        let bytes = match clock {
            Clock::Real => 1_000_000_000,
            Clock::Virtual => 100_000_000,
        };
        let script = format!("echo begin; head -c {bytes} /dev/zero; echo end");
        // It keeps both processors busy, as far as the real clock lets it.
        let _turn = (clock == Clock::Real).then(machine::alone);
        let run = run(&beside(&shell(&script), ""), clock, &PATIENCE);
        passes(&run);
        let (mut kept, mut dropped) = (0, 0);
        for event in &run.records[0] {
            if let Observation::ProgramOutput {
                text,
                dropped: lost,
                ..
            } = &event.what
            {
                (kept, dropped) = (kept + text.len() as u64, dropped + lost);
            }
        }
        assert!(kept <= 64 << 10, "{kept} bytes kept");
        assert_eq!(kept + dropped, bytes + 10);
        assert!(run.output().starts_with("begin\n") && run.output().ends_with("\0end\n"));
    }
}

#[test]
fn a_program_can_not_write_the_machines_files_or_leave_its_room() {
    let folder = tempfile::tempdir_in(shared::repository().join("target")).expect("a folder");
    let file = folder.path().join("precious");
    fs::write(&file, "precious").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = fs::metadata(&file).expect("a file");
    let path = file.display();
    let place = folder.path().display();
    // What succeeds says so.
    let script = format!(
        "for f in '{path}' '{place}/new' /etc/hosts /proc/sys/net/ipv4/tcp_retries2 /proc/sys/kernel/pid_max; do
           (echo x > $f) 2>/dev/null && echo BROKEN write $f
         done
         rm -f '{path}' 2>/dev/null && echo BROKEN rm
         chmod 777 '{path}' 2>/dev/null && echo BROKEN chmod
         mkdir '{place}/folder' 2>/dev/null && echo BROKEN mkdir
         for m in 'remount,rw /' 'remount,rw,bind /' 'remount,rw,bind {place}'; do
           mount -o $m 2>/dev/null && echo BROKEN mount $m
         done
         mount -t hostfs none /tmp 2>/dev/null && echo BROKEN hostfs
         mount -t tmpfs none /mnt 2>/dev/null && echo BROKEN tmpfs
         mknod /tmp/disk b 254 0 2>/dev/null && echo BROKEN mknod
         ls /dev | grep -E '^(sd|vd|nvme|tty[0-9]|console|mem|kmsg|fuse)' && echo BROKEN dev
         unshare -Urm mount -o remount,rw,bind / 2>/dev/null && echo BROKEN userns
         (echo b > /proc/sysrq-trigger) 2>/dev/null && echo BROKEN sysrq
         reboot -f 2>/dev/null && echo BROKEN reboot
         grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | grep -v 0000000000000000 && echo BROKEN capabilities
         grep -q 'NoNewPrivs:.1' /proc/self/status || echo BROKEN privileges
         echo ok > /tmp/own && cat /tmp/own"
    );
    for clock in clocks() {
        let run = run(&beside(&shell(&script), ""), clock, &[]);
        passes(&run);
        let output = run.output();
        assert!(
            output.contains("ok\n") && !output.contains("BROKEN"),
            "{clock:?}: {output}"
        );
        let after = fs::metadata(&file).expect("it is there");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "precious");
        assert_eq!(
            (after.mode(), after.mtime_nsec()),
            (before.mode(), before.mtime_nsec())
        );
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}

#[test]
fn a_program_can_not_reach_the_network() {
    let python = needs::python();
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a listener");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let abstract_name = format!("halfopen-test-{}", std::process::id());
    let unix = {
        use std::os::linux::net::SocketAddrExt as _;
        let address =
            std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        std::os::unix::net::UnixListener::bind_addr(&address).expect("a listener")
    };
    unix.set_nonblocking(true).expect("a listener");
    let script = format!(
        "import socket\n\
         for address in ['127.0.0.1', '10.0.0.1', '192.168.1.1', '1.1.1.1']:\n\
         \x20   try:\n\
         \x20       socket.create_connection((address, {port}), 0.3)\n\
         \x20       print('BROKEN', address)\n\
         \x20   except OSError as error:\n\
         \x20       print(address, error)\n\
         try:\n\
         \x20   socket.socket(socket.AF_UNIX).connect('\\0{abstract_name}')\n\
         \x20   print('BROKEN unix')\n\
         except OSError as error:\n\
         \x20   print(error)\n\
         try:\n\
         \x20   print('BROKEN', socket.getaddrinfo('example.org', 80))\n\
         except OSError as error:\n\
         \x20   print(error)\n"
    );
    let command = serde_json::to_string(&[python.as_str(), "-c", &script]).expect("text");
    for clock in clocks() {
        let run = run(&beside(&command, ""), clock, &[]);
        passes(&run);
        let output = run.output();
        assert!(
            output.contains("1.1.1.1") && !output.contains("BROKEN"),
            "{output}"
        );
        assert!(
            listener.accept().is_err() && unix.accept().is_err(),
            "{clock:?}"
        );
    }
}

#[test]
fn a_program_can_not_kill_the_machines_processes() {
    let mut sentinel = Sentinel(Command::new("sleep").arg("1000").spawn().expect("sleep"));
    let pid = sentinel.0.id();
    let script = format!(
        "echo I am $$; kill -9 {pid} {} 1 2>/dev/null; ls /proc | grep -c '^[0-9]'; kill -9 -1",
        std::process::id()
    );
    for clock in clocks() {
        let run = run(&beside(&shell(&script), ""), clock, &[]);
        passes(&run);
        // Init, the shell, ls and grep are all there is to be seen.
        let output = run.output();
        assert!(
            output.contains("I am 2\n") && ["3\n", "4\n"].iter().any(|n| output.contains(n)),
            "{output}"
        );
        assert!(
            sentinel.0.try_wait().expect("a child").is_none(),
            "{clock:?}"
        );
    }
}

#[test]
fn a_program_that_eats_all_memory_of_its_guest_is_ended_and_not_the_case() {
    let python = needs::python();
    let Some(clock) = virtual_clock() else { return };
    let command = serde_json::to_string(&[
        python.as_str(),
        "-c",
        "x = bytearray(4 << 30)\nprint('BROKEN')",
    ])
    .expect("text");
    let run = run(&beside(&command, ""), clock, &[]);
    passes(&run);
    assert!(!run.output().contains("BROKEN"), "{}", run.output());
    let ended = run.records[0]
        .iter()
        .any(|e| matches!(e.what, Observation::ProgramExited { .. }));
    assert!(ended, "{}", run.table);
}

struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the process is there, and no zombie.
fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn until(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() > at_most {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
