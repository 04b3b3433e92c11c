//! What programs find and say: folders, files, input, ports, restarts, and their own words as a second witness.

use std::time::Duration;

use halfopen::record::Observation;
use halfopen::result::{SaidResult, Verdict};

use crate::needs;
use crate::shared::{Clock, Run, clocks, run, virtual_clock};

/// A built-in server, and a client with these fields of `exec`.
fn scenario(exec: &str, faults: &str, expect: &str) -> String {
    format!(
        "name: rooms\nduration: 40s\nnodes: [n1, n2]\nservers:\n  web: {{ node: n2, protocols: [h1] }}\nclients:\n  c:\n    node: n1\n    \
         url: 'http://web/'\n    workload:\n      exec:\n{exec}\nfaults: [{faults}]\nexpect: {{ c: {{ {expect} }} }}\n"
    )
}

/// One that strikes when all is over.
const LATE: &str = "{ at: 39s, fault: { link_down: { node: n2 } } }";

/// When each run of the client's program began.
fn starts(run: &Run) -> Vec<u64> {
    let all = run.records.iter().flatten();
    let starts = all.filter(|event| matches!(event.what, Observation::ProgramStarted { .. }));
    starts
        .map(|event| Duration::from_nanos(event.t_ns).as_secs())
        .collect()
}

fn said(run: &Run) -> SaidResult {
    let program = run.client("c").program.as_ref().expect("a program");
    program.said.clone().expect("its own words")
}

