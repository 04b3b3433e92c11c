//! A service's rules, as a node's clients meet them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use halfopen::lab::network::Network;
use halfopen::lab::service::Services;
use halfopen::plan::{LabPlan, Proxy};

use crate::rig::{self, at, in_lab, node, pod};

const PORT: u16 = 6443;
const ADDRESS: &str = "192.168.255.220:443";
const ADDRESS6: &str = "[fd00:ff::220]:443";
/// The modes that every kernel has which runs these tests. (What IPVS does, tests/cases/modes.rs shows in a guest.)
const MODES: [Proxy; 2] = [Proxy::Iptables, Proxy::Nftables];

/// Two servers in pods on nodes 2 and 3, clients in a pod and on the node itself on node 1, a service by each family.
fn plan(proxy: Proxy) -> LabPlan {
    let mut plan = rig::plan(3, &[("client", 1), ("aa-1", 3), ("aa-2", 2)]);
    let places = [pod("client"), node("node1")];
    let endpoints = |family: fn(&LabPlan, usize) -> SocketAddr, plan: &LabPlan| {
        [("aa-1", family(plan, 1)), ("aa-2", family(plan, 2))]
    };
    let four = endpoints(|plan, n| at(plan.pods[n].address, PORT), &plan);
    let six = endpoints(|plan, n| at(plan.pods[n].address6, PORT), &plan);
    rig::add_service(&mut plan, "aa", ADDRESS, &four, &places);
    rig::add_service(&mut plan, "aa6", ADDRESS6, &six, &places);
    by(proxy, plan)
}

/// The same with every service in one mode.
fn by(proxy: Proxy, mut plan: LabPlan) -> LabPlan {
    for service in &mut plan.services {
        service.proxy = proxy;
    }
    plan
}

fn start_servers(network: &Network, plan: &LabPlan) {
    for service in &plan.services {
        for endpoint in &service.endpoints {
            let name = if endpoint.server == "aa-1" {
                "aa-1"
            } else {
                "aa-2"
            };
            rig::serve(&network.namespace(&pod(name)), endpoint.address, name);
        }
    }
}

