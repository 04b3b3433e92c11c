//! How programs' connections end, and that each end is found: by whom, and when. The second witness is the program itself:
//! what it writes at the moment it learns of the end.

use std::fmt::Write as _;
use std::time::Duration;

use halfopen::plan::Cause;
use halfopen::record::Observation;

use crate::needs;
use crate::shared::{Clock, Run, clocks, run, virtual_clock};

/// A socket that sends a request a second, and what it does when that fails; `{}` are its options and its end.
const ASKS: &str = r#"
import os, socket, struct, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
kept = []
while True:
    s = socket.socket()
    kept.append(s)
    OPTIONS
    try:
        s.connect((host, int(port)))
        while True:
            s.sendall(b"GET / HTTP/1.1\r\nhost: s\r\n\r\n")
            if not s.recv(65536): break
            time.sleep(PAUSE)
    except OSError as error:
        print("error", error, flush=True)
        END
    time.sleep(1)
"#;

/// Two servers; the one that everybody begins on dies after 9 s.
fn scenario(program: &str, sysctls: &str, duration: &str) -> String {
    let python = needs::python();
    let mut indented = String::new();
    for line in program.lines() {
        writeln!(indented, "            {line}").expect("a string");
    }
    format!(
        r#"
name: ends
nodes: [node1, node2, node3]
sysctls: {{ {sysctls} }}
duration: {duration}
servers: {{ web-1: {{ node: node3 }}, web-2: {{ node: node2 }} }}
service:
  web: {{ address: "192.168.255.220:80", endpoints: [web-1, web-2], pin_first: web-1, removal: 1s }}
clients:
  c:
    node: node1
    url: http://web/
    workload:
      exec:
        command:
          - {python}
          - -c
          - |
{indented}
faults:
  - {{ at: 9s, fault: {{ power_loss: {{ node: node3 }} }} }}
"#
    )
}

fn asks(options: &str, pause: &str, end: &str) -> String {
    ASKS.replace("OPTIONS", options)
        .replace("PAUSE", pause)
        .replace("END", end)
}

/// When the program first wrote of an error, from the fault.
fn told(run: &Run) -> Duration {
    let error = run.records.iter().flatten().find(|event| {
        matches!(&event.what, Observation::ProgramOutput { text, .. } if text.starts_with("error"))
    });
    error
        .unwrap_or_else(|| panic!("no error: {}", run.table))
        .at()
        - Duration::from_secs(9)
}

#[track_caller]
fn ended(run: &Run, cause: Cause, within: Duration) {
    let client = run.client("c");
    assert_eq!(client.cause, Some(cause), "{}", run.table);
    let (detected, told) = (client.detected_after.expect("detected"), told(run));
    assert!(
        detected.abs_diff(told) <= within,
        "{detected:?} by the lab, {told:?} by the program\n{}",
        run.table
    );
    let recovered = client.recovered_after.expect("recovered");
    assert!(
        recovered.abs_diff(told) <= Duration::from_millis(1200),
        "{}",
        run.table
    );
}

/// The kernel gives a connection up and tells the program, which keeps the descriptor.
#[test]
fn what_the_kernel_gives_up_is_over_though_the_program_keeps_the_descriptor() {
    if virtual_clock().is_none() {
        return;
    }
    let retries = "net.ipv4.tcp_retries2: 3";
    let keepalive = "s.setsockopt(1, 9, 1); s.setsockopt(6, 4, 2); s.setsockopt(6, 5, 2); s.setsockopt(6, 6, 3)";
    for (options, pause, sysctls, cause) in [
        ("pass", "1", retries, Cause::RetransmissionTimeout),
        ("s.setsockopt(6, 18, 4000)", "1", "", Cause::UserTimeout),
        (keepalive, "8.5", "", Cause::Keepalive),
    ] {
        // With keepalive it waits for a response, and has nothing unacknowledged.
        let program = asks(options, pause, "pass");
        let program = match cause {
            Cause::Keepalive => program.replace(
                "s.recv(65536): break",
                "s.recv(65536): break\n            s.recv(1)",
            ),
            _ => program,
        };
        let run = run(&scenario(&program, sysctls, "60s"), Clock::Virtual, &[]);
        ended(&run, cause, Duration::from_millis(60));
    }
}

/// SO_LINGER with no time: close() sends a RST, and the kernel forgets the socket's addresses.
#[test]
fn a_connection_that_a_program_gives_up_with_a_reset_is_over() {
    let options = r#"s.setsockopt(1, 13, struct.pack("ii", 1, 0)); s.settimeout(3)"#;
    let program = asks(options, "1", "s.close()");
    for clock in clocks() {
        let run = run(&scenario(&program, "", "20s"), clock, &[]);
        ended(&run, Cause::ClosedByClient, Duration::from_millis(250));
    }
}

