//! Programs with several connections at once, of which one is dead: what they ask on it shows nowhere but in the kernel's queue,
//! and what they dial meanwhile may be waited for or not.

use std::time::Duration;

use crate::needs;
use crate::shared::{Run, run, virtual_clock};

/// What the programs have in common: a request on a connection of its own, and a line for what came of it.
const COMMON: &str = "import socket, threading, time
def ask(s, limit):
  s.settimeout(limit)
  s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
  if not s.recv(4096): raise ConnectionError(1, 'the end')
def dial(host):
  return socket.create_connection((host, 80), timeout=4)
def say(word):
  print(word, flush=True)
";

/// A client of two servers, of which the second loses its power at 10.5 s.
fn strike(python: &str, program: &str, seconds: u32) -> Option<Run> {
    let clock = virtual_clock()?;
    let program = format!("{COMMON}{program}");
    let yaml = format!(
        "name: balancers\nduration: {seconds}s\nnodes: [n1, n2, n3]\nservers:\n  w1: {{ node: n2, protocols: [h1] }}\n  w2: {{ node: n3, \
         protocols: [h1] }}\nclients:\n  c:\n    node: n1\n    url: tcp://w1:80\n    sysctls: {{ net.ipv4.tcp_retries2: 6 }}\n    \
         workload:\n      exec:\n        command: [{python}, -c, {program:?}]\n        output: {{ ok: ^ok, error: ^error }}\nfaults:\n  \
         - {{ at: 10500ms, fault: {{ power_loss: {{ node: n3 }} }} }}\n"
    );
    Some(run(&yaml, clock, &[]))
}

/// When the program was well again by its own words, which servers and the wire are to confirm.
fn recovered(run: &Run) -> Option<Duration> {
    let client = run.client("c");
    let own = client.program.as_ref().and_then(|p| p.said.clone());
    let own = own.expect("its own words");
    assert_eq!(own.agrees, Some(true), "{}", run.table);
    assert!(own.errors > 0, "{}", run.table);
    match (own.recovered_after, client.recovered_after) {
        (Some(own), Some(wire)) => {
            // To one poll.
            assert!(
                own.abs_diff(wire) <= Duration::from_millis(1100),
                "{}",
                run.table
            );
        }
        (own, wire) => assert_eq!(own, wire, "{}", run.table),
    }
    client.recovered_after
}

/// In turn, with a limit that leaves the connection as it is: each second request fails until the kernel gives it up.
const IN_TURN: &str = "
open = {host: dial(host) for host in ('{w1}', '{w2}')}
while True:
  for host in list(open):
    # As one does whose reader waits for what comes.
    if open[host].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
      del open[host]
      continue
    try:
      ask(open[host], 2)
      say('ok')
    except OSError:
      say('error')
    time.sleep(1)
";

#[test]
fn who_asks_the_dead_in_turn_is_not_well_before_it_no_longer_does() {
    let python = needs::python();
    let Some(run) = strike(&python, IN_TURN, 90) else {
        return;
    };
    let again = recovered(&run).expect("well again");
    let given_up = run.client("c").detected_after.expect("given up");
    assert!(given_up > Duration::from_secs(20), "{}", run.table);
    assert!(
        again > given_up && again < given_up + Duration::from_secs(3),
        "{}",
        run.table
    );
    // The case ends before the kernel gives up: all the time one of two requests failed.
    let run = strike(&python, IN_TURN, 30).expect("a clock");
    let last = recovered(&run).map_or(Duration::from_mins(1), |after| after);
    assert!(last > Duration::from_secs(16), "{}", run.table);
    assert_eq!(run.client("c").detected_after, None, "{}", run.table);
}

/// One that asks, and dials on the quiet what it has lost.
const ON_THE_QUIET: &str = "
def redials():
  while True:
    try: dial('{w2}')
    except OSError: time.sleep(1)
first, second = dial('{w1}'), dial('{w2}')
while True:
  try:
    ask(first, 2)
    ask(second or first, 2)
    say('ok')
  except OSError:
    say('error')
    second = None
    threading.Thread(target=redials, daemon=True).start()
  time.sleep(1)
";

#[test]
fn dials_that_nobody_waits_for_hold_no_recovery_back() {
    let python = needs::python();
    let Some(run) = strike(&python, ON_THE_QUIET, 60) else {
        return;
    };
    let again = recovered(&run).expect("well again");
    assert!(again < Duration::from_secs(5), "{}", run.table);
    assert!(run.client("c").dials >= 8, "{}", run.table);
}

/// One that moves to the other server, and says goodbye to the first one later.
const SAYS_GOODBYE: &str = "
def leaves(s):
  time.sleep(12)
  s.sendall(b'goodbye')
  s.close()
s = dial('{w2}')
while True:
  try:
    ask(s, 2)
    say('ok')
  except OSError:
    say('error')
    threading.Thread(target=leaves, args=[s], daemon=True).start()
    s = dial('{w1}')
  time.sleep(1)
";

#[test]
fn a_farewell_to_the_dead_asks_for_nothing() {
    let python = needs::python();
    let Some(run) = strike(&python, SAYS_GOODBYE, 60) else {
        return;
    };
    let again = recovered(&run).expect("well again");
    assert!(again < Duration::from_secs(5), "{}", run.table);
    let given_up = run.client("c").detected_after.expect("given up");
    assert!(given_up > Duration::from_secs(12), "{}", run.table);
}

/// Two that ask, each for itself.
const EACH_FOR_ITSELF: &str = "
def asks(host):
  s = None
  while True:
    try:
      s = s or dial(host)
      ask(s, 2)
      say('ok')
    except OSError:
      say('error')
      s = None
    time.sleep(1)