async fn throws(
    network: &Network,
    from: &halfopen::plan::Place,
    address: &str,
) -> HashMap<String, u32> {
    let namespace = network.namespace(from);
    let mut counts = HashMap::new();
    for _ in 0..60 {
        let (_, name) = rig::ask(&namespace, address.parse().unwrap())
            .await
            .unwrap();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn the_dice_choose_among_all_endpoints_for_pods_and_for_the_node_by_both_families() {
    in_lab(async || {
        for proxy in MODES {
            spread(proxy).await;
        }
    });
}

async fn spread(proxy: Proxy) {
    let plan = plan(proxy);
    let network = Network::build(&plan).unwrap();
    let _services = Services::load(&network, &plan).await.unwrap();
    start_servers(&network, &plan);
    for from in [pod("client"), node("node1")] {
        for address in [ADDRESS, ADDRESS6] {
            let counts = throws(&network, &from, address).await;
            // 60 throws: less than 10 of a kind has a chance of 1 in 10 million.
            for name in ["aa-1", "aa-2"] {
                let count = counts.get(name).copied().unwrap_or(0);
                assert!(count >= 10, "{proxy:?} {from:?} {address}: {counts:?}");
            }
        }
    }
}

#[test]
fn a_pinned_service_goes_to_one_endpoint_until_it_is_unpinned() {
    in_lab(async || {
        for proxy in MODES {
            let mut plan = plan(proxy);
            plan.services[0].pin_first = Some("aa-2".to_owned());
            let network = Network::build(&plan).unwrap();
            let services = Services::load(&network, &plan).await.unwrap();
            start_servers(&network, &plan);
            let counts = throws(&network, &pod("client"), ADDRESS).await;
            assert_eq!(
                counts,
                HashMap::from([("aa-2".to_owned(), 60)]),
                "{proxy:?}"
            );
            services.unpin().await.unwrap();
            let counts = throws(&network, &pod("client"), ADDRESS).await;
            assert_eq!(counts.len(), 2, "{proxy:?}: {counts:?}");
        }
    });
}

#[test]
fn a_removed_endpoint_gets_no_new_connections_and_keeps_its_old_ones() {
    in_lab(async || {
        for proxy in MODES {
            for address in [ADDRESS, ADDRESS6] {
                removal(proxy, address).await;
            }
        }
    });
}

async fn removal(proxy: Proxy, address: &str) {
    let mut plan = plan(proxy);
    let name = if address == ADDRESS { "aa" } else { "aa6" };
    for service in &mut plan.services {
        service.pin_first = Some("aa-1".to_owned());
    }
    let network = Network::build(&plan).unwrap();
    let services = Services::load(&network, &plan).await.unwrap();
    start_servers(&network, &plan);
    let client = network.namespace(&pod("client"));
    let target = address.parse().unwrap();
    let (mut old, to) = rig::ask(&client, target).await.unwrap();
    assert_eq!(to, "aa-1");
    services.remove_endpoints(name, &["aa-1"]).await.unwrap();
    let counts = throws(&network, &pod("client"), address).await;
    assert_eq!(counts, HashMap::from([("aa-2".to_owned(), 60)]));
    rig::echo(&mut old, "still there").await.unwrap();

    services.remove_endpoints(name, &["aa-2"]).await.unwrap();
    for from in [pod("client"), node("node1")] {
        let refused = rig::connect(&network.namespace(&from), target).await;
        let kind = refused.map(drop).map_err(|e| e.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::ConnectionRefused), "{from:?}");
    }
    rig::echo(&mut old, "still there").await.unwrap();

    // Back in the rules, it is chosen again.
    services.add_endpoints(name, &["aa-1"]).await.unwrap();
    let counts = throws(&network, &pod("client"), address).await;
    assert_eq!(counts, HashMap::from([("aa-1".to_owned(), 60)]));
    rig::echo(&mut old, "still there").await.unwrap();
}

#[test]
fn affinity_leads_each_client_back_to_its_endpoint_until_that_leaves() {
    in_lab(async || {
        for proxy in MODES {
            for address in [ADDRESS, ADDRESS6] {
                affinity(proxy, address).await;
            }
        }
    });
}

async fn affinity(proxy: Proxy, address: &str) {
    let mut plan = plan(proxy);
    let name = if address == ADDRESS { "aa" } else { "aa6" };
    for service in &mut plan.services {
        service.affinity = Some(Duration::from_secs(3 * 3600));
        service.pin_first = Some("aa-1".to_owned());
    }
    let network = Network::build(&plan).unwrap();
    let services = Services::load(&network, &plan).await.unwrap();
    start_servers(&network, &plan);
    // The pod's first connection is made while one endpoint gets all; the node's own when the dice fall again.
    rig::ask(&network.namespace(&pod("client")), address.parse().unwrap())
        .await
        .unwrap();
    services.unpin().await.unwrap();
    let counts = throws(&network, &pod("client"), address).await;
    assert_eq!(
        counts,
        HashMap::from([("aa-1".to_owned(), 60)]),
        "{proxy:?}"
    );
    let counts = throws(&network, &node("node1"), address).await;
    assert_eq!(
        counts.len(),
        1,
        "{proxy:?}: a client has one endpoint: {counts:?}"
    );
    services.remove_endpoints(name, &["aa-1"]).await.unwrap();
    services.add_endpoints(name, &["aa-1"]).await.unwrap();
    // It is in the service again, and nobody's any more.
    services.remove_endpoints(name, &["aa-2"]).await.unwrap();
    let counts = throws(&network, &pod("client"), address).await;
    assert_eq!(
        counts,
        HashMap::from([("aa-1".to_owned(), 60)]),
        "{proxy:?}"
    );
}

#[test]
fn a_pod_behind_its_own_service_reaches_itself() {
    in_lab(async || {
        for proxy in MODES {
            let mut plan = rig::plan(1, &[("aa-1", 1)]);
            let own = at(plan.pods[0].address, PORT);
            rig::add_service(&mut plan, "aa", ADDRESS, &[("aa-1", own)], &[pod("aa-1")]);
            let plan = by(proxy, plan);
            let network = Network::build(&plan).unwrap();
            let _services = Services::load(&network, &plan).await.unwrap();
            start_servers(&network, &plan);
            let namespace = network.namespace(&pod("aa-1"));
            let answer = rig::ask(&namespace, ADDRESS.parse().unwrap());
            let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
            assert!(matches!(answer, Ok(Ok(_))), "{proxy:?}: {answer:?}");
        }
    });
}

/// Servers on the nodes themselves, and the same address for both: what a packet to it meets, the node that has it decides.
#[test]
fn an_address_that_moves_is_one_node_s_at_a_time_and_its_next_holder_answers_old_connections_with_rst()
 {
    in_lab(async || {
        let mut plan = rig::plan(3, &[("client", 1)]);
        let address: SocketAddr = "192.168.255.100:6443".parse().unwrap();
        let nodes = [3_usize, 2].map(|n| at(plan.nodes[n - 1].address, PORT));
        let endpoints = [("aa-1", nodes[0]), ("aa-2", nodes[1])];
        for (name, n) in [("aa-1", 3), ("aa-2", 2)] {
            plan.servers
                .push(rig::server_on(name, &format!("node{n}"), address));
        }
        let places = [pod("client"), node("node1")];
        rig::add_service(&mut plan, "aa", &address.to_string(), &endpoints, &places);
        let plan = by(Proxy::Vip, plan);
        let network = Network::build(&plan).unwrap();
        let services = Services::load(&network, &plan).await.unwrap();
        rig::serve(&network.namespace(&node("node3")), address, "aa-1");
        rig::serve(&network.namespace(&node("node2")), address, "aa-2");
        let client = network.namespace(&pod("client"));
        let to = address.to_string();
        let mut all = Vec::new();
        for from in [pod("client"), node("node1")] {
            let counts = throws(&network, &from, &to).await;
            assert_eq!(counts, HashMap::from([("aa-1".to_owned(), 60)]));
        }
        let (mut old, _) = rig::ask(&client, address).await.unwrap();
        rig::echo(&mut old, "there").await.unwrap();
        all.push(services.read(false).unwrap()[0].rules.clone());

        services.remove_endpoints("aa", &["aa-1"]).await.unwrap();
        // By the witness of iproute2, one node alone has it.
        for (name, has) in [("node2", true), ("node3", false), ("node1", false)] {
            let mut command = crate::needs::program("ip");
            command.args(["-4", "-o", "addr", "show", "dev", "eth0"]);
            let namespace = network.namespace(&node(name));
            let said = namespace.enter(|| command.output()).unwrap().stdout;
            let said = String::from_utf8(said).unwrap();
            assert_eq!(said.contains("192.168.255.100/32"), has, "{name}: {said}");
        }
        let error = rig::echo(&mut old, "still there?").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        for from in [pod("client"), node("node1")] {
            let counts = throws(&network, &from, &to).await;
            assert_eq!(counts, HashMap::from([("aa-2".to_owned(), 60)]));
        }
        all.push(services.read(false).unwrap()[0].rules.clone());
        // The first in order has it again as soon as it can.
        services.add_endpoints("aa", &["aa-1"]).await.unwrap();
        let counts = throws(&network, &pod("client"), &to).await;
        assert_eq!(counts, HashMap::from([("aa-1".to_owned(), 60)]));
        all.push(services.read(false).unwrap()[0].rules.clone());
        let whose: Vec<bool> = all
            .iter()
            .map(|rules| rules[1].ends_with("(node3)"))
            .collect();
        assert_eq!(whose, [true, false, true], "{all:?}");
        assert!(all[1][1].ends_with("(node2)"), "{all:?}");
    });
}