/// A program that leaves a connection behind, open, and takes another: it is well again with that one.
#[test]
fn a_dead_socket_that_is_merely_kept_holds_no_verdict_back() {
    if virtual_clock().is_none() {
        return;
    }
    let program = asks("s.settimeout(3)", "1", "pass");
    let run = run(&scenario(&program, "", "60s"), Clock::Virtual, &[]);
    let client = run.client("c");
    let recovered = client.recovered_after.expect("recovered");
    let after = recovered.saturating_sub(told(&run));
    assert!(after <= Duration::from_millis(1100), "{}", run.table);
    // The socket itself outlives the case.
    assert_eq!(
        (client.cause, client.detected_after),
        (Some(Cause::Never), None),
        "{}",
        run.table
    );
}

/// A timeout of the program's own: its FIN waits behind data that nobody acknowledges, and the wire shows nothing.
#[test]
fn a_round_timeout_of_a_program_is_known_to_some_milliseconds() {
    if virtual_clock().is_none() {
        return;
    }
    for limit in ["2.5", "10", "30"] {
        let program = asks(&format!("s.settimeout({limit})"), "1", "s.close()");
        let run = run(&scenario(&program, "", "70s"), Clock::Virtual, &[]);
        ended(&run, Cause::ClosedByClient, Duration::from_millis(8));
    }
}

/// shutdown() of a socket that dials disconnects it: its end has no addresses any more.
#[test]
fn a_dial_that_a_program_shuts_down_or_closes_is_over() {
    if virtual_clock().is_none() {
        return;
    }
    for end in ["s.shutdown(2)", "s.close()", "s.shutdown(2); s.close()"] {
        let program = format!(
            r#"
import os, socket, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
kept = []
while True:
    s = socket.socket(); s.settimeout(2); kept.append(s)
    try:
        s.connect((host, int(port))); s.sendall(b"GET / HTTP/1.1\r\nhost: s\r\n\r\n"); s.recv(1000); s.close()
    except OSError as error:
        print("error", error, flush=True)
        {end}
    time.sleep(5)
"#
        );
        let yaml = scenario(&program, "", "40s")
            .replace("removal: 1s", "removal: off")
            .replace("[web-1, web-2]", "[web-1]");
        let run = run(&yaml, Clock::Virtual, &[]);
        let dials = &run.client("c").connections;
        let vain: Vec<_> = dials.iter().filter(|c| c.opened_at.is_none()).collect();
        assert!(vain.len() >= 3, "{}", run.table);
        // The last may be cut by the case's end.
        for dial in &vain[..vain.len() - 1] {
            let lasted = dial.closed_at.expect("its end") - dial.dialled_at.expect("its SYN");
            let two = Duration::from_secs(2);
            assert!(
                lasted.abs_diff(two) <= Duration::from_millis(10),
                "{end}: {lasted:?}"
            );
        }
    }
}

/// A client that opens a connection for each request holds none when the power goes.
#[test]
fn a_client_that_only_dials_is_struck_by_its_first_dial_in_vain() {
    if virtual_clock().is_none() {
        return;
    }
    let curl = needs::path("curl").display().to_string();
    let yaml = format!(
        r#"
name: dials
nodes: [node1, node3]
duration: 60s
servers: {{ a: {{ node: node3 }} }}
profiles: {{ anew: {{ base: bare, idle_timeout: 100ms, dial_timeout: 5s }} }}
clients:
  ours: {{ node: node1, url: "http://a/", profile: anew, workload: {{ poll: {{ every: 3s }} }} }}
  curl: {{ node: node1, url: "http://a/", workload: {{ exec: {{ command: [{curl}, -sS, --connect-timeout, "2", "{{url}}"], every: 5s }} }} }}
faults:
  - {{ at: 10s, fault: {{ power_loss: {{ node: node3 }} }} }}
expect:
  ours: {{ cause: dial_timeout, recovered: never, detected: {{ within: 8s }} }}
  curl: {{ cause: dial_timeout, recovered: never, detected: {{ within: 8s }} }}
"#
    );
    let run = run(&yaml, Clock::Virtual, &[]);
    assert_eq!(run.code, Some(0), "{}", run.table);
    for (name, limit) in [("ours", 5), ("curl", 2)] {
        let dials = run.client(name).connections.iter();
        let vain = dials.filter(|c| c.opened_at.is_none() && c.cause == Cause::DialTimeout);
        let lasted: Vec<_> = vain
            .map(|c| c.closed_at.expect("its end") - c.dialled_at.expect("its SYN"))
            .collect();
        let limit = Duration::from_secs(limit);
        let all = lasted
            .iter()
            .all(|l| l.abs_diff(limit) <= Duration::from_millis(10));
        assert!(lasted.len() >= 4 && all, "{name}: {lasted:?}");
    }
}