#[test]
fn a_program_finds_its_files_its_folder_and_its_input() {
    let exec = "        command: [sh, '{files}/conf/a.sh']\n        cwd: /var/tmp\n        stdin: 'one line for {host}'\n        files:\n          \
                conf/a.sh: |\n            pwd; cat; echo; cat {files}/b; touch {files}/b || echo read-only\n          b: 'the server is {web}'";
    for clock in clocks() {
        let yaml =
            scenario(exec, &LATE.replace("39s", "1s"), "").replace("duration: 40s", "duration: 2s");
        let output = run(&yaml, clock, &[]).output();
        let told: Vec<_> = output
            .lines()
            .filter(|line| !line.starts_with("touch"))
            .collect();
        assert_eq!(
            told,
            [
                "/var/tmp",
                "one line for web",
                "the server is 192.168.2.2read-only"
            ],
            "{clock:?}"
        );
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let Some(clock) = virtual_clock() else { return };
    let exec = "        command: [sh, -c, pwd]\n        cwd: /no/such/folder";
    let run = run(&scenario(exec, LATE, ""), clock, &[]);
    assert_eq!(run.case().verdict, Verdict::Error);
    let why = "there is no folder /no/such/folder to start the program `sh` in";
    assert!(run.table.contains(why), "{}", run.table);
}

#[test]
fn it_is_started_again_as_the_kubelet_does_it() {
    let Some(clock) = virtual_clock() else { return };
    let fails = |more: &str| {
        let exec = format!("        command: [sh, -c, 'sleep 1; exit 3']\n{more}");
        scenario(&exec, LATE, "")
    };
    // At once, then after 2, 4, 8 and 8 s; each run lasts a second.
    let restart = "        restart: on_failure\n        backoff: { first: 2s, most: 8s }";
    let started = starts(&run(&fails(restart), clock, &[]));
    assert_eq!(started, [0, 1, 4, 9, 18, 27, 36]);
    assert_eq!(starts(&run(&fails(""), clock, &[])), [0]);
    let well = fails(restart).replace("exit 3", "exit 0");
    assert_eq!(starts(&run(&well, clock, &[])), [0], "it did not fail");
    let always = well.replace("on_failure", "always");
    assert_eq!(starts(&run(&always, clock, &[])).len(), 7);
}

/// Asks once a second, waits for 3 s at most, and says what came of it in these two lines.
fn asks(python: &str, [fine, bad]: [&str; 2]) -> String {
    let program = format!(
        "import time, urllib.request\nwhile True:\n  try:\n    urllib.request.urlopen('{{url}}', timeout=3).read()\n    \
         print({fine:?}, flush=True)\n  except Exception as e:\n    print({bad:?}, flush=True)\n  time.sleep(1)\n"
    );
    format!("        command: [{python}, -c, {program:?}]")
}

const POWER: &str = "{ at: 10500ms, for: 8s, fault: { power_loss: { node: n2 } } }";

#[test]
fn its_own_words_are_a_second_witness() {
    let python = needs::python();
    let Some(clock) = virtual_clock() else { return };
    let exec = |words: &str| {
        format!(
            "{}\n        output: {words}",
            asks(&python, ["fine", "bad"])
        )
    };
    let words = "{ ok: ^fine, error: ^bad }";
    let seen = run(
        &scenario(&exec(words), POWER, "recovered: { within: 15s }"),
        clock,
        &[],
    );
    let (own, wire) = (said(&seen), seen.client("c").recovered_after);
    assert_eq!(own.agrees, Some(true), "{}", seen.table);
    assert!(own.ok > 15 && own.errors > 1, "{own:?}");
    let apart = own
        .recovered_after
        .zip(wire)
        .map(|(own, wire)| own.abs_diff(wire));
    assert!(
        apart.expect("both recovered") < Duration::from_millis(20),
        "{}",
        seen.table
    );
    assert!(
        seen.table.contains("so say servers and the wire"),
        "{}",
        seen.table
    );
    // One that calls an error fine, and is never silent for long, says that nothing happened.
    let exec = |words: &str| exec(words).replace("timeout=3", "timeout=0.5");
    let liar = run(
        &scenario(
            &exec("{ ok: '^fine|^bad' }"),
            POWER,
            "recovered: { within: 15s }",
        ),
        clock,
        &[],
    );
    let own = said(&liar);
    assert_eq!((own.errors, own.agrees), (0, Some(false)), "{}", liar.table);
    assert!(
        liar.table
            .contains("servers and the wire DISAGREE: it recovered"),
        "{}",
        liar.table
    );
}

#[test]
fn who_is_rarely_silent_but_had_no_answer_is_not_believed() {
    let python = needs::python();
    let Some(clock) = virtual_clock() else { return };
    // After each try of 3 s it says that all is well.
    let exec = format!(
        "{}\n        output: {{ ok: '^fine|^bad' }}",
        asks(&python, ["fine", "bad"])
    );
    let fault = POWER.replace("8s", "18s");
    let seen = run(
        &scenario(&exec, &fault, "recovered: { within: 25s }"),
        clock,
        &[],
    );
    assert_eq!(said(&seen).agrees, Some(false), "{}", seen.table);
    let deaf = run(
        &scenario(
            &exec.replace("^fine|^bad", "^never$"),
            &fault,
            "recovered: { within: 25s }",
        ),
        clock,
        &[],
    );
    assert_eq!(said(&deaf).agrees, None, "{}", deaf.table);
    assert!(
        deaf.table.contains("says nothing: no line"),
        "{}",
        deaf.table
    );
}

#[test]
fn json_lines_say_the_same() {
    let python = needs::python();
    let Some(clock) = virtual_clock() else { return };
    let asks = asks(&python, [r#"{"ok": true}"#, r#"{"error": "lost"}"#]);
    let yaml = scenario(
        &format!("{asks}\n        output: {{ json: true }}"),
        POWER,
        "",
    );
    let seen = run(&yaml, clock, &[]);
    let own = said(&seen);
    assert!(own.ok > 15 && own.errors > 1, "{own:?} {}", seen.output());
    assert_eq!(own.agrees, Some(true), "{}", seen.table);
}

#[test]
fn its_exit_code_can_be_expected() {
    let Some(clock) = virtual_clock() else { return };
    let python = needs::python();
    let fault = POWER.replace(", for: 8s", "");
    let of = |program: &str, code: u32| {
        let exec = format!("        command: [{python}, -c, {program:?}]");
        let expect = format!("exit_code: {{ exactly: {code} }}");
        let run = run(&scenario(&exec, &fault, &expect), clock, &[]);
        (run.case().verdict, run.table.clone())
    };
    let asks = "import time, urllib.request\nwhile True:\n  urllib.request.urlopen('{url}', timeout=3).read(); time.sleep(1)";
    let (verdict, table) = of(asks, 1);
    assert_eq!(
        verdict,
        Verdict::Pass,
        "an exception that nobody handles: {table}"
    );
    assert_eq!(of(asks, 0).0, Verdict::Fail);
    let by_signal = format!(
        "import os, signal\ntry:\n  {}\nexcept Exception: os.kill(os.getpid(), signal.SIGTERM)",
        asks.replace('\n', "\n  ")
    );
    let (verdict, table) = of(&by_signal, 143);
    assert_eq!(verdict, Verdict::Pass, "{table}");
    let stays = asks.replace("  urllib", "  try: urllib").replace(
        "; time.sleep(1)",
        "\n  except Exception: pass\n  time.sleep(1)",
    );
    let (verdict, table) = of(&stays, 0);
    assert_eq!(verdict, Verdict::Fail, "{table}");
    assert!(table.contains("its program had not ended"), "{table}");
}

/// A server that answers ten requests and fails.
fn tires(python: &str) -> String {
    let program = "import http.server, os, sys\nleft = [10]\nclass H(http.server.BaseHTTPRequestHandler):\n  protocol_version = 'HTTP/1.1'\n  \
                   def do_GET(self):\n    left[0] -= 1\n    if left[0] < 0: os._exit(7)\n    self.send_response(200); self.send_header('content-length', '0'); self.end_headers()\n\
                   http.server.HTTPServer(('', int(sys.argv[1])), H).serve_forever()\n";
    format!(
        "{{ command: [{python}, -c, {program:?}, '{{port}}'], restart: on_failure, backoff: {{ first: 3s, most: 6s }} }}"
    )
}

#[test]
fn a_server_that_fails_is_started_again_and_listens_below_1024() {
    let python = needs::python();
    for clock in clocks() {
        let yaml = format!(
            "name: rooms\nduration: 40s\nnodes: [n1, n2]\nservers:\n  web: {{ node: n2, port: 80, exec: {} }}\nclients:\n  c: {{ node: n1, url: 'http://web/', \
             profile: bare, transport: {{ dial_timeout: 1s }}, workload: {{ poll: {{ every: 1s }} }} }}\nfaults: [{LATE}]\n",
            tires(&python)
        );
        let run = run(&yaml, clock, &[]);
        let all = run.records.iter().flatten();
        let of = |wanted: fn(&Observation) -> bool| {
            all.clone().filter(|event| wanted(&event.what)).count()
        };
        let exits = of(|what| matches!(what, Observation::ServerExited { code: Some(7), .. }));
        let ready = of(|what| matches!(what, Observation::ServerReady { .. }));
        assert!(
            exits >= 2 && ready == exits + 1 || ready == exits,
            "{clock:?}: {exits} {ready} {}",
            run.table
        );
        assert!(
            run.table
                .contains("exited with 7 by itself, and is started again"),
            "{}",
            run.table
        );
    }
}

#[test]
fn another_user_may_be_asked_for() {
    let Some(clock) = virtual_clock() else { return };
    let exec = "        command: [id, -u]\n        user: 1234";
    let told = run(&scenario(exec, LATE, ""), clock, &[]).output();
    assert_eq!(told.trim(), "1234");
}

#[test]
fn it_is_told_that_the_case_is_over() {
    let python = needs::python();
    // Each with what is expected of its exit code; the last of them waits between two runs.
    let polite = format!(
        "        command: [{python}, -c, {:?}]\n        stop_signal: INT",
        "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: (print('good', 'bye'), sys.exit(7)))\ntime.sleep(1e6)"
    );
    let deaf = "        command: [sh, -c, \"trap '' TERM; sleep 1000 & wait; sleep 1000\"]\n        stop_grace_period: 2s";
    let between =
        "        command: [sh, -c, 'exit 4']\n        every: 20s\n        stop_signal: SIGTERM";
    let killed = "        command: [sh, -c, \"trap 'echo heard' TERM; sleep 1000\"]";
    for clock in clocks() {
        let ended = |exec: &str, code: &str| {
            let expect = format!("exit_code: {{ {code} }}");
            let yaml = scenario(exec, &LATE.replace("39s", "1s"), &expect);
            let run = run(&yaml.replace("duration: 40s", "duration: 3s"), clock, &[]);
            assert_eq!(run.case().expectations.len(), 1, "{}", run.table);
            run
        };
        let run = ended(&polite, "exactly: 7");
        assert!(
            run.output().contains("good bye"),
            "{clock:?}: {}",
            run.table
        );
        let run = ended(deaf, "exactly: 137");
        let told =
            "c did not end within 2s of its stop signal (signal 15 (SIGTERM)), and was killed";
        assert!(run.table.contains(told), "{clock:?}: {}", run.table);
        let run = ended(between, "exactly: 4");
        assert!(
            !run.table.contains("did not end"),
            "{clock:?}: {}",
            run.table
        );
        // Without a word of it it is killed.
        let run = ended(killed, "exactly: 0");
        assert!(!run.output().contains("heard"), "{clock:?}: {}", run.table);
    }
}

#[test]
fn a_stop_signal_touches_nothing_that_was_measured() {
    let python = needs::python();
    let Some(clock) = virtual_clock() else { return };
    // Its connection is dead when the case ends, and closed by its end.
    let asks = asks(&python, ["fine", "bad"]).replace(", timeout=3", "");
    let fault = "{ at: 10500ms, fault: { power_loss: { node: n2 } } }";
    let told = run(
        &scenario(&format!("{asks}\n        stop_signal: TERM"), fault, ""),
        clock,
        &[],
    );
    let killed = run(&scenario(&asks, fault, ""), clock, &[]);
    let figures = |run: &Run| {
        let client = run.client("c");
        (
            client.detected_after,
            client.recovered_after,
            client.cause,
            client.dials,
        )
    };
    assert_eq!(figures(&told), figures(&killed), "{}", told.table);
    assert_eq!(figures(&told).0, None, "{}", told.table);
}

/// What the client's program writes within two seconds.
fn output_of(exec: &str, clock: Clock) -> String {
    let yaml = scenario(exec, &LATE.replace("39s", "1s"), "");
    run(&yaml.replace("duration: 40s", "duration: 2s"), clock, &[]).output()
}

#[test]
fn a_terminal_is_one_and_adds_nothing() {
    let python = needs::python();
    // Without it what is written to a pipe would wait for its end, which never comes.
    let program = "import sys, time\nprint(sys.stdout.isatty(), sys.stderr.isatty())\nprint('to stderr', file=sys.stderr)\ntime.sleep(1e6)";
    let exec = format!("        command: [{python}, -c, {program:?}]");
    for clock in clocks() {
        let output = |more: &str| output_of(&format!("{exec}{more}"), clock);
        assert_eq!(
            output("\n        tty: true"),
            "True True\nto stderr\n",
            "{clock:?}"
        );
        assert_eq!(output(""), "to stderr\n", "{clock:?}");
    }
}

#[test]
fn it_has_the_room_that_it_asks_for() {
    let python = needs::python();
    let program = "import os\nfor name in '/tmp', '/dev/shm':\n  s = os.statvfs(name)\n  print(s.f_blocks * s.f_frsize >> 20)";
    let exec = format!("        command: [{python}, -c, {program:?}]");
    for clock in clocks() {
        let output = |more: &str| output_of(&format!("{exec}{more}"), clock);
        assert_eq!(output(""), "64\n64\n", "{clock:?}");
        assert_eq!(output("\n        tmpfs: 300MiB"), "300\n300\n", "{clock:?}");
    }
}

#[test]
fn memory_that_it_asks_for_is_there_and_no_more() {
    let python = needs::python();
    let exec = |mebibytes: u32, more: &str| {
        let program = format!(
            "import time\nx = b'x' * ({mebibytes} << 20)\nprint('has it', flush=True)\ntime.sleep(1e6)"
        );
        let exec = format!("        command: [{python}, -c, {program:?}]\n{more}");
        scenario(&exec, &LATE.replace("39s", "1s"), "").replace("duration: 40s", "duration: 3s")
    };
    // More than a guest has for all its programs otherwise.
    if let Some(clock) = virtual_clock() {
        let run = run(&exec(900, "        memory: 1200MiB"), clock, &[]);
        assert_eq!(run.output(), "has it\n", "{}", run.table);
    }
    let run = run(&exec(300, "        memory: 100MiB"), Clock::Real, &[]);
    assert!(
        run.table
            .contains("MiB of memory, and a program may have 100 MiB"),
        "{}",
        run.table
    );
}
