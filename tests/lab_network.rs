//! The network of a lab: who reaches whom, what sysctls hold, and how long it takes to build.

mod rig;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use halfopen::lab::LabError;
use halfopen::lab::network::Network;
use halfopen::lab::sysctl;
use halfopen::plan::LabPlan;
use halfopen::record::Observation;
use rig::{at, in_lab, node, pod};

fn three_by_three() -> LabPlan {
    rig::plan(3, &[("a", 1), ("b", 2), ("c", 3)])
}

#[test]
fn everybody_reaches_everybody_by_ipv4_and_ipv6() {
    in_lab(async || {
        let plan = rig::plan(3, &[("a", 1), ("b", 2), ("c", 3), ("d", 3)]);
        let network = Network::build(&plan).unwrap();
        let mut servers: Vec<(_, [IpAddr; 2])> = Vec::new();
        for n in &plan.nodes {
            servers.push((node(&n.name), [n.address.into(), n.address6.into()]));
        }
        for p in &plan.pods {
            servers.push((pod(&p.name), [p.address.into(), p.address6.into()]));
        }
        for (place, addresses) in &servers {
            for address in addresses {
                rig::serve(&network.namespace(place), at(*address, 80), "here");
            }
        }
        for (from, _) in &servers {
            let namespace = network.namespace(from);
            for (to, addresses) in &servers {
                for address in addresses {
                    let answer = rig::ask(&namespace, at(*address, 80));
                    let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
                    assert!(
                        matches!(&answer, Ok(Ok((_, name))) if name == "here"),
                        "{from:?} to {to:?} at {address}: {answer:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn setting_up_three_nodes_and_three_pods_takes_milliseconds() {
    in_lab(async || {
        let plan = three_by_three();
        let mut times: Vec<_> = (0..30)
            .map(|_| {
                let start = Instant::now();
                let network = Network::build(&plan).unwrap();
                let took = start.elapsed();
                drop(network);
                took
            })
            .collect();
        times.sort();
        println!(
            "network: min {:?}, median {:?}, max {:?}",
            times[0], times[15], times[29]
        );
    });
}
