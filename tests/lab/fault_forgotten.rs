//! Connections that a kernel is told to forget: in conntrack, and as sockets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use halfopen::lab::effect;
use halfopen::lab::network::Network;
use halfopen::lab::service::Services;
use halfopen::plan::{Effect, LabPlan, Neighbour};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{self, answers, at, in_lab, node, pod};

const PORT: u16 = 6443;
const ADDRESS: &str = "192.168.255.220:443";
const OTHER: &str = "192.168.255.221:443";

const POWER_LOSS: usize = 0;
const DELETED: usize = 1;
const DESTROYED: usize = 2;
const DESTROYED_TO_AA_1: usize = 3;

/// A client in a pod and one on the node itself, a service with a server on node 3 and one on node 2, and another service
/// with the same two.
fn plan() -> LabPlan {
    let mut plan = rig::plan(3, &[("client", 1), ("aa-1", 3), ("aa-2", 2)]);
    let endpoints = [
        ("aa-1", at(plan.pods[1].address, PORT)),
        ("aa-2", at(plan.pods[2].address, PORT)),
    ];
    let places = [pod("client"), node("node1")];
    rig::add_service(&mut plan, "aa", ADDRESS, &endpoints, &places);
    rig::add_service(&mut plan, "bb", OTHER, &endpoints, &places);
    for service in &mut plan.services {
        service.pin_first = Some("aa-1".to_owned());
    }
    for (name, endpoint) in ["aa-1", "aa-2"].into_iter().zip(&endpoints) {
        plan.servers.push(rig::server(&plan, name, endpoint.1));
    }
    let destroyed = |server: Option<&str>| Effect::Destroy {
        client: plan.clients[0].name.clone(),
        server: server.map(str::to_owned),
    };
    plan.faults = vec![
        rig::fault([Effect::Silence {
            node: "node3".to_owned(),
            neighbour: Neighbour::Resolves,
        }]),
        rig::fault([Effect::Forget {
            service: "aa".to_owned(),
            server: Some("aa-1".to_owned()),
        }]),
        rig::fault([destroyed(None)]),
        rig::fault([destroyed(Some("aa-1"))]),
    ];
    plan
}

struct Bench {
    network: Network,
    services: Services,
}

async fn bench(plan: &LabPlan) -> Bench {
    let network = Network::build(plan).unwrap();
    let services = Services::load(&network, plan).await.unwrap();
    for (name, n) in [("aa-1", 1), ("aa-2", 2)] {
        let address = at(plan.pods[n].address, PORT);
        rig::serve(&network.namespace(&pod(name)), address, name);
    }
    Bench { network, services }
}

async fn ask(
    network: &Network,
    from: &halfopen::plan::Place,
    address: &str,
) -> (TcpStream, String) {
    let address: SocketAddr = address.parse().unwrap();
    rig::ask(&network.namespace(from), address).await.unwrap()
}

