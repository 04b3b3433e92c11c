//! Servers that are programs: when they are ready, what faults do to them, what they find, and that what is seen of them on
//! the wire is what they say themselves.

use std::time::Duration;

use halfopen::plan::Cause;
use halfopen::record::Observation;
use halfopen::verdict::result::Verdict;

use crate::needs;
use crate::shared::{Clock, Run, clocks, run, virtual_clock};

/// Python's own server of HTTP: a program that knows nothing of us. It writes a line for each request.
fn http(more: &str) -> String {
    let python = needs::python();
    format!("[{python}, -u, -m, http.server, '{{port}}', --protocol, HTTP/1.1{more}]")
}

/// One server, `exec` its command with more of its fields after it, a built-in client that asks it once a second, and `fault`.
fn scenario(exec: &str, server: &str, fault: &str) -> String {
    format!(
        "name: servers\nduration: 40s\nnodes: [n1, n2]\nservers:\n  web: {{ node: n2, exec: {{ command: {exec} }}, port: 8080{server} }}\n\
         clients:\n  c: {{ node: n1, url: 'http://web:8080/', profile: bare, transport: {{ request_timeout: 5s, dial_timeout: 3s }}, workload: {{ poll: {{ every: 1s }} }} }}\n\
         faults: [{{ {fault} }}]\n"
    )
}

fn seconds(time: Option<Duration>) -> f64 {
    time.expect("a time").as_secs_f64()
}

/// How often a server's probe has seen each: requests, and answers.
fn seen(run: &Run) -> (usize, usize) {
    let count = |wanted: fn(&Observation) -> bool| {
        let all = run.records.iter().flatten();
        all.filter(|event| wanted(&event.what)).count()
    };
    (
        count(|what| matches!(what, Observation::ServerRequest { .. })),
        count(|what| matches!(what, Observation::ServerResponse { .. })),
    )
}

#[test]
fn it_dies_with_its_node_and_is_there_again_with_it() {
    for clock in clocks() {
        let yaml = scenario(
            &http(""),
            "",
            "at: 4s, for: 6s, fault: { power_loss: { node: n2 } }",
        );
        let run = run(&yaml.replace("duration: 40s", "duration: 16s"), clock, &[]);
        let own = run.client("c");
        assert_eq!(own.cause, Some(Cause::RequestTimeout), "{}", run.table);
        let detected = seconds(own.detected_after);
        assert!((3.9..6.5).contains(&detected), "{clock:?}: {detected}");
        // A dial that the loss has met waits for a second at the least, and the program has to start.
        let recovered = seconds(own.recovered_after);
        assert!((5.9..10.5).contains(&recovered), "{clock:?}: {recovered}");
        // By its own word it was started twice.
        assert_eq!(run.served().matches("Serving HTTP").count(), 2);
    }
}

#[test]
fn what_is_seen_on_the_wire_is_what_it_says_itself() {
    let Some(clock) = virtual_clock() else { return };
    let yaml = scenario(
        &http(""),
        "",
        "at: 10s, for: 10s, fault: { power_loss: { node: n2 } }",
    );
    let run = run(&yaml, clock, &[]);
    let (requests, answers) = seen(&run);
    let told = run.served().matches("\"GET / HTTP/1.1\" 200").count();
    assert!(told > 20, "{}", run.served());
    assert_eq!((requests, answers), (told, told));
}

#[test]
fn a_killed_one_closes_and_a_hung_one_says_nothing() {
    let Some(clock) = virtual_clock() else { return };
    let of = |fault: &str| {
        let fault = format!("at: 10500ms, for: 10s, fault: {fault}");
        run(&scenario(&http(""), "", &fault), clock, &[])
    };
    let killed = of("{ process_kill: { server: web } }");
    let own = killed.client("c");
    assert_eq!(own.cause, Some(Cause::ClosedByPeer), "{}", killed.table);
    assert!(seconds(own.detected_after) < 0.1, "{}", killed.table);
    assert!((9.9..11.1).contains(&seconds(own.recovered_after)));
    assert_eq!(killed.served().matches("Serving HTTP").count(), 2);
    let hung = of("{ hang: { server: web } }");
    let own = hung.client("c");
    assert_eq!(own.cause, Some(Cause::RequestTimeout), "{}", hung.table);
    assert!((9.9..11.1).contains(&seconds(own.recovered_after)));
    assert_eq!(hung.served().matches("Serving HTTP").count(), 1);
}

