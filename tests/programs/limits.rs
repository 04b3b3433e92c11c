//! What limits programs set, found by what is seen of them: socket options, closed windows, and how long after what they
//! close; and what they speak.

use std::fmt::Write as _;

use halfopen::plan::{Cause, Protocol};

use crate::needs;
use crate::shared::{Clock, Run, clocks, go_client, run, virtual_clock};

/// A client that runs `python -c PROGRAM ARGUMENT`.
fn python(name: &str, url: &str, program: &str, argument: &str) -> String {
    let mut text = format!(
        "  {name}:\n    node: node1\n    url: {url}\n    workload:\n      exec:\n        command:\n          - {}\n          - -c\n          - |\n",
        needs::python()
    );
    for line in program.lines() {
        writeln!(text, "            {line}").expect("a string");
    }
    writeln!(text, "          - \"{argument}\"").expect("a string");
    text
}

/// Sends without end, to a server that takes nothing more once it hangs; the argument is its TCP_USER_TIMEOUT.
const UPLOAD: &str = r#"
import os, socket, sys, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
limit = int(sys.argv[1])
while True:
    s = socket.socket()
    if limit: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
    try:
        s.connect((host.strip("[]"), int(port)))
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            s.sendall(b"x" * 65536); time.sleep(0.2)
    except OSError as error:
        print("error", error, flush=True)
    s.close(); time.sleep(1)
"#;

/// A request a second over one connection; the argument is its limit in seconds.
const ASK: &str = r#"
import os, socket, sys, time
host, port = os.environ["HALFOPEN_ADDRESS"].rsplit(":", 1)
c = None
while True:
    try:
        c = c or socket.create_connection((host.strip("[]"), int(port)), timeout=float(sys.argv[1]))
        c.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        if not c.recv(65536): raise OSError("closed")
    except OSError as error:
        print("error", error, flush=True)
        if c: c.close()
        c = None
    time.sleep(1)
"#;

fn evidence<'r>(run: &'r Run, client: &str) -> &'r str {
    let evidence = run.client(client).evidence.as_deref();
    evidence.unwrap_or_else(|| panic!("{client}: {}", run.table))
}

/// Probes that are answered end nothing; a TCP_USER_TIMEOUT ends it all the same; unanswered ones end it after
/// `tcp_retries2`, whether a TCP_USER_TIMEOUT is still to come or not. A later connection's options are known as the first one's.
#[test]
fn a_closed_window_ends_by_the_user_timeout_or_by_unanswered_probes_or_never() {
    if virtual_clock().is_none() {
        return;
    }
    let yaml = format!(
        "name: zero-window\nnodes: [node1, node2, node3]\nduration: 150s\nsysctls: {{ net.ipv4.tcp_retries2: 3 }}\n\
         servers: {{ hangs: {{ node: node2 }}, dies: {{ node: node3 }} }}\nclients:\n{}{}{}{}{}{}faults:\n  \
         - {{ at: 5s, fault: {{ hang: {{ server: hangs }} }} }}\n  \
         - {{ at: 5s, fault: {{ hang: {{ server: dies }} }} }}\n  \
         - {{ at: 25s, fault: {{ power_loss: {{ node: node3 }} }} }}\n",
        python("hung", "http://hangs/", UPLOAD, "0"),
        python("hung-limit", "http://hangs/", UPLOAD, "20000"),
        python("hung-short", "http://hangs/", UPLOAD, "7000"),
        python("dead", "http://dies/", UPLOAD, "0"),
        python("dead-late", "http://dies/", UPLOAD, "60000"),
        python("dead-soon", "http://dies/", UPLOAD, "22000"),
    );
    let run = run(&yaml, Clock::Virtual, &[]);
    let causes: Vec<_> = [
        "hung",
        "hung-limit",
        "hung-short",
        "dead",
        "dead-late",
        "dead-soon",
    ]
    .iter()
    .map(|name| (*name, run.client(name).cause))
    .collect();
    let expected = [
        ("hung", Some(Cause::Never)),
        ("hung-limit", Some(Cause::UserTimeout)),
        ("hung-short", Some(Cause::UserTimeout)),
        ("dead", Some(Cause::WindowProbeTimeout)),
        ("dead-late", Some(Cause::WindowProbeTimeout)),
        ("dead-soon", Some(Cause::UserTimeout)),
    ];
    assert_eq!(causes, expected, "{}", run.table);
    for name in ["hung-limit", "hung-short"] {
        let connections = &run.client(name).connections;
        let over: Vec<_> = connections
            .iter()
            .filter(|c| c.closed_at.is_some())
            .collect();
        assert!(over.len() >= 3, "{}", run.table);
        for connection in over {
            assert_eq!(
                connection.cause,
                Cause::UserTimeout,
                "{}",
                connection.evidence
            );
        }
    }
    // Who hears an answer to each probe waits for ever, and so it is told.
    let told: Vec<_> = run.client("hung").connections[0].chain.iter().collect();
    let timer = told.iter().find(|step| step.text.contains("window"));
    let timer = &timer.unwrap_or_else(|| panic!("{told:?}")).text;
    assert!(
        timer.contains("no timer of the kernel ends this"),
        "{timer}"
    );
    let dead = evidence(&run, "dead");
    assert!(
        dead.contains("the last 3 times without an answer"),
        "{dead}"
    );
}

