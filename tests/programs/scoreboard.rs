//! What scenarios/scoreboard and the scenario of client-go's leader election show, and that each program says the same.

use std::path::Path;

use halfopen::plan::Cause;

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
            "{missing:?} are not here: `ci/clients` and Debian's packages redis-server and postgresql have them"
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