/// It counts its starts in a file of its own.
fn counts(python: &str) -> String {
    let program = r#"
import http.server, os
data = os.environ["HALFOPEN_DATA"]
with open(data + "/starts", "a") as f: f.write("x")
with open(data + "/starts") as f: print("starts", len(f.read()), flush=True)
http.server.HTTPServer(("", int(os.environ["HALFOPEN_PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"#;
    format!("[{python}, -c, {program:?}]")
}

#[test]
fn its_folder_is_as_it_was_at_the_cut_or_empty_where_that_is_said() {
    let Some(clock) = virtual_clock() else { return };
    let command = counts(&needs::python());
    for (exec, second) in [(command.clone(), 2), (format!("{command}, empty: true"), 1)] {
        let fault = "at: 10s, for: 5s, fault: { power_loss: { node: n2 } }";
        let run = run(&scenario(&exec, "", fault), clock, &[]);
        let told = format!("starts 1\nstarts {second}\n");
        let starts: String = run
            .served()
            .lines()
            .filter(|line| line.starts_with("starts"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(starts, told, "{}", run.table);
    }
}

/// It speaks TLS with the certificate that it is given.
const TLS: &str = r#"
import http.server, ssl, sys
# One connection for all requests: where a dial leads is up to the dice.
http.server.SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

#[test]
fn clients_believe_its_certificate_and_find_it_behind_a_service_and_on_a_node() {
    let python = needs::python();
    let command = format!("[{python}, -c, {TLS:?}, '{{port}}', '{{cert}}', '{{key}}']");
    let server = |node: &str, more: &str| {
        format!("{{ node: {node}, tls: true, port: 8443{more}, exec: {{ command: {command} }} }}")
    };
    let yaml = format!(
        "name: tls\nduration: 30s\nnodes: [n1, n2, n3]\nservers:\n  a: {}\n  b: {}\n  host: {}\n\
         service: {{ web: {{ address: '192.168.255.1:8443', endpoints: [a, b], pin_first: a, removal: 2s }} }}\n\
         clients:\n  service: {{ node: n1, url: 'https://web:8443/', profile: bare, transport: {{ request_timeout: 4s }}, workload: {{ poll: {{ every: 1s }} }} }}\n\
         \x20 node: {{ node: n1, url: 'https://n3:8443/', profile: bare, workload: {{ poll: {{ every: 1s }} }} }}\n\
         faults: [{{ at: 10500ms, fault: {{ power_loss: {{ node: n2 }} }} }}]\n\
         expect:\n  service: {{ recovered: {{ within: 12s }} }}\n  node: {{ not_affected: true }}\n",
        server("n2", ""),
        server("n3", ""),
        server("n3", ", host_network: true"),
    );
    let Some(clock) = virtual_clock() else { return };
    let run = run(&yaml, clock, &[]);
    let verdict = run.case().verdict;
    assert_eq!(verdict, Verdict::Pass, "{}{}", run.table, run.errors);
}

/// It asks once a second, and when it has waited for two it gives up for good.
const GIVES_UP: &str = r#"
import os, socket, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
s = socket.create_connection((host, int(port)), 2)
try:
    while True:
        s.sendall(b"GET / HTTP/1.1\r\nhost: s\r\n\r\n")
        if not s.recv(65536): raise OSError("closed")
        print("good", flush=True)
        time.sleep(1)
except OSError as error:
    print("gave up for good", error, flush=True)
s.close()
time.sleep(999)
"#;

/// What a server sends late, or in vain, to a socket that is closed by then has not come.
#[test]
fn an_answer_that_nobody_took_is_none() {
    let Some(clock) = virtual_clock() else { return };
    let python = needs::python();
    let program = format!("exec: {{ command: {} }}", http(""));
    for server in [program.as_str(), "app: echo"] {
        for fault in [
            "hang: { server: web }",
            "loss: { server: web, percent: 100, direction: out }",
            "loss: { server: web, percent: 100 }",
            "delay: { server: web, delay: 4s }",
        ] {
            let yaml = format!(
                "name: vain\nduration: 60s\nnodes: [n1, n2]\nservers: {{ web: {{ node: n2, port: 8080, {server} }} }}\n\
                 clients: {{ c: {{ node: n1, url: 'http://web:8080/', workload: {{ exec: {{ command: [{python}, -c, {GIVES_UP:?}] }} }} }} }}\n\
                 faults: [{{ at: 10500ms, for: 20s, fault: {{ {fault} }} }}]\n"
            );
            let run = run(&yaml, clock, &[]);
            let own = run.output();
            assert!(
                own.contains("good") && own.contains("gave up for good"),
                "{own}"
            );
            let recovered = run.client("c").recovered_after;
            assert_eq!(recovered, None, "{server}, {fault}: {}", run.table);
        }
    }
}

#[test]
fn one_that_does_not_come_back_is_told_of() {
    let Some(clock) = virtual_clock() else { return };
    let python = needs::python();
    let once = |then: &str| {
        let exec = format!(
            "[sh, -c, 'test -e {{data}}/x && {then}; touch {{data}}/x; exec {python} -m http.server {{port}}']"
        );
        let fault = "at: 5s, for: 5s, fault: { power_loss: { node: n2 } }";
        let run = run(
            &scenario(&exec, ", ready: { within: 4s }", fault),
            clock,
            &[],
        );
        let warnings = run.case().warnings.iter().map(|note| note.text.as_str());
        warnings.collect::<String>()
    };
    let exits = once("exit 3");
    assert!(
        exits.contains("server web exited with 3 by itself"),
        "{exits}"
    );
    let late = once("sleep 100");
    let told = "server web was not ready again: it did not listen on its port within 4s";
    assert!(late.contains(told), "{late}");
    assert_eq!(once("sleep 2"), "");
}

/// Each says why it can't be, where its command stands.
#[test]
fn one_that_is_never_ready_is_an_error_with_its_last_lines() {
    let bad = [
        (
            "[no-such-program, x]",
            "",
            "there is no program `no-such-program`",
        ),
        (
            "[sh, -c, 'echo one; echo two; exit 3']",
            "",
            "server web was never ready: its program ended before; it wrote last: \"one\", \"two\"",
        ),
        (
            "[sh, -c, 'echo waiting; exec sleep 100']",
            ", ready: { within: 3s }",
            "server web was never ready: it did not listen on its port within 3s; it wrote last: \"waiting\"",
        ),
        (
            "[sh, -c, 'echo almost ready; exec sleep 100']",
            ", ready: { line: '^ready$', within: 3s }",
            "no line of its output matched `^ready$` within 3s",
        ),
        (
            "[sleep, '100']",
            ", ready: { command: [sh, -c, 'exit 1'], within: 3s }",
            "`sh -c exit 1` did not succeed within 3s; it wrote nothing",
        ),
        ("[/etc/passwd]", "", "it is not executable"),
    ];
    for clock in clocks() {
        // On the real clock those that are seen at once.
        let bad = bad
            .iter()
            .filter(|(_, server, _)| clock == Clock::Virtual || server.is_empty());
        for (exec, server, why) in bad {
            let fault = "at: 10s, fault: { power_loss: { node: n2 } }";
            let run = run(&scenario(exec, server, fault), clock, &[]);
            assert_eq!(
                (run.code, run.case().verdict),
                (Some(3), Verdict::Error),
                "{why}"
            );
            assert!(run.table.contains(why), "{why}\n{}", run.table);
            assert!(run.table.contains("scenario.yaml:5:"), "{}", run.table);
        }
    }
}

#[test]
fn it_is_ready_by_its_port_a_line_or_a_command() {
    let Some(clock) = virtual_clock() else { return };
    let late = |server: &str| {
        let python = needs::python();
        let exec = format!(
            "[sh, -c, 'sleep 5; echo now it is ready; exec {python} -m http.server {{port}}']"
        );
        let fault = "at: 10s, fault: { power_loss: { node: n2 } }";
        run(&scenario(&exec, server, fault), clock, &[])
    };
    let by_command = format!(
        ", ready: {{ command: [{}, -c, 'import socket; socket.create_connection((\"{{self}}\", 8080))'] }}",
        needs::python()
    );
    for server in ["", ", ready: { line: 'now it is ready$' }", &by_command] {
        let run = late(server);
        let own = run.client("c");
        assert_eq!(own.affected, Some(true), "{server}: {}", run.table);
        // The case begins when it is ready: its five seconds are none of the ten.
        let (_, answers) = seen(&run);
        assert!((8..=11).contains(&answers), "{server}: {answers}");
    }
}

#[test]
fn one_that_ends_by_itself_is_told_of() {
    let Some(clock) = virtual_clock() else { return };
    let python = needs::python();
    let exec = format!(
        "[{python}, -c, 'import http.server, threading, os; threading.Timer(5, lambda: (print(\"out of luck\", flush=True), os._exit(7))).start(); http.server.test(port=8080)']"
    );
    let fault = "at: 10s, fault: { power_loss: { node: n2 } }";
    let run = run(&scenario(&exec, "", fault), clock, &[]);
    let warnings = run.case().warnings.iter().map(|note| note.text.as_str());
    let warnings: String = warnings.collect();
    let told = "the program of server web exited with 7 by itself; it wrote last: ";
    assert!(warnings.contains(told), "{}", run.table);
    assert!(warnings.contains("\"out of luck\""), "{}", run.table);
}

#[test]
fn its_record_is_the_same_every_time() {
    let Some(clock) = virtual_clock() else { return };
    let yaml = scenario(
        &http(""),
        "",
        "at: 10s, for: 10s, fault: { power_loss: { node: n2 } }",
    );
    let of = || {
        let events = run(&yaml, clock, &[]).records.remove(0);
        // The first says where the scenario's file lay.
        let lines = events[1..]
            .iter()
            .map(|e| serde_json::to_string(e).expect("an event"));
        lines.collect::<Vec<_>>()
    };
    let (one, other) = (of(), of());
    let differ = one.iter().zip(&other).find(|(a, b)| a != b);
    assert_eq!(differ, None);
    assert_eq!(one.len(), other.len());
}

/// The primary dies, and psql, which knows both by name, goes to the other one.
#[test]
fn postgresql_is_found_again_at_the_second_host_by_both_witnesses() {
    let Some(clock) = virtual_clock() else { return };
    let mut folders = (11..20)
        .rev()
        .map(|version| format!("/usr/lib/postgresql/{version}/bin"));
    let Some(bin) = folders.find(|bin| std::path::Path::new(bin).exists()) else {
        needs::skipped("PostgreSQL is not installed");
        return;
    };
    let Some(psql) = needs::find("psql") else {
        needs::skipped("psql is not installed");
        return;
    };
    let server = |node: &str| {
        format!(
            "{{ node: {node}, port: 5432, ready: {{ line: 'database system is ready to accept connections' }}, exec: {{ user: 1000, \
             command: [sh, -c, '{bin}/initdb -D {{data}}/pg -A trust -U postgres > {{data}}/log && echo \"host all all all trust\" >> {{data}}/pg/pg_hba.conf && \
             exec {bin}/postgres -D {{data}}/pg -p {{port}} -h \"*\" -k /tmp'] }} }}"
        )
    };
    let yaml = format!(
        "name: postgresql\nduration: 60s\nnodes: [n1, n2, n3]\nservers:\n  db1: {}\n  db2: {}\n\
         clients:\n  psql:\n    node: n1\n    url: tcp://db1\n    workload:\n      exec:\n        every: 1s\n\
         \x20       command: [sh, -c, \"while sleep 2; do echo 'select now();'; done | {} -X -At 'postgresql://postgres@{{db1}}:5432,{{db2}}:5432/postgres?tcp_user_timeout=10000&connect_timeout=3'\"]\n\
         faults: [{{ at: 11s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n",
        server("n2"),
        server("n3"),
        psql.display(),
    );
    let run = run(&yaml, clock, &[]);
    let own = run.client("psql");
    assert_eq!(own.cause, Some(Cause::UserTimeout), "{}", run.table);
    let recovered = seconds(own.recovered_after);
    // The first time that it wrote after the longest silence, by its own clock: it writes what the server's says.
    let fault = own.fault_at.expect("a fault");
    let told = run
        .records
        .iter()
        .flatten()
        .filter_map(|event| match &event.what {
            Observation::ProgramOutput { text, .. } if text.starts_with("20") => Some(event.at()),
            _ => None,
        });
    let first = told.filter(|at| *at > fault + Duration::from_secs(5)).min();
    let first = first.expect("it wrote again").saturating_sub(fault);
    assert!(
        first.as_secs_f64() - recovered < 2.0 && first.as_secs_f64() >= recovered,
        "{recovered}: {first:?}"
    );
}
