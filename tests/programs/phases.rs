//! Faults that wait for what a program is doing: they strike in that phase and in no other, by the packets that follow.

use std::time::Duration;

use halfopen::plan::Phase;
use halfopen::record::{Observation, Segment};
use halfopen::result::Verdict;

use crate::needs;
use crate::shared::{Run, clocks, run, virtual_clock};

/// Asks once every 2 s on one connection, and opens another when that fails.
const PROGRAM: &str = "import http.client, sys, time\nc = None\nwhile True:\n  try:\n    c = c or http.client.HTTPConnection(sys.argv[1], 80, timeout=5)\n    \
                       c.request('GET', '/'); c.getresponse().read(); print('fine', flush=True)\n  except Exception as e:\n    print('bad', e, flush=True); c = None\n  time.sleep(2)\n";

/// A server that is built in or a program, which takes a third of a second for an answer.
fn scenario(built_in: bool, start: &str, phase: &str, after: &str) -> String {
    let python = needs::python();
    let serves = "import http.server, sys, time\nclass H(http.server.BaseHTTPRequestHandler):\n  protocol_version = 'HTTP/1.1'\n  def do_GET(self):\n    \
                  time.sleep(0.3); self.send_response(200); self.send_header('content-length', '0'); self.end_headers()\n\
                  http.server.ThreadingHTTPServer(('', int(sys.argv[1])), H).serve_forever()\n";
    let server = match built_in {
        true => String::from("protocols: [h1], response_delay: 300ms"),
        false => format!("port: 80, exec: {{ command: [{python}, -c, {serves:?}, '{{port}}'] }}"),
    };
    format!(
        "name: phases\nduration: 30s\nnodes: [n1, n2]\nservers:\n  web: {{ node: n2, {server} }}\nclients:\n  c:\n    node: n1\n    start: {start}\n    \
         url: 'http://web/'\n    workload: {{ exec: {{ command: [{python}, -c, {PROGRAM:?}, web], output: {{ ok: ^fine, error: ^bad }} }} }}\n\
         faults: [{{ when: {{ client: c, phase: {phase}, after: {after} }}, for: 8s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n"
    )
}

/// When the fault struck, and what was recorded of the client's phase.
fn struck(run: &Run) -> (Duration, Option<Phase>) {
    assert_eq!(run.case().verdict, Verdict::Measured, "{}", run.table);
    let at = run.case().faults[0].at.expect("it struck");
    let own = run.client("c");
    let said = own
        .program
        .as_ref()
        .and_then(|program| program.said.as_ref());
    assert_eq!(
        said.and_then(|said| said.agrees),
        Some(true),
        "{}",
        run.table
    );
    (at, own.phase)
}

/// When its own limit ended the connection, in seconds.
fn detected(run: &Run) -> f64 {
    let detected = run.client("c").detected_after;
    detected.expect("its own limit").as_secs_f64()
}

/// What the client sent again within so long after `from`: with payload, and SYNs.
fn again(run: &Run, from: Duration, within: Duration) -> (usize, usize) {
    let all = run.records.iter().flatten();
    let sent = all.filter_map(|event| match &event.what {
        Observation::Segment(segment @ Segment { node, .. }) if node == "c" => Some(segment),
        _ => None,
    });
    let sent = sent.filter(|segment| {
        let at = Duration::from_nanos(segment.stamp_ns);
        segment.retransmission > 0 && at > from && at < from + within
    });
    let (syns, data): (Vec<_>, Vec<_>) = sent.partition(|segment| segment.flags.contains('S'));
    (data.len(), syns.len())
}

#[test]
fn a_request_that_nobody_acknowledged_is_sent_again() {
    for clock in clocks() {
        let run = run(
            &scenario(true, "0s", "request_unacknowledged", "5s"),
            clock,
            &[],
        );
        let (at, phase) = struck(&run);
        assert_eq!(phase, Some(Phase::RequestUnacknowledged), "{}", run.table);
        assert!(
            again(&run, at, Duration::from_secs(4)).0 >= 2,
            "{}",
            run.table
        );
        // A request every 2.3 s: the first one after 5 s.
        assert!((5.0..7.5).contains(&at.as_secs_f64()), "{clock:?}: {at:?}");
    }
}

#[test]
fn an_acknowledged_request_waits_and_nothing_is_sent_again() {
    let Some(clock) = virtual_clock() else { return };
    for built_in in [true, false] {
        let yaml = scenario(built_in, "0s", "waiting_for_response", "5s");
        let run = run(&yaml, clock, &[]);
        let (at, phase) = struck(&run);
        assert_eq!(phase, Some(Phase::WaitingForResponse), "{}", run.table);
        let detected = detected(&run);
        let until = Duration::from_secs_f64(detected);
        assert_eq!(again(&run, at, until), (0, 0), "{}", run.table);
        // Its limit of 5 s counts from the request: what was left of it is not that of an idle one.
        assert!((4.5..5.0).contains(&detected), "{}", run.table);
    }
}

