//! What scenarios/scoreboard, scenarios/servers and the scenario of client-go's leader election show, and that each program says
//! the same.

use std::path::Path;

use halfopen::plan::Cause;
use halfopen::record::Observation;
use halfopen::verdict::CaseResult;

use crate::needs;
use crate::shared::{Run, repository, run_file, virtual_clock};

/// Runs the cases of a scenario whose names hold `filter`, if the programs that are named are there.
fn run(scenario: &str, filter: &str, programs: &[&str]) -> Option<Run> {
    let clock = virtual_clock()?;
    let clients = repository().join("target/clients");
    let path = std::env::var("PATH").unwrap_or_default();
    let there = |program: &&&str| {
        let mut folders = std::env::split_paths(&path);
        clients.join(program).is_file() || folders.any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !there(program)).collect();
    if !missing.is_empty() {
        needs::skipped(format_args!(
            "{missing:?} are not here: `ci/clients` and Debian's packages haproxy, nginx, redis-sentinel and redis-server have them"
        ));
        return None;
    }
    let file = repository().join(Path::new("scenarios").join(scenario));
    let folder = tempfile::tempdir().expect("a folder");
    let mut arguments = vec!["--standstill", "300"];
    if !filter.is_empty() {
        arguments.extend(["--filter", filter]);
    }
    let run = run_file(&file, clock, &arguments, &folder);
    assert_eq!(run.code, Some(0), "{}\n{}", run.table, run.errors);
    Some(run)
}

/// Each case's name, cause and recovery in seconds; both witnesses say the same of all.
fn figures(run: &Run, client: &str) -> Vec<(String, Option<Cause>, f64)> {
    let cases = run.cases.iter();
    cases
        .map(|case| {
            let mut clients = case.clients.iter();
            let found = clients.find(|own| own.name == client).expect("the client");
            let said = found.program.as_ref().and_then(|own| own.said.as_ref());
            let said = said.expect("its own words");
            assert_eq!(said.agrees, Some(true), "{}", run.table);
            let recovered = found.recovered_after.expect("it recovered");
            (case.case.clone(), found.cause, recovered.as_secs_f64())
        })
        .collect()
}

#[test]
fn client_go_s_leader_election_has_a1_s_and_a2_s_outages() {
    let file = "libraries/client-go-leader.yaml";
    let Some(run) = run(file, "", &["halfopen-poll-client-go"]) else {
        return;
    };
    let found = figures(&run, "candidate");
    let recovered: Vec<f64> = found.iter().map(|(_, _, recovered)| *recovered).collect();
    // With its health check 45 s and a pause at most; without it the kernel's quarter of an hour.
    assert!((30.0..48.0).contains(&recovered[0]), "{}", run.table);
    assert!((924.0..1050.0).contains(&recovered[1]), "{}", run.table);
    assert!((5.0..60.0).contains(&recovered[2]), "{}", run.table);
}

#[test]
fn a_health_check_that_was_lost_on_the_way_is_found() {
    let filter = "go-h2, ping";
    let Some(run) = run("scoreboard/busy.yaml", filter, &["halfopen-poll-go-http"]) else {
        return;
    };
    let found = figures(&run, "program");
    let of = |name: &str, situation: &str| {
        let name = format!("exec=go-h2, {name},response_delay={situation}");
        let mut found = found.iter().filter(|(case, ..)| *case == name);
        found
            .next()
            .map(|(_, cause, recovered)| (*cause, *recovered))
    };
    for situation in ["request unacknowledged", "waiting for the response"] {
        let (_, well) = of("ping", situation).expect("a case");
        assert!((30.0..51.0).contains(&well), "{}", run.table);
        let (cause, lost) = of("ping configured twice", situation).expect("a case");
        assert!(lost > 150.0, "{}", run.table);
        assert_ne!(cause, Some(Cause::ClosedByClient), "{}", run.table);
    }
}

#[test]
fn clients_of_redis_say_what_is_seen_of_them() {
    let programs = [
        "halfopen-poll-go-databases",
        "halfopen-poll-redis",
        "redis-server",
    ];
    let Some(run) = run("scoreboard/redis.yaml", "exec=go-redis", &programs) else {
        return;
    };
    // Its own limit of 3 s for an answer, and another try at once.
    for (_, _, recovered) in figures(&run, "program") {
        assert!((5.0..13.5).contains(&recovered), "{}", run.table);
    }
}

/// Who only listens has nothing that could go unacknowledged: without keepalive it never learns that its server is gone.
#[test]
fn who_watches_without_keepalive_never_learns_of_it() {
    let of_grpc = ("scoreboard/grpc-subscribed.yaml", "exec=grpc-go");
    let of_etcd = ("scoreboard/etcd-subscribed.yaml", "");
    for ((scenario, filter), programs) in [
        (of_grpc, &["halfopen-poll-go-grpc"][..]),
        (of_etcd, &["halfopen-poll-etcd", "etcd", "etcdctl"][..]),
    ] {
        let Some(run) = run(scenario, filter, programs) else {
            continue;
        };
        let [without, with] = [&run.cases[0], &run.cases[1]].map(|case| &case.clients[0]);
        for client in [without, with] {
            let said = client.program.as_ref().and_then(|own| own.said.as_ref());
            assert_eq!(
                said.expect("its own words").agrees,
                Some(true),
                "{}",
                run.table
            );
        }
        assert_eq!(without.recovered_after, None, "{}", run.table);
        // PINGs of 10 s of silence, up to 5 s of them before the fault, and 3 s for the answer; a second until it asks again.
        let recovered = with.recovered_after.map(|after| after.as_secs_f64());
        assert!(
            recovered.is_some_and(|after| (8.0..14.5).contains(&after)),
            "{}",
            run.table
        );
    }
}