/// A program's own limit reads as such in what is told of its close: after which request, or which data, to the tick.
#[test]
fn a_program_s_close_tells_how_long_after_what_it_came() {
    if virtual_clock().is_none() {
        return;
    }
    let yaml = format!(
        "name: limits\nnodes: [node1, node2, node3]\nduration: 40s\n\
         servers: {{ dies: {{ node: node3 }}, hangs: {{ node: node2 }}, late: {{ node: node2, response_delay: 3s }} }}\n\
         clients:\n{}{}{}{}faults:\n  \
         - {{ at: 5500ms, fault: {{ power_loss: {{ node: node3 }} }} }}\n  \
         - {{ at: 5500ms, fault: {{ hang: {{ server: hangs }} }} }}\n",
        python("ten", "http://dies/", ASK, "10"),
        python("two", "http://dies/", ASK, "2.5"),
        python("acknowledged", "http://hangs/", ASK, "10"),
        python("impatient", "http://late/", ASK, "1.5"),
    );
    let run = run(&yaml, Clock::Virtual, &[]);
    for (name, told) in [
        ("ten", "10.00 s after its request 7"),
        ("two", "2.50 s after its request 7"),
        ("acknowledged", "10.000 s after the last data that it sent"),
    ] {
        assert_eq!(
            run.client(name).cause,
            Some(Cause::ClosedByClient),
            "{}",
            run.table
        );
        let evidence = evidence(&run, name);
        assert!(evidence.contains(told), "{name}: {evidence}");
    }
    // Without any fault: a limit below what the server takes.
    let impatient = &run.client("impatient").connections;
    let told = impatient.iter().filter(|c| c.closed_at.is_some());
    for connection in told {
        let evidence = &connection.evidence;
        // A poll(2) of 1.5 s ends with a tick, of 4 ms here.
        let told = (1500..=1504).map(|ms| format!("1.{} s after its request", ms - 1000));
        assert!(
            told.into_iter().any(|told| evidence.contains(&told)),
            "{evidence}"
        );
    }
}

/// connect() under a TCP_USER_TIMEOUT: the kernel gives the dial up, and that is told.
#[test]
fn a_user_timeout_that_ends_a_dial_is_named() {
    if virtual_clock().is_none() {
        return;
    }
    let yaml = format!(
        "name: dials\nnodes: [node1, node3]\nduration: 60s\nsysctls: {{ net.ipv4.tcp_retries2: 3 }}\n\
         servers: {{ dies: {{ node: node3 }} }}\nclients:\n{}faults:\n  \
         - {{ at: 5s, fault: {{ power_loss: {{ node: node3 }} }} }}\n",
        python("c", "http://dies/", UPLOAD, "8000"),
    );
    let run = run(&yaml, Clock::Virtual, &[]);
    let connections = &run.client("c").connections;
    let dials: Vec<_> = connections[1..]
        .iter()
        .filter(|c| c.closed_at.is_some())
        .collect();
    assert!(!dials.is_empty(), "{}", run.table);
    for dial in dials {
        assert_eq!(dial.cause, Cause::DialTimeout);
        let evidence = &dial.evidence;
        assert!(
            evidence.contains("its TCP_USER_TIMEOUT is 8 s"),
            "{evidence}"
        );
    }
}

/// What was negotiated is in the report, of each connection and of each client, ours and programs; of who never connected
/// nothing is.
#[test]
fn the_negotiated_protocol_is_reported() {
    clocks().into_iter().for_each(negotiated);
}

