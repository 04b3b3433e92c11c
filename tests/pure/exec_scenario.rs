//! What can be wrong with a client that is a program, and what a right one becomes.

use std::path::Path;
use std::time::Duration;

use halfopen::plan::{OwnWords, Ready};
use halfopen::scenario::{PlanOptions, parse, render};

const RIGHT: &str = r#"name: programs
nodes: [node1, node2]
servers:
  web: { node: node2, tls: true, port: 8443 }
clients:
  curl:
    node: node1
    url: https://web:8443/x
    workload:
      exec: { command: [curl, --cacert, "{ca}", "{url}"], env: { AT: "{host}={address}", RAW: "{{host}}" }, every: 2s }
faults:
  - { at: 5s, fault: { power_loss: { node: node2 } } }
duration: 20s
"#;

fn errors(text: &str) -> String {
    let found = parse("x.yaml", text, &PlanOptions::default()).expect_err("something is wrong");
    render(&found, false)
}

#[test]
fn a_program_is_resolved_with_its_placeholders_and_nothing_is_predicted_of_it() {
    let case = parse("x.yaml", RIGHT, &PlanOptions::default())
        .expect("a case")
        .remove(0);
    let program = case.lab.clients[0].program().expect("a program");
    assert_eq!(
        program.exec.command,
        [
            "curl",
            "--cacert",
            "/run/halfopen/ca.pem",
            "https://web:8443/x"
        ]
    );
    let env = [("AT", "web=192.168.2.2:8443"), ("RAW", "{host}")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(program.exec.env, env);
    assert_eq!(program.exec.every, Some(Duration::from_secs(2)));
    assert_eq!(program.exec.location.line, 10);
    assert_eq!(case.predictions, []);
}

#[test]
fn every_mistake_is_shown_where_it_stands() {
    let wrong = r#"name: programs
nodes: [node1, node2]
servers:
  web: { node: node2 }
clients:
  curl:
    node: node1
    url: http://web/
    profile: go-http1
    transport: { user_timeout: 3s }
    workload: { exec: { command: [curl, "{ulr}", "%{http_code}"], every: 0s } }
  empty: { node: node1, url: http://web/, workload: { exec: { command: [] } } }
  host: { node: node1, host_network: true, url: http://web/, workload: { exec: { command: [curl] } } }
  host2: { node: node1, host_network: true, url: http://web/, profile: go-http1, workload: { poll: { every: 1s } } }
  five:
    node: node1
    url: http://web/
    workload: { exec: { command: [curl], stop_signal: SIGNAL, memory: 1kB, tmpfs: 100GiB, tty: maybe, stop_grace_period: soon } }
  ours: { node: node1, url: http://web/, workload: { poll: { every: 1s } } }
faults:
  - { when: { client: curl, phase: idle }, fault: { power_loss: { node: node2 } } }
expect:
  curl: { requests_failed: { at_most: 2 } }
duration: 20s
"#;
    insta::assert_snapshot!(errors(wrong));
}

const SERVER: &str = r#"name: servers
nodes: [node1, node2, node3]
servers:
  db-1:
    node: node2
    port: 5432
    exec: { command: [db, "{self}:{port}", "{db-2}", "{name}", "{data}", "{cert}", "{key}", "{ca}"], env: { PEER: "{db-2}" }, user: 1000, empty: true }
    ready: { line: "^ready$", within: 5s }
  db-2: { node: node3, port: 5432, exec: { command: [db] }, ready: { command: [db-ready, "{self}"] } }
service:
  db: { address: "192.168.255.1:5432", endpoints: [db-1, db-2] }
clients:
  c: { node: node1, url: "tcp://db", workload: { exec: { command: [c, "{host}", "{address}", "{db-1},{db-2}"] } } }
faults:
  - { at: 5s, fault: { power_loss: { node: node2 } } }
duration: 20s
"#;

#[test]
fn a_server_that_is_a_program_knows_its_own_and_its_peers_addresses() {
    let case = parse("x.yaml", SERVER, &PlanOptions::default());
    let case = case.expect("a case").remove(0);
    let [one, other] = &case.lab.servers[..] else {
        panic!("two servers");
    };
    let program = one.program.as_ref().expect("a program");
    assert_eq!(
        program.exec.command[1..],
        [
            "192.168.2.2:5432",
            "192.168.3.2",
            "db-1",
            "/run/halfopen/data",
            "/run/halfopen/cert.pem",
            "/run/halfopen/key.pem",
            "/run/halfopen/ca.pem"
        ]
    );
    assert_eq!(
        program.exec.env,
        [("PEER".to_owned(), "192.168.3.2".to_owned())]
    );
    assert_eq!((program.exec.user, program.empty), (Some(1000), true));
    assert_eq!(program.ready, Ready::Line("^ready$".to_owned()));
    assert_eq!(program.within, Duration::from_secs(5));
    let program = other.program.as_ref().expect("a program");
    let ready = ["db-ready", "192.168.3.2"].map(str::to_owned).to_vec();
    assert_eq!(program.ready, Ready::Command(ready));
    assert_eq!(program.within, Duration::from_secs(60));
    let client = case.lab.clients[0].program().expect("a program");
    assert_eq!(
        client.exec.command[1..],
        ["db", "192.168.255.1:5432", "192.168.2.2,192.168.3.2"]
    );
}

#[test]
fn every_mistake_of_a_server_is_shown_where_it_stands() {
    let wrong = r#"name: servers
nodes: [node1, node2]
servers:
  a: { node: node2, exec: { command: [] } }
  b: { node: node2, port: 1, exec: { command: [x, "{selv}", "{url}"] }, app: echo, protocols: [h1], response_delay: 1s, backlog: 1, accepts: 1 }
  c: { node: node2, host_network: true, port: 1, exec: { command: [x] }, ready: { line: "(", command: [y], within: 0s } }
  d: { node: node2, ready: { within: 1s } }
  e: { node: node2, port: 1, exec: { command: [x], user: root, cwd: / } }
clients:
  tcp: { node: node1, url: "tcp://a", profile: go-http1, workload: { poll: { every: 1s } } }
  path: { node: node1, url: "tcp://b/x", workload: { exec: { command: [x] } } }
  port: { node: node1, url: "tcp://node2", workload: { exec: { command: [x] } } }
  other: { node: node1, url: "tcp://b:2", workload: { exec: { command: [x] } } }
  beside: { node: node2, host_network: true, url: "tcp://b", workload: { exec: { command: [x] } } }
faults:
  - { at: 5s, fault: { power_loss: { node: node2 } } }
duration: 20s
"#;
    insta::assert_snapshot!(errors(wrong));
}

#[test]
fn what_a_program_finds_is_resolved_with_its_placeholders() {
    let text = RIGHT.replace(
        "every: 2s",
        "cwd: '{scenario_dir}', stdin: '{host}', user: 1000, restart: on_failure, backoff: { first: 1s }, \
         tty: true, memory: 2GiB, tmpfs: 100MiB, stop_signal: INT, \
         files: { conf/a.conf: 'ca {ca} at {files}' }, output: { ok: ^200, error: ^5 }",
    );
    let case = parse("/a/b/x.yaml", &text, &PlanOptions::default())
        .expect("a case")
        .remove(0);
    let program = case.lab.clients[0].program().expect("a program");
    let exec = &program.exec;
    assert_eq!(exec.cwd.as_deref(), Some(Path::new("/a/b")));
    assert_eq!(exec.told_of, [Path::new("/a/b"), Path::new("/a/b")]);
    assert_eq!(exec.stdin.as_deref(), Some("web"));
    assert_eq!(exec.user, Some(1000));
    let file = (
        "conf/a.conf",
        "ca /run/halfopen/ca.pem at /run/halfopen/files",
    );
    assert_eq!(exec.files, [(file.0.to_owned(), file.1.to_owned())]);
    let restart = exec.restart.expect("a restart");
    assert_eq!(
        (restart.always, restart.first),
        (false, Duration::from_secs(1))
    );
    assert_eq!(restart.most, Duration::from_mins(5));
    assert!(exec.tty);
    assert_eq!(exec.limits.memory, Some(2 << 30));
    assert_eq!(exec.limits.tmpfs, Some(100 << 20));
    let stop = exec.stop.expect("a signal");
    assert_eq!((stop.signal, stop.grace), (2, Duration::from_secs(30)));
    let words = OwnWords::Matching {
        ok: Some(String::from("^200")),
        error: Some(String::from("^5")),
        leads: None,
        follows: None,
    };
    assert_eq!(program.output, Some(words));
}

#[test]
fn every_mistake_in_what_a_program_finds_is_shown_where_it_stands() {
    let wrong = r#"name: programs
nodes: [node1, node2]
servers:
  web:
    node: node2
    port: 80
    exec: { command: [web], stop_signal: TERM, cwd: here, restart: sometimes, files: { ../up: x, a: "{nothing}", a/b: y } }
clients:
  one:
    node: node1
    url: http://web/
    workload: { exec: { command: [curl], every: 1s, restart: always, files: { /etc/hosts: x }, output: { ok: "(", json: true } } }
  two:
    node: node1
    url: http://web/
    workload: { exec: { command: [curl], backoff: { first: 1s }, stdin: "{word}", output: { okay: x } } }
  three:
    node: node1
    url: http://web/
    workload: { exec: { command: [curl], restart: on_failure, backoff: { first: 0s, most: 10m } } }
  four:
    node: node1
    url: http://web/
    workload: { exec: { command: [curl], restart: on_failure, backoff: { first: 10m }, output: {} } }
  ours: { node: node1, url: http://web/, profile: go-http1, workload: { poll: { every: 1s } } }
faults:
  - { at: 5s, fault: { power_loss: { node: node2 } } }
expect:
  one: { exit_code: 0 }
  ours: { exit_code: { exactly: 0 } }
duration: 20s
"#;
    insta::assert_snapshot!(errors(wrong));
}
