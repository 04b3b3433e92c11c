//! Leader election against the lock app: one holder at a time, in a store that outlives its servers.

use std::time::Duration;

use halfopen::plan::{self, App, Protocol, Workload, Workloads};
use halfopen::record::Observation;

use crate::bench::*;

fn lock(name: &str) -> plan::Server {
    plan::Server {
        app: App::Lock,
        ..echo(name)
    }
}

fn candidate(name: &str, address: std::net::SocketAddr, lease: Duration) -> plan::Client {
    let mut client = poller(name, address, bare(Protocol::H2), ms(100));
    let election = Workload::LeaderElection {
        every: ms(100),
        lease,
        renew_deadline: lease / 2,
        jitter: std::time::Duration::ZERO,
    };
    client.workloads = Workloads::one(election, None);
    client
}

fn leaders(bench: &Bench) -> Vec<(Duration, Option<String>)> {
    let events = bench.events();
    events
        .into_iter()
        .filter_map(|e| match e.what {
            Observation::LeaderChanged { holder, .. } => {
                Some((Duration::from_nanos(e.t_ns), holder))
            }
            _ => None,
        })
        .collect()
}

fn takes_over(lease: u64) {
    in_lab(async |bench| {
        // Two servers, one store.
        let (one, two) = (bench.serve(&lock("aa-1")), bench.serve(&lock("aa-2")));
        let first = bench.start(candidate("first", one.address(), ms(lease)));
        bench
            .wait(|o| matches!(o, Observation::LeaderChanged { .. }).then_some(()))
            .await;
        bench.start(candidate("second", two.address(), ms(lease)));
        tokio::time::sleep(ms(lease + 500)).await;
        // Renewed all the time.
        assert_eq!(leaders(&bench).len(), 1, "{}", bench.story());
        let died = bench.recorder.now();
        first.abort();
        one.task.abort();
        bench
            .wait(|o| match o {
                Observation::LeaderChanged { holder, .. } => {
                    (holder.as_deref() == Some("second")).then_some(())
                }
                _ => None,
            })
            .await;
        let seen = leaders(&bench);
        let names: Vec<_> = seen.iter().map(|(_, holder)| holder.as_deref()).collect();
        assert_eq!(names, [Some("first"), None, Some("second")]);
        // The last renewal was up to one try before the death.
        between(seen[1].0 - died, lease.saturating_sub(250), lease + 500);
    });
}

#[test]
fn a_dead_holder_s_lease_expires_and_the_other_takes_it() {
    takes_over(800);
}

#[test]
fn a_longer_lease_takes_longer() {
    takes_over(2500);
}