/// More sockets end at one instant than the kernel has room to tell of.
#[test]
fn eight_hundred_connections_that_end_at_once_have_each_an_end() {
    if virtual_clock().is_none() {
        return;
    }
    let program = r#"
import os, socket, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
all = []
for i in range(800):
    s = socket.create_connection((host, int(port))); s.sendall(b"GET / HTTP/1.1\r\nhost: s\r\n\r\n"); s.recv(1000)
    all.append(s)
print("open", len(all), flush=True)
time.sleep(11)
for s in all: s.close()
time.sleep(3600)
"#;
    let run = run(&scenario(program, "", "20s"), Clock::Virtual, &[]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.table, run.errors);
    assert!(run.output().contains("open 800"), "{}", run.output());
    let client = run.client("c");
    let closed = client
        .connections
        .iter()
        .filter(|c| c.cause == Cause::ClosedByClient);
    assert_eq!(closed.count(), 800, "{}", run.table);
}

/// A program with `number` connections asks on all of them after the fault, and counts how each of them ends: those to the dead
/// node by ETIMEDOUT, the others by its own close().
fn end_as_their_program_says(number: usize) {
    if virtual_clock().is_none() {
        return;
    }
    let program = r#"
import collections, os, resource, selectors, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
ask = b"GET / HTTP/1.1\r\nhost: s\r\n\r\n"
waiting = selectors.DefaultSelector()
for i in range(NUMBER):
    s = socket.create_connection((host, int(port)))
    s.sendall(ask); s.recv(1000)
    waiting.register(s, selectors.EVENT_READ)
time.sleep(12)
for key in list(waiting.get_map().values()): key.fileobj.sendall(ask)
ends = collections.Counter()
while waiting.get_map():
    for key, _ in waiting.select():
        try: ends["closed"] += bool(key.fileobj.recv(1000))
        except TimeoutError: ends["timed out"] += 1
        waiting.unregister(key.fileobj); key.fileobj.close()
print("closed", ends["closed"], "timed out", ends["timed out"], flush=True)
time.sleep(3600)
"#;
    let program = program.replace("NUMBER", &number.to_string());
    let retries = "net.ipv4.tcp_retries2: 3";
    // Without a pin, so that each node has its half.
    let yaml = scenario(&program, retries, "40s").replace(" pin_first: web-1,", "");
    let run = run(&yaml, Clock::Virtual, &[]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.table, run.errors);
    let connections = &run.client("c").connections;
    assert_eq!(connections.len(), number, "{}", run.table);
    let of = |cause: Cause| connections.iter().filter(|c| c.cause == cause).count();
    let (closed, timed_out) = (of(Cause::ClosedByClient), of(Cause::RetransmissionTimeout));
    let said = format!("closed {closed} timed out {timed_out}\n");
    assert!(run.output().contains(&said), "{said}{}", run.output());
    assert_eq!(closed + timed_out, number, "{}", run.table);
    assert!(closed.min(timed_out) > number / 3, "{said}");
}

#[test]
fn a_thousand_connections_on_dying_and_living_nodes_end_as_their_program_says() {
    end_as_their_program_says(1_000);
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_connections_on_dying_and_living_nodes_end_as_their_program_says() {
    end_as_their_program_says(10_000);
}

#[test]
fn a_server_takes_http2_where_a_client_offers_both() {
    let curl = needs::path("curl").display().to_string();
    let yaml = format!(
        r#"
name: alpn
nodes: [node1, node3]
duration: 4s
servers: {{ a: {{ node: node3, tls: true }} }}
clients:
  curl: {{ node: node1, url: "https://a/", workload: {{ exec: {{ command: [{curl}, -sS, -o, /dev/null, -w, "HTTP version %{{{{http_version}}}}\\n", --http2, "{{url}}"] }} }} }}
faults:
  - {{ at: 3s, fault: {{ power_loss: {{ node: node3 }} }} }}
"#
    );
    for clock in clocks() {
        let run = run(&yaml, clock, &[]);
        assert!(
            run.output().contains("HTTP version 2\n"),
            "{}",
            run.output()
        );
    }
}

#[test]
fn a_program_in_a_temporary_folder_is_found_there_with_what_lies_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let (program, beside) = (folder.path().join("ask.sh"), folder.path().join("beside"));
    std::fs::write(
        &program,
        "#!/bin/sh\ncat \"${0%/*}/beside\"; touch \"$0.new\" || echo read-only\n",
    )
    .expect("a file");
    std::fs::write(beside, "it lies beside\n").expect("a file");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
        .expect("a mode");
    let yaml = format!(
        r#"
name: in-tmp
nodes: [node1, node3]
duration: 4s
servers: {{ a: {{ node: node3 }} }}
clients:
  c: {{ node: node1, url: "http://a/", workload: {{ exec: {{ command: ["{}"] }} }} }}
faults:
  - {{ at: 3s, fault: {{ power_loss: {{ node: node3 }} }} }}
"#,
        program.display()
    );
    for clock in clocks() {
        let run = run(&yaml, clock, &[]);
        let output = run.output();
        assert!(
            output.contains("it lies beside") && output.contains("read-only"),
            "{output}"
        );
    }
}
