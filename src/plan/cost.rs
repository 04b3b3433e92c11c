//! What a case costs: the time that one processor is busy with it on the virtual clock, where waiting costs nothing.
//!
//! A guess from the plan alone, the same on every machine. It divides a run among machines and says how much of it is left;
//! nobody judges by it. The numbers are processor times (user and system, the guest's included) of the cases of
//! scenarios/incidents, servers, libraries and scoreboard, one after the other, on Linux 7.3.4 in a guest and 2 processors of
//! 2.8 GHz, on 1 December 2026. Other machines need more or less, of everything alike.

use std::time::Duration;

use super::{Case, Exec, LabPlan, Work, Workload};

/// A case by itself: a guest's boot and end, the record's judging. (incidents/a4-httptest-h1 has little else: 0.17 s.)
const CASE: Duration = Duration::from_millis(110);

/// Each node and pod: a namespace, its link, its sysctls. (incidents/b1-kubelet-h2 has 5: 0.19 s.)
const PLACE: Duration = Duration::from_millis(10);

/// Each request or part of a stream, with its packets, watched on every link that it passes. (incidents/a1-mitigations has
/// 3,300 in 2.3 s.)
const REQUEST: Duration = Duration::from_micros(500);

/// No workload does more than so many things a second: each waits for its answer.
const PACE: Duration = Duration::from_millis(5);

/// No program is over sooner.
const SHORTEST_RUN: Duration = Duration::from_millis(20);

/// A kind of program, by its name.
struct Kind {
    /// Names that it goes by, without a version at their end.
    names: &'static [&'static str],
    /// Its start.
    start: Duration,
    /// Each start after the first, of one that ends with its work.
    again: Duration,
    /// Each minute that it runs, with its timers and what it is asked.
    minute: Duration,
}

/// The first that fits counts.
const KINDS: [Kind; 7] = [
    // Its members beat ten times a second. (servers/etcd, three members: 4.4 to 7.2 s for 100 s.)
    kind(&["etcd"], 300, 1000),
    // Each asks all others once a second, and Redis below looks ten times. (servers/redis-sentinel, 5 programs: 5.7 s for 120 s.)
    kind(&["redis-sentinel"], 100, 500),
    // (servers/postgresql, two of them: 5.7 and 15.1 s for 1,200 s.)
    kind(&["postgres", "pg_ctl"], 1200, 200),
    // (servers/nats, three: 5.2 and 6.6 s for 600 s.)
    kind(&["nats-server"], 100, 160),
    // (scoreboard/redis, two and a client in Go: 3.6 s for 1,200 s.)
    kind(&["redis-server"], 100, 75),
    // Virtual machines of Java wake up 20 times a second. (scoreboard/idle, java: 2.9 s, okhttp: 2.2 s, for 1,400 s;
    // scoreboard/grpc, grpc-java: 5.5 s, lettuce beside Redis: 10.1 s, for 1,200 s.)
    slow(
        &[
            "java",
            "halfopen-poll-java",
            "halfopen-poll-okhttp",
            "halfopen-poll-grpc-java",
            "halfopen-poll-lettuce",
            "halfopen-poll-jdbc",
        ],
        2200,
        60,
    ),
    // Interpreters start slowly. (scoreboard/idle, Python: 0.8 to 1.2 s, Node: 1.1 to 1.5 s, for 1,400 s.)
    slow(
        &[
            "python",
            "node",
            "halfopen-poll-requests",
            "halfopen-poll-urllib",
            "halfopen-poll-httpx",
            "halfopen-poll-aiohttp",
            "halfopen-poll-grpcio",
            "halfopen-poll-pika",
            "halfopen-poll-psycopg",
            "halfopen-poll-node-fetch",
            "halfopen-poll-node-agent",
            "halfopen-poll-node-http",
            "halfopen-poll-ioredis",
            "halfopen-poll-grpc-js",
        ],
        800,
        10,
    ),
];

/// Everything else: programs that are compiled. (scoreboard/idle, Go, Rust and curl: 0.35 to 0.67 s for 1,400 s.)
const OTHER: Kind = kind(&[], 200, 12);

/// Another start of a program that is in memory already. (servers/redis and postgresql, whose clients are commands that are called
/// every second: 2 and 4 ms each.)
const AGAIN: Duration = Duration::from_millis(3);

const fn kind(names: &'static [&'static str], start_ms: u64, minute_ms: u64) -> Kind {
    Kind {
        names,
        start: Duration::from_millis(start_ms),
        again: AGAIN,
        minute: Duration::from_millis(minute_ms),
    }
}

/// One whose every start is as slow as its first.
const fn slow(names: &'static [&'static str], start_ms: u64, minute_ms: u64) -> Kind {
    Kind {
        again: Duration::from_millis(start_ms),
        ..kind(names, start_ms, minute_ms)
    }
}