/// A server that is a program, with what it does for a request.
fn serves(does: &str) -> String {
    let program = format!(
        "import socket, sys, time, threading\ns = socket.create_server(('', 80))\ndef serve(c):\n  while c.recv(9999):\n    {does}\n\
         while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()\n"
    );
    let python = needs::python();
    let asks = "import socket, sys, time\nc = None\nwhile True:\n  try:\n    c = c or socket.create_connection((sys.argv[1], 80), 5)\n    c.sendall(b'x')\n    \
                while not c.recv(99999).endswith(b'.'): pass\n    print('fine', flush=True)\n  except Exception as e:\n    print('bad', e, flush=True); c = None\n  time.sleep(2)\n";
    format!(
        "name: phases\nduration: 30s\nnodes: [n1, n2]\nservers:\n  web: {{ node: n2, port: 80, exec: {{ command: [{python}, -c, {program:?}] }} }}\nclients:\n  c:\n    \
         node: n1\n    url: 'tcp://web'\n    workload: {{ exec: {{ command: [{python}, -c, {asks:?}, web], output: {{ ok: ^fine, error: ^bad }} }} }}\n\
         faults: [{{ when: {{ client: c, phase: PHASE, after: 5s }}, for: 8s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n"
    )
}

#[test]
fn an_answer_that_comes_at_once_leaves_its_acknowledgement_alone() {
    let Some(clock) = virtual_clock() else { return };
    let yaml = serves("c.sendall(b'.')").replace("PHASE", "waiting_for_response");
    let run = run(&yaml, clock, &[]);
    let (at, phase) = struck(&run);
    assert_eq!(phase, Some(Phase::WaitingForResponse), "{}", run.table);
    let all = run.records.iter().flatten();
    let withheld = all.filter(|e| matches!(e.what, Observation::PayloadWithheld { .. }));
    assert_eq!(withheld.count(), 1);
    assert_eq!(
        again(&run, at, Duration::from_secs(4)),
        (0, 0),
        "{}",
        run.table
    );
    // It waits for its own 5 s, from the request on.
    let detected = detected(&run);
    assert!((4.9..5.0).contains(&detected), "{}", run.table);
}

#[test]
fn a_slow_answer_is_waited_for_from_its_acknowledgement_on() {
    let Some(clock) = virtual_clock() else { return };
    let yaml = serves("time.sleep(1.5); c.sendall(b'.')").replace("PHASE", "waiting_for_response");
    // 3.5 s a turn: requests at 3.5 and 7 s, so that at 5.5 s it pauses.
    let run = run(&yaml.replace("after: 5s", "after: 5500ms"), clock, &[]);
    let (at, _) = struck(&run);
    // The delayed acknowledgement (40 ms) of the request at 7 s, and not the answer at 8.5 s.
    assert!((7.0..7.1).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn an_answer_in_many_packets_ends_in_a_pause() {
    let Some(clock) = virtual_clock() else { return };
    for does in [
        "c.sendall(b'x' * 3000000 + b'.')",
        "[(c.sendall(b'x'), time.sleep(0.02)) for n in range(50)]; c.sendall(b'.')",
    ] {
        let run = run(&serves(does).replace("PHASE", "idle"), clock, &[]);
        let (at, phase) = struck(&run);
        assert_eq!(phase, Some(Phase::Idle), "{}", run.table);
        assert_eq!(
            again(&run, at, Duration::from_millis(900)),
            (0, 0),
            "{}",
            run.table
        );
        let detected = detected(&run);
        assert!((5.0..7.0).contains(&detected), "{}", run.table);
    }
}

#[test]
fn who_only_pauses_does_not_stream() {
    let Some(clock) = virtual_clock() else { return };
    let streams = "[(c.sendall(b'x'), time.sleep(0.02)) for n in range(50)]; c.sendall(b'.')";
    // A second of answer and two of pause: it pauses at 5 s, and streams from 6 s on.
    let run = run(&serves(streams).replace("PHASE", "streaming"), clock, &[]);
    let (at, phase) = struck(&run);
    assert_eq!(phase, Some(Phase::Streaming), "{}", run.table);
    assert!((6.0..6.2).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn an_idle_one_notices_with_its_next_request() {
    let Some(clock) = virtual_clock() else { return };
    for built_in in [true, false] {
        let run = run(&scenario(built_in, "0s", "idle", "5s"), clock, &[]);
        let (at, phase) = struck(&run);
        assert_eq!(phase, Some(Phase::Idle), "{}", run.table);
        assert_eq!(again(&run, at, Duration::from_millis(1500)), (0, 0));
        // The rest of the pause, and its limit.
        let detected = detected(&run);
        assert!((5.0..7.0).contains(&detected), "{}", run.table);
    }
}

#[test]
fn a_dial_is_met_by_its_first_syn() {
    let Some(clock) = virtual_clock() else { return };
    let run = run(&scenario(true, "3s", "connecting", "1s"), clock, &[]);
    let (at, phase) = struck(&run);
    assert_eq!(phase, Some(Phase::Connecting), "{}", run.table);
    assert!((3.0..3.5).contains(&at.as_secs_f64()), "{at:?}");
    let (data, syns) = again(&run, at, Duration::from_secs(4));
    assert_eq!((data, syns >= 2), (0, true), "{}", run.table);
}

#[test]
fn a_phase_that_never_comes_is_told() {
    let Some(clock) = virtual_clock() else { return };
    // It keeps its connection.
    let run = run(&scenario(true, "0s", "connecting", "5s"), clock, &[]);
    assert_eq!(run.case().verdict, Verdict::Error);
    let why = "power_loss of n2 never came into force";
    assert!(run.table.contains(why), "{}", run.table);
}