/// `halfopen tune` names this limit for a recovery within 30 s that a silence of 10 s survives.
#[test]
fn a_database_client_s_own_limit_brings_it_back() {
    let programs = ["halfopen-poll-redis", "redis-server"];
    let Some(run) = run("servers/redis-limit.yaml", "", &programs) else {
        return;
    };
    figures(&run, "app");
}

/// What the servers' programs wrote in each case after the fault, in seconds from it: the first line with each of these words.
fn lines(run: &Run, words: &[&str]) -> Vec<Vec<f64>> {
    let cases = run.records.iter().zip(&run.cases);
    let of_case = cases.map(|(record, case)| {
        let fault = case.clients[0].fault_at.expect("a fault").as_secs_f64();
        let first = |word: &&str| {
            record.iter().find_map(|event| match &event.what {
                Observation::ServerOutput { text, .. } if text.contains(*word) => {
                    let at = event.t_ns as f64 / 1e9 - fault;
                    (at > 0.0).then_some(at)
                }
                _ => None,
            })
        };
        words.iter().filter_map(first).collect()
    });
    of_case.collect()
}

#[test]
fn etcd_elects_a_leader_and_its_client_asks_the_dead_member_in_turn() {
    let Some(run) = run("servers/etcd.yaml", "", &["halfopen-poll-etcd", "etcd"]) else {
        return;
    };
    let elections = lines(&run, &["lost leader", "became leader"]);
    let elected: Vec<_> = elections.iter().filter(|found| !found.is_empty()).collect();
    // One of three nodes has the leader, in both variants.
    assert_eq!(elected.len(), 2, "{elections:?}\n{}", run.table);
    for found in elected {
        // A follower counts ticks of 100 ms from the last heartbeat, 10 to 19 of them: that heartbeat is up to 100 ms older than the
        // fault, and the first tick comes up to 100 ms after it.
        assert!(found.iter().all(|at| (0.8..=2.5).contains(at)), "{found:?}");
    }
    for case in &run.cases {
        let writer = &case.clients[0];
        let said = writer.program.as_ref().and_then(|own| own.said.as_ref());
        let said = said.expect("its own words");
        assert_eq!(said.agrees, Some(true), "{}", run.table);
        if case.case.contains("command=defaults") {
            assert!(said.errors > 10, "{}", run.table);
            let after = writer.recovered_after;
            assert!(
                after.is_none_or(|after| after.as_secs() > 70),
                "{}",
                run.table
            );
        }
    }
}

#[test]
fn nats_s_client_moves_when_its_pings_go_unanswered() {
    let programs = ["halfopen-poll-nats", "nats-server"];
    let Some(run) = run("servers/nats.yaml", "", &programs) else {
        return;
    };
    let found = figures(&run, "publisher");
    // The third PING of two minutes' distance has nobody to answer the two before it.
    assert!((240.0..=362.0).contains(&found[0].2), "{}", run.table);
    assert!((10.0..=17.0).contains(&found[1].2), "{}", run.table);
}

#[test]
fn sentinels_name_the_replica_and_the_client_finds_it() {
    let programs = ["halfopen-poll-redis", "redis-server", "redis-sentinel"];
    let Some(run) = run("servers/redis-sentinel.yaml", "", &programs) else {
        return;
    };
    figures(&run, "writer");
}

#[test]
fn a_server_sends_away_who_asks_too_often_whether_it_lives() {
    let Some(run) = run("servers/grpc.yaml", "", &["halfopen-poll-go-grpc"]) else {
        return;
    };
    let of_client = |case: &CaseResult| {
        let program = case.clients[0].program.as_ref();
        program
            .and_then(|own| own.said.as_ref())
            .expect("its own words")
            .errors
    };
    let [default, permissive] = [&run.cases[0], &run.cases[1]].map(of_client);
    assert_eq!(default, permissive + 1, "{}", run.table);
    let told = run.records.iter().flatten().filter(|event| {
        matches!(&event.what, Observation::ProgramOutput { text, .. } if text.contains("too_many_pings"))
    });
    let told: Vec<_> = told.map(|event| event.t_ns / 1_000_000_000).collect();
    assert!(!told.is_empty(), "{}", run.table);
    assert!(told.iter().all(|at| [30, 31].contains(at)), "{told:?}");
}

#[test]
fn who_asks_a_proxy_waits_for_whom_the_proxy_waits() {
    for (scenario, program) in [
        ("servers/nginx.yaml", "nginx"),
        ("servers/haproxy.yaml", "haproxy"),
    ] {
        let Some(run) = run(scenario, "", &[program]) else {
            continue;
        };
        for case in &run.cases {
            let caller = &case.clients[0];
            // No connection of its own was struck, and yet the fault did not pass it by.
            assert_eq!(caller.affected, Some(false), "{}", run.table);
            assert!(!run.table.contains("not affected"), "{}", run.table);
        }
    }
}
