//! What a program may do that is given a capability: in its own network namespace, and nowhere else.

use halfopen::record::Observation;

use crate::attacks::passes;
use crate::needs;
use crate::shared::{Clock, clocks, run};

/// Programs in pods and on a node, each with the same capabilities or none, beside a client of ours that shows that the lab's own
/// rules still do what they did.
fn scenario(capabilities: &str, script: &str) -> String {
    let command = serde_json::to_string(&[&needs::python(), "-c", script]).expect("text");
    let exec = format!("workload: {{ exec: {{ {capabilities} command: {command} }} }}");
    format!(
        r#"
name: capabilities
nodes: [node1, node2, node3]
servers: {{ web: {{ node: node2 }} }}
service: {{ aa: {{ address: "192.168.255.220:80", endpoints: [web] }} }}
clients:
  pod: {{ node: node1, url: http://aa/, {exec} }}
  host: {{ node: node3, host_network: true, url: http://aa/, {exec} }}
  good: {{ node: node1, url: http://aa/, profile: go-http1, workload: {{ poll: {{ every: 1s, timeout: 1s }} }} }}
faults:
  - {{ at: 6s, fault: {{ power_loss: {{ node: node2 }} }} }}
expect: {{ good: {{ recovered: never, cause: request_timeout }} }}
duration: 10s
"#
    )
}

/// Each line of output says what was tried, and what came of it.
const SCRIPT: &str = r#"
import ctypes, os, socket, subprocess
def tries(what, act):
    try:
        print(what, 'done', act() or '')
    except Exception as error:
        print(what, 'refused', error)
def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Exception(' '.join(done.stdout.split()))
    return ' '.join(done.stdout.split())
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
own = 'own_' + os.environ['HALFOPEN_CLIENT']
status = open('/proc/self/status').read().split('\n')
print(*[line.replace('\t', ' ') for line in status if line.startswith(('CapEff', 'CapAmb', 'CapBnd'))], sep=', ')
print('links', ' '.join(sorted(name for _, name in socket.if_nameindex())))
tries('rule', lambda: run('nft', 'add', 'table', 'inet', own))
tries('iptables', lambda: run('iptables', '-w', '-t', 'nat', '-N', own.upper()))
tries('address', lambda: run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo'))
tries('tables', lambda: run('nft', 'list', 'tables'))
tries('mount', lambda: call(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)))
tries('unshare', lambda: call(libc.unshare(0x40000000)))
tries('namespace', lambda: call(libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)))
tries('sysctl', lambda: open('/proc/sys/net/ipv4/ip_forward', 'w').write('0'))
tries('kernel sysctl', lambda: open('/proc/sys/kernel/panic', 'w').write('0'))
tries('reboot', lambda: call(libc.reboot(0)))
tries('chown', lambda: os.chown('/tmp', 12345, 12345))
"#;

/// A capability's bit, as /proc shows it.
const NET_ADMIN: &str = "0000000000001000";
const NONE: &str = "0000000000000000";

fn host_state() -> Vec<String> {
    let show = |name: &str, arguments: &[&str]| {
        let output = needs::program(name).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    vec![
        show("nft", &["list", "ruleset"]),
        show("ip", &["address"]),
        show("ip", &["route"]),
    ]
}

#[test]
fn a_capability_is_over_one_s_own_network_namespace_alone() {
    for clock in clocks() {
        let before = host_state();
        let run = run(
            &scenario("capabilities: [net_admin],", SCRIPT),
            clock,
            &["--standstill", "300"],
        );
        passes(&run);
        let output = run.output();
        let said = |what: &str| -> Vec<&str> {
            let lines = output.lines();
            lines.filter(|line| line.starts_with(what)).collect()
        };
        for what in ["rule done", "iptables done", "address done"] {
            assert_eq!(said(what).len(), 2, "{clock:?}: {what}: {output}");
        }
        for (set, bits) in [
            ("CapEff", NET_ADMIN),
            ("CapAmb", NET_ADMIN),
            ("CapBnd", NONE),
        ] {
            let told = format!("{set}: {bits}");
            assert_eq!(
                output.matches(&told).count(),
                2,
                "{clock:?}: {told}: {output}"
            );
        }
        // Each sees its own table, and not the other's.
        let tables = said("tables done");
        assert_eq!(tables.len(), 2, "{clock:?}: {output}");
        for (own, other) in [("own_pod", "own_host"), ("own_host", "own_pod")] {
            let sees = tables.iter().filter(|line| line.contains(own));
            let sees: Vec<_> = sees.collect();
            assert_eq!(sees.len(), 1, "{clock:?}: {output}");
            assert!(!sees[0].contains(other), "{clock:?}: {output}");
        }
        refused_all_else(clock, &output, 2);
        assert_eq!(host_state(), before, "{clock:?}");
    }
}

#[test]
fn a_program_without_a_capability_sets_no_rule() {
    for clock in clocks() {
        let run = run(&scenario("", SCRIPT), clock, &["--standstill", "300"]);
        passes(&run);
        let output = run.output();
        assert_eq!(
            output.matches(&format!("CapEff: {NONE}")).count(),
            2,
            "{output}"
        );
        for what in ["rule", "iptables", "address"] {
            let refused = output.matches(&format!("{what} refused")).count();
            assert_eq!(refused, 2, "{clock:?}: {what}: {output}");
        }
        refused_all_else(clock, &output, 2);
    }
}

fn refused_all_else(clock: Clock, output: &str, programs: usize) {
    for what in [
        "mount",
        "unshare",
        "namespace",
        "sysctl",
        "kernel sysctl",
        "reboot",
        "chown",
    ] {
        let of_it = output
            .lines()
            .filter(|line| line.starts_with(&format!("{what} refused")));
        assert_eq!(of_it.count(), programs, "{clock:?}: {what}: {output}");
    }
}

#[test]
fn a_program_that_is_another_user_keeps_its_capability() {
    let Some(clock) = crate::shared::virtual_clock() else {
        return;
    };
    let yaml = scenario("capabilities: [net_admin], user: 1000,", SCRIPT);
    let run = run(&yaml, clock, &["--standstill", "300"]);
    passes(&run);
    assert_eq!(
        run.output().matches("rule done").count(),
        2,
        "{}",
        run.output()
    );
}

/// A program sets a service's rules, of the shape that kube-proxy's have, and changes them after 5 s.
#[test]
fn rules_that_a_program_sets_lead_connections_and_what_it_changes_is_observed() {
    let python = needs::python();
    let yaml = format!(
        r#"
name: rules-of-a-program
nodes: [node1, node2, node3]
servers:
  web-1: {{ node: node2, port: 8080, exec: {{ command: ["{python}", -u, -m, http.server, "{{port}}"], cwd: /tmp }} }}
  web-2: {{ node: node3, port: 8080, exec: {{ command: ["{python}", -u, -m, http.server, "{{port}}"], cwd: /tmp }} }}
service: {{ web: {{ address: "192.168.255.1:80" }} }}
clients:
  proxy:
    node: node1
    host_network: true
    url: http://web-2:8080
    workload:
      exec:
        capabilities: [net_admin]
        command:
          - sh
          - -ec
          - |
            PATH=$PATH:/usr/sbin
            nat="iptables -w -t nat"
            $nat -N KUBE-SERVICES
            $nat -N KUBE-SVC-A
            $nat -A PREROUTING -j KUBE-SERVICES
            $nat -A KUBE-SERVICES -d 192.168.255.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
            $nat -A KUBE-SVC-A -p tcp -j DNAT --to-destination {{web-1}}:8080
            sleep 5
            $nat -R KUBE-SVC-A 1 -p tcp -j DNAT --to-destination {{web-2}}:8080
            sleep 1000
  caller:
    node: node1
    start: 2s
    url: http://web
    workload:
      exec:
        command:
          - "{python}"
          - -uc
          - |
            import time, urllib.request
            for second in range(11):
                print('answered', urllib.request.urlopen('{{url}}', timeout=3).status)
                time.sleep(1)
                if second == 8:
                    print('I lead')
            time.sleep(100)
        output: {{ ok: ^answered 200, leads: ^I lead$ }}
faults:
  - {{ at: 8s, fault: {{ power_loss: {{ node: node2 }} }} }}
expect: {{ caller: {{ not_affected: true }} }}
duration: 14s
"#
    );
    for clock in clocks() {
        let run = run(&yaml, clock, &["--standstill", "300"]);
        assert_eq!(
            run.code,
            Some(0),
            "{clock:?}: {}\n{}",
            run.table,
            run.errors
        );
        let leads = run.client("caller").leads_after.expect("it says so");
        assert!(
            (1.0..5.0).contains(&leads.as_secs_f64()),
            "{clock:?}: {leads:?}"
        );
        let changes: Vec<_> = run.records[0]
            .iter()
            .filter_map(|event| match &event.what {
                Observation::EndpointRemoved { endpoint, node, .. } => {
                    Some(("out", endpoint.as_str(), node.as_deref(), event.at()))
                }
                Observation::EndpointAdded { endpoint, node, .. } => {
                    Some(("in", endpoint.as_str(), node.as_deref(), event.at()))
                }
                _ => None,
            })
            .collect();
        let told: Vec<_> = changes
            .iter()
            .map(|(what, server, node, _)| (*what, *server, *node))
            .collect();
        let node = Some("node1");
        let expected = [
            ("in", "web-1", node),
            ("out", "web-1", node),
            ("in", "web-2", node),
        ];
        assert_eq!(told, expected, "{clock:?}");
        for (.., at) in &changes[1..] {
            assert!(
                (4.0..7.0).contains(&at.as_secs_f64()),
                "{clock:?}: {changes:?}"
            );
        }
    }
}