threading.Thread(target=asks, args=['{w1}'], daemon=True).start()
asks('{w2}')
";

#[test]
fn a_dial_that_a_thread_waits_for_is_an_outage_though_the_other_one_is_well() {
    let python = needs::python();
    let Some(run) = strike(&python, EACH_FOR_ITSELF, 60) else {
        return;
    };
    let again = recovered(&run);
    assert!(
        again.is_none_or(|after| after > Duration::from_secs(40)),
        "{}",
        run.table
    );
}

#[test]
fn a_thread_that_hangs_is_an_outage_wherever_the_case_ends() {
    let python = needs::python();
    let Some(first) = strike(&python, EACH_FOR_ITSELF, 60) else {
        return;
    };
    let runs = [61, 62, 63, 64].map(|seconds| strike(&python, EACH_FOR_ITSELF, seconds));
    for run in runs.into_iter().flatten().chain([first]) {
        assert_eq!(recovered(&run), None, "{}", run.table);
    }
}

#[test]
fn a_thread_that_waits_without_a_limit_is_not_well_before_its_server_is() {
    let python = needs::python();
    let without_limit = EACH_FOR_ITSELF.replace("ask(s, 2)", "ask(s, None)");
    let Some(run) = strike(&python, &without_limit, 90) else {
        return;
    };
    let (client, given_up) = (run.client("c"), run.client("c").detected_after);
    assert!(
        given_up.expect("given up") > Duration::from_secs(20),
        "{}",
        run.table
    );
    // Its next dials meet the same dead server.
    assert_eq!(client.recovered_after, None, "{}", run.table);
    assert!(!run.table.contains("DISAGREE"), "{}", run.table);
}

/// A case in which node n3 dies and nothing of the client leads there; its server on n2 is a program that is `slow`, and its client
/// this program.
fn passed_by(python: &str, slow: &str, program: &str, seconds: u32, beside: &str) -> Option<Run> {
    let clock = virtual_clock()?;
    let server = format!(
        "import http.server, time\nclass H(http.server.BaseHTTPRequestHandler):\n  protocol_version = 'HTTP/1.1'\n  def do_GET(self):\n    \
         time.sleep({slow})\n    self.send_response(200)\n    self.send_header('Content-Length', '2')\n    self.end_headers()\n    \
         self.wfile.write(b'ok')\nhttp.server.ThreadingHTTPServer(('', 80), H).serve_forever()\n"
    );
    let program = format!("{COMMON}{program}");
    let yaml = format!(
        "name: passed-by\nduration: {seconds}s\nnodes: [n1, n2, n3]\nservers:\n  w1: {{ node: n2, port: 80, exec: {{ command: [{python}, -c, \
         {server:?}] }} }}\n  watch: {{ node: n2, protocols: [h1], port: 8080 }}\n  other: {{ node: n3, protocols: [h1] }}\nclients:\n  c:\n    \
         node: n1\n    url: tcp://w1\n    workload:\n      exec:\n        command: [{python}, -c, {program:?}]\n        output: {{ ok: ^ok, \
         error: ^error }}\n{beside}faults:\n  - {{ at: 20500ms, fault: {{ power_loss: {{ node: n3 }} }} }}\nexpect: {{ c: {{ not_affected: true }} }}\n"
    );
    Some(run(&yaml, clock, &[]))
}

#[test]
fn who_is_slow_and_well_is_not_held_up() {
    let python = needs::python();
    let asks = "s = dial('{w1}')\nwhile True:\n  ask(s, 60)\n  say('ok')\n  time.sleep(1)\n";
    // The case's end finds it waiting, or not.
    for (slow, seconds) in [("0.3", 40), ("1.5", 40), ("3", 41), ("3", 42), ("8", 60)] {
        let Some(run) = passed_by(&python, slow, asks, seconds, "") else {
            return;
        };
        assert_eq!(run.code, Some(0), "{slow} s: {}", run.table);
    }
}

#[test]
fn who_only_listens_or_has_nothing_to_ask_is_passed_by() {
    let python = needs::python();
    let watches = "s = socket.create_connection(('{watch}', 8080))\ns.sendall(b'GET /?watch=5s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n\
                   while s.recv(4096): say('ok')\n";
    let once = "s = dial('{w1}')\nask(s, 9)\nsay('ok')\ntime.sleep(25)\nask(s, 9)\nsay('ok')\ntime.sleep(1e6)\n";
    for program in [watches, once] {
        let Some(run) = passed_by(&python, "0", program, 60, "") else {
            return;
        };
        assert_eq!(run.code, Some(0), "{}", run.table);
    }
}

#[test]
fn who_is_deaf_to_its_end_changes_nothing_of_others() {
    let python = needs::python();
    let program = "s = dial('{w1}')\nwhile True:\n  ask(s, 60)\n  say('ok')\n  time.sleep(1)\n";
    let deaf = "  deaf:\n    node: n1\n    url: tcp://w1\n    workload: { exec: { command: [sh, -c, \"trap '' TERM; sleep 1000 & wait; \
                sleep 1000\"], stop_grace_period: 10s } }\n";
    let told = |beside: &str| {
        let run = passed_by(&python, "0.1", program, 40, beside)?;
        assert_eq!(run.code, Some(0), "{}", run.table);
        let client = run.client("c");
        let said = client.program.as_ref().and_then(|own| own.said.clone());
        Some((
            said,
            client.recovered_after,
            client.longest_without_response,
        ))
    };
    assert_eq!(told(""), told(deaf));
}