/// Processor time of a case on the virtual clock.
#[must_use]
pub fn cost(case: &Case) -> Duration {
    let lab = &case.lab;
    let places = count(lab.nodes.len() + lab.pods.len());
    let programs = lab.programs().map(|(_, exec)| of_program(exec, lab));
    let works = lab
        .clients
        .iter()
        .flat_map(|client| client.workloads.iter());
    let requests = works.map(|work| REQUEST.saturating_mul(done(work, lab.duration)));
    let own = CASE + PLACE.saturating_mul(places);
    programs.chain(requests).fold(own, Duration::saturating_add)
}

/// What a program costs that runs through a case.
fn of_program(exec: &Exec, lab: &LabPlan) -> Duration {
    let own = names(exec);
    let fits = |kind: &&Kind| own.iter().any(|name| kind.names.contains(name));
    let kind = KINDS.iter().find(fits).unwrap_or(&OTHER);
    let again = match exec.every {
        Some(every) => times(lab.duration, every.max(SHORTEST_RUN)).saturating_sub(1),
        None => 0,
    };
    let minutes = kind.minute.mul_f64(lab.duration.as_secs_f64() / 60.0);
    let again = kind.again.saturating_mul(again);
    kind.start.saturating_add(again).saturating_add(minutes)
}

/// What a program may be called: the end of its path, without a version; of a shell every word that it reads.
fn names(exec: &Exec) -> Vec<&str> {
    let version = |c: char| c.is_ascii_digit() || c == '.';
    let first = exec.command.first().map(|word| file_name(word));
    let words: Vec<&str> = match first {
        Some("sh" | "bash") => {
            let all = exec.command.iter().flat_map(|word| word.split_whitespace());
            all.map(file_name).collect()
        }
        first => first.into_iter().collect(),
    };
    words
        .iter()
        .map(|word| word.trim_end_matches(version))
        .collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// How often a workload does something in a case, if nothing keeps it waiting.
fn done(work: &Work, duration: Duration) -> u32 {
    let pauses = match &work.kind {
        Workload::Exec(_) => return 0,
        Workload::Heartbeat { every, lease, .. } => {
            let renewals = lease.map(|lease| lease / super::LEASE_SHARE);
            [Some(*every), renewals]
        }
        Workload::Watch { push, .. } => [Some(push.unwrap_or(duration)), None],
        Workload::Poll { every }
        | Workload::LeaderElection { every, .. }
        | Workload::Resync { every, .. }
        | Workload::Download { every, .. }
        | Workload::Messages { every, .. } => {
            [Some(work.kind.part_every().unwrap_or(*every)), None]
        }
    };
    let each = pauses.into_iter().flatten();
    each.map(|pause| times(duration, pause.max(PACE)))
        .fold(0, u32::saturating_add)
}

fn times(duration: Duration, pause: Duration) -> u32 {
    let times = duration.as_nanos() / pause.as_nanos().max(1);
    u32::try_from(times).unwrap_or(u32::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{PlanOptions, parse};

    /// What a case with this client costs, in seconds.
    fn of(client: &str, duration: &str) -> f64 {
        let text = format!(
            "name: t\nduration: {duration}\nnodes: [n1, n2]\nservers: {{ s: {{ node: n2 }} }}\n\
             faults: [{{ at: 1s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n\
             clients: {{ c: {{ node: n1, url: 'http://s/', {client} }} }}\n"
        );
        let cases = parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario");
        cost(&cases[0]).as_secs_f64()
    }

    fn program(command: &str, duration: &str) -> f64 {
        of(
            &format!("workload: {{ exec: {{ command: {command} }} }}"),
            duration,
        )
    }

    #[test]
    fn more_work_costs_more_and_waiting_nothing() {
        let poll = |every: &str, duration: &str| {
            let workload = format!("profile: bare, workload: {{ poll: {{ every: {every} }} }}");
            of(&workload, duration)
        };
        assert!(poll("1s", "1000s") > 2.0 * poll("10s", "1000s"));
        assert_eq!(poll("10s", "1000s"), poll("100s", "10000s"));
    }

    #[test]
    fn a_program_costs_what_its_kind_costs() {
        let go = program("[halfopen-poll-go-http, '{url}']", "600s");
        let java = program("[/usr/bin/java, -jar, x.jar]", "600s");
        assert!(java > 5.0 * go, "{java} {go}");
        for (command, same) in [
            ("[python3.11, x.py]", "[python3, x.py]"),
            ("[sh, -c, 'exec /opt/bin/java -jar x.jar']", "[java]"),
            ("[own, --node, node1, java]", "[own]"),
        ] {
            assert_eq!(program(command, "600s"), program(same, "600s"), "{command}");
        }
    }
}