/// A live endpoint answers a forgotten connection's next retransmission with RST, where the kernel picks up connections
/// in their midst; else they stay where they are.
#[test]
fn a_deleted_flow_is_translated_anew_if_conntrack_is_loose() {
    in_lab(async || {
        for (loose, resets) in [("1", true), ("0", false)] {
            let mut plan = plan();
            let key = "net.netfilter.nf_conntrack_tcp_loose";
            plan.nodes[0].sysctls.push(rig::sysctl(key, loose));
            let Bench { network, services } = bench(&plan).await;
            let (mut pods, to) = ask(&network, &pod("client"), ADDRESS).await;
            assert_eq!(to, "aa-1");
            let (mut host, _) = ask(&network, &node("node1"), ADDRESS).await;
            let _loss = effect::inject(&network, &plan, POWER_LOSS).unwrap();
            services.remove_endpoints("aa", &["aa-1"]).await.unwrap();
            for stream in [&mut pods, &mut host] {
                stream.write_all(b"?").await.unwrap();
            }
            // The rules alone change nothing.
            let still = tokio::time::timeout(Duration::from_millis(300), pods.read_u8()).await;
            assert!(still.is_err(), "{still:?}");
            let begun = Instant::now();
            let cut = effect::inject(&network, &plan, DELETED).unwrap();
            assert_eq!(cut.found(), Some(2));
            for stream in [&mut pods, &mut host] {
                let end = tokio::time::timeout(Duration::from_millis(1500), stream.read_u8()).await;
                match (resets, end) {
                    (true, Ok(Err(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                    (false, Err(_)) => {}
                    (_, end) => panic!("loose={loose}: {end:?}"),
                }
            }
            println!("loose={loose}: {:?}", begun.elapsed());
        }
    });
}

#[test]
fn only_the_flows_to_the_named_endpoint_of_the_named_service_are_deleted() {
    in_lab(async || {
        let plan = plan();
        let Bench { network, services } = bench(&plan).await;
        let (mut elsewhere, _) = ask(&network, &pod("client"), OTHER).await;
        let (_pinned, _) = ask(&network, &pod("client"), ADDRESS).await;
        services.remove_endpoints("aa", &["aa-1"]).await.unwrap();
        let (mut second, to) = ask(&network, &pod("client"), ADDRESS).await;
        assert_eq!(to, "aa-2");
        let before = rig::state(&network, &plan);
        let cut = effect::inject(&network, &plan, DELETED).unwrap();
        assert_eq!(cut.found(), Some(1));
        for stream in [&mut elsewhere, &mut second] {
            assert!(answers(stream, Duration::from_secs(1)).await);
        }
        assert_eq!(rig::state(&network, &plan), before);
        let none = effect::inject(&network, &plan, DELETED).unwrap();
        assert_eq!(none.found(), Some(0));
    });
}

#[test]
fn a_client_s_sockets_are_destroyed_and_nobody_else_s() {
    in_lab(async || {
        let plan = plan();
        let Bench { network, services } = bench(&plan).await;
        let (mut first, to) = ask(&network, &pod("client"), ADDRESS).await;
        assert_eq!(to, "aa-1");
        services.remove_endpoints("aa", &["aa-1"]).await.unwrap();
        let (mut second, to) = ask(&network, &pod("client"), ADDRESS).await;
        assert_eq!(to, "aa-2");
        let (mut other_service, _) = ask(&network, &pod("client"), OTHER).await;
        let (mut other_client, _) = ask(&network, &node("node1"), ADDRESS).await;
        let destroys = |number| effect::inject(&network, &plan, number).unwrap().found();
        assert_eq!(destroys(DESTROYED_TO_AA_1), Some(1));
        let error = first.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert!(answers(&mut second, Duration::from_secs(1)).await);
        assert_eq!(destroys(DESTROYED), Some(1));
        let error = second.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        for stream in [&mut other_service, &mut other_client] {
            assert!(answers(stream, Duration::from_secs(1)).await);
        }
    });
}

#[test]
fn a_socket_straight_to_the_server_is_destroyed_too() {
    in_lab(async || {
        let mut plan = plan();
        let direct = plan.servers[0].listen[0];
        plan.clients[0].target.address = direct;
        let Bench { network, .. } = bench(&plan).await;
        let (mut stream, to) = ask(&network, &pod("client"), &direct.to_string()).await;
        assert_eq!(to, "aa-1");
        let cut = effect::inject(&network, &plan, DESTROYED_TO_AA_1).unwrap();
        assert_eq!(cut.found(), Some(1));
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    });
}

#[test]
fn an_endpoint_that_is_added_again_gets_connections_again() {
    in_lab(async || {
        let plan = plan();
        let Bench { network, services } = bench(&plan).await;
        services.unpin().await.unwrap();
        let before = rig::state(&network, &plan);
        services.remove_endpoints("aa", &["aa-1"]).await.unwrap();
        for _ in 0..10 {
            assert_eq!(ask(&network, &pod("client"), ADDRESS).await.1, "aa-2");
        }
        services.add_endpoints("aa", &["aa-1"]).await.unwrap();
        assert_eq!(rig::state(&network, &plan), before);
        let mut names = Vec::new();
        for _ in 0..40 {
            names.push(ask(&network, &pod("client"), ADDRESS).await.1);
        }
        assert!(names.contains(&"aa-1".to_owned()) && names.contains(&"aa-2".to_owned()));
        // None left, and one again.
        services
            .remove_endpoints("aa", &["aa-1", "aa-2"])
            .await
            .unwrap();
        services.add_endpoints("aa", &["aa-2"]).await.unwrap();
        assert_eq!(ask(&network, &node("node1"), ADDRESS).await.1, "aa-2");
    });
}
