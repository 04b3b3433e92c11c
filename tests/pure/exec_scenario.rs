//! What can be wrong with a client that is a program, and what a right one becomes.

use std::time::Duration;

use halfopen::plan::Ready;
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
        program.command,
        [
            "curl",
            "--cacert",
            "/run/halfopen/ca.pem",
            "https://web:8443/x"
        ]
    );
    let env = [("AT", "web=192.168.2.2:8443"), ("RAW", "{host}")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(program.env, env);
    assert_eq!(program.every, Some(Duration::from_secs(2)));
    assert_eq!(program.location.line, 10);
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
        program.command[1..],
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
    assert_eq!(program.env, [("PEER".to_owned(), "192.168.3.2".to_owned())]);
    assert_eq!((program.user, program.empty), (Some(1000), true));
    assert_eq!(program.ready, Ready::Line("^ready$".to_owned()));
    assert_eq!(program.within, Duration::from_secs(5));
    let program = other.program.as_ref().expect("a program");
    let ready = ["db-ready", "192.168.3.2"].map(str::to_owned).to_vec();
    assert_eq!(program.ready, Ready::Command(ready));
    assert_eq!(program.within, Duration::from_secs(60));
    let client = case.lab.clients[0].program().expect("a program");
    assert_eq!(
        client.command[1..],
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
