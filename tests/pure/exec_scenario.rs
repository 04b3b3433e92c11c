//! What can be wrong with a client that is a program, and what a right one becomes.

use std::time::Duration;

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