fn negotiated(clock: Clock) {
    let curl = needs::path("curl").display().to_string();
    let curl = |name: &str, url: &str, more: &str| {
        format!(
            "  {name}: {{ node: node1, url: \"{url}\", workload: {{ exec: {{ command: [{curl}, -sS, --max-time, \"1\", {more}\
             \"{{url}}\"], every: 1s }} }} }}\n"
        )
    };
    let ours = |name: &str, profile: &str| {
        format!(
            "  {name}: {{ node: node1, url: \"https://both/\", profile: {profile}, workload: {{ poll: {{ every: 1s }} }} }}\n"
        )
    };
    let yaml = format!(
        "name: protocols\nnodes: [node1, node2, node3]\nduration: 5s\n\
         servers: {{ both: {{ node: node3, tls: true }}, clear: {{ node: node3 }} }}\nclients:\n{}faults:\n  \
         - {{ at: 3s, fault: {{ power_loss: {{ node: node3 }} }} }}\n",
        [
            curl("offers-both", "https://both/", "--http2, "),
            curl("offers-one", "https://both/", "\"--http1.1\", "),
            curl("in-clear", "http://clear/", ""),
            curl("by-preface", "http://clear/", "--http2-prior-knowledge, "),
            String::from(
                "  nowhere: { node: node1, url: \"http://clear/\", workload: { exec: { command: [sleep, \"60\"] } } }\n",
            ),
            ours("our-h2", "bare-h2"),
            ours("our-h1", "bare"),
        ]
        .concat()
    );
    let run = run(&yaml, clock, &[]);
    for (name, protocol) in [
        ("offers-both", Some(Protocol::H2)),
        ("offers-one", Some(Protocol::H1)),
        ("in-clear", Some(Protocol::H1)),
        ("by-preface", Some(Protocol::H2)),
        ("nowhere", None),
        ("our-h2", Some(Protocol::H2)),
        ("our-h1", Some(Protocol::H1)),
    ] {
        let client = run.client(name);
        assert_eq!(client.protocol, protocol, "{name}: {}", run.table);
        for connection in &client.connections {
            let expected = protocol.filter(|_| connection.opened_at.is_some());
            assert_eq!(connection.protocol, expected, "{name}: {}", run.table);
        }
    }
    assert!(
        run.table.contains("offers-both: speaks HTTP/2\n"),
        "{}",
        run.table
    );
    assert!(
        run.table.contains("offers-one: speaks HTTP/1.1\n"),
        "{}",
        run.table
    );
    assert!(!run.table.contains("nowhere: speaks"), "{}", run.table);
}

/// Many programs whose connections end and that are answered anew at one instant: whatever was recorded first, each is well
/// when its answer came, as it says itself.
#[test]
fn of_what_happens_at_one_instant_the_order_in_the_record_does_not_count() {
    let (Some(_), Some(go)) = (virtual_clock(), go_client()) else {
        return;
    };
    let clients: String = (0..19)
        .map(|n| {
            format!(
                "  go-{n}: {{ node: node1, url: \"https://web/\", workload: {{ exec: {{ command: [{}, \"{{url}}\", 60s] }} }} }}\n",
                go.display()
            )
        })
        .collect();
    let yaml = format!(
        "name: many\nnodes: [node1, node2, node3]\nduration: 200s\nsysctls: {{ net.ipv4.tcp_retries2: 5 }}\n\
         servers: {{ web-1: {{ node: node3, tls: true }}, web-2: {{ node: node2, tls: true }} }}\n\
         service:\n  web: {{ address: \"192.168.255.220:443\", endpoints: [web-1, web-2], pin_first: web-1, removal: 2s }}\n\
         clients:\n{clients}faults:\n  - {{ at: 5s, fault: {{ power_loss: {{ node: node3 }} }} }}\n"
    );
    let run = run(&yaml, Clock::Virtual, &[]);
    let recovered: Vec<_> = (0..19)
        .map(|n| run.client(&format!("go-{n}")).recovered_after)
        .collect();
    // The kernel gives up in the first minute's request, and Go asks again at once.
    for own in &recovered {
        let own = own.unwrap_or_else(|| panic!("never: {}", run.table));
        assert!(
            (60..90).contains(&own.as_secs()),
            "{recovered:?}\n{}",
            run.table
        );
    }
}
