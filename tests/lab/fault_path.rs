//! Faults on a path: what they say happens to just the packets they mean, and heals without a trace.

use std::io::ErrorKind;
use std::time::Duration;

use halfopen::lab::effect::{self, Vanished};
use halfopen::lab::network::Network;
use halfopen::plan::{Direction, Effect, End, LabPlan, Packets, Path, RejectWith, Where};
use tokio::net::TcpStream;

use crate::rig::{self, answers, at, dials, in_lab, node, pod};

const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_millis(600);

fn machine(name: &str) -> End {
    End::Machine(name.to_owned())
}

fn path(place: Where, direction: Direction) -> Path {
    Path { place, direction }
}

fn at_node3() -> Where {
    Where::At(machine("node3"))
}

fn loss(place: Where, percent: f64, direction: Direction) -> Effect {
    Effect::Drop {
        path: path(place, direction),
        packets: Packets::All,
        percent,
    }
}

/// Clients in pods of nodes 1 and 2, servers in two pods of node 3 and on node 3 itself.
fn plan(effect: Effect) -> LabPlan {
    let mut plan = rig::plan(3, &[("c1", 1), ("c2", 2), ("s1", 3), ("s2", 3)]);
    plan.faults = vec![rig::fault([effect])];
    plan
}

/// Connections of each client to each server by both families: whose, to whom, and the connection.
async fn connect(
    network: &Network,
    plan: &LabPlan,
) -> Vec<(&'static str, &'static str, TcpStream)> {
    let servers = [
        ("s1", pod("s1"), at(plan.pods[2].address, PORT)),
        ("s2", pod("s2"), at(plan.pods[3].address6, PORT)),
        ("node3", node("node3"), at(plan.nodes[2].address, PORT)),
    ];
    let mut streams = Vec::new();
    for (name, place, address) in servers {
        rig::serve(&network.namespace(&place), address, "server");
        for client in ["c1", "c2"] {
            let (stream, _) = rig::ask(&network.namespace(&pod(client)), address)
                .await
                .unwrap();
            streams.push((client, name, stream));
        }
    }
    streams
}

/// Injects the plan's one fault, has it strike all connections for which `struck` holds and no others, and sees it heal.
async fn strikes(plan: LabPlan, struck: impl Fn(&str, &str) -> bool) -> Vanished {
    let network = Network::build(&plan).unwrap();
    let mut streams = connect(&network, &plan).await;
    let before = rig::state(&network, &plan);
    let mut cut = effect::inject(&network, &plan, 0).unwrap();
    assert_eq!(cut.vanished().unwrap(), Vanished::default());
    assert_ne!(rig::state(&network, &plan), before);
    let asked = streams
        .iter_mut()
        .map(async |(client, server, stream)| (*client, *server, answers(stream, PATIENCE).await));
    for (client, server, answered) in futures_util::future::join_all(asked).await {
        assert_eq!(answered, !struck(client, server), "{client} to {server}");
    }
    let vanished = cut.vanished().unwrap();
    drop(cut);
    assert_eq!(rig::state(&network, &plan), before);
    // What was asked in vain is sent again, and answered: one echo more than is waited for.
    for (client, server, stream) in &mut streams {
        assert!(
            answers(stream, Duration::from_secs(4)).await,
            "{client} to {server}"
        );
    }
    vanished
}

#[test]
fn all_is_lost_at_a_node_and_nothing_elsewhere() {
    in_lab(async || {
        let vanished = strikes(plan(loss(at_node3(), 100.0, Direction::Both)), |_, _| true).await;
        assert!(vanished.to_node > 0, "{vanished:?}");
        assert_eq!(vanished.inside, 0);
        let other = loss(Where::At(machine("node2")), 100.0, Direction::Both);
        strikes(plan(other), |client, _| client == "c2").await;
    });
}

#[test]
fn one_way_loss_has_one_way() {
    in_lab(async || {
        let vanished = strikes(plan(loss(at_node3(), 100.0, Direction::Out)), |_, _| true).await;
        assert!(vanished.from_node > 0, "{vanished:?}");
        assert_eq!(vanished.to_node, 0);
        let vanished = strikes(plan(loss(at_node3(), 100.0, Direction::In)), |_, _| true).await;
        assert!(vanished.to_node > 0, "{vanished:?}");
        assert_eq!(vanished.from_node, 0);
    });
}

#[test]
fn a_pod_s_loss_is_the_pod_s_alone() {
    in_lab(async || {
        let s1 = Where::At(End::Pod("s1".to_owned()));
        strikes(plan(loss(s1, 100.0, Direction::Both)), |_, server| {
            server == "s1"
        })
        .await;
        let c1 = Where::At(End::Pod("c1".to_owned()));
        strikes(plan(loss(c1, 100.0, Direction::Both)), |client, _| {
            client == "c1"
        })
        .await;
    });
}

#[test]
fn a_sick_path_lies_between_two_places_only() {
    in_lab(async || {
        let pod = |name: &str| End::Pod(name.to_owned());
        let host = |name: &str| End::Host(name.to_owned());
        type Struck = fn(&str, &str) -> bool;
        let cases: [(End, End, Struck); 4] = [
            (machine("node1"), machine("node3"), |c, _| c == "c1"),
            (pod("c2"), pod("s2"), |c, s| (c, s) == ("c2", "s2")),
            (pod("c1"), host("node3"), |c, s| (c, s) == ("c1", "node3")),
            // Nothing of this speaks for itself: the pods' packets are not the node's.
            (host("node1"), machine("node3"), |_, _| false),
        ];
        for (first, second, struck) in cases {
            for direction in [Direction::Both, Direction::In, Direction::Out] {
                let place = Where::Between(first.clone(), second.clone());
                let vanished = strikes(plan(loss(place, 100.0, direction)), struck).await;
                match direction {
                    Direction::In => assert_eq!(vanished.from_node, 0),
                    Direction::Out => assert_eq!(vanished.to_node, 0),
                    Direction::Both => {}
                }
            }
        }
    });
}

#[test]
fn two_pods_of_one_node_have_a_path_too() {
    in_lab(async || {
        let place = Where::Between(End::Pod("s1".to_owned()), End::Pod("s2".to_owned()));
        let plan = plan(loss(place, 100.0, Direction::Both));
        let network = Network::build(&plan).unwrap();
        let mut streams = connect(&network, &plan).await;
        let s1 = network.namespace(&pod("s1"));
        let (mut neighbours, _) = rig::ask(&s1, at(plan.pods[3].address6, PORT))
            .await
            .unwrap();
        let cut = effect::inject(&network, &plan, 0).unwrap();
        assert!(!answers(&mut neighbours, PATIENCE).await);
        for (client, server, stream) in &mut streams {
            assert!(answers(stream, PATIENCE).await, "{client} to {server}");
        }
        drop(cut);
        assert!(answers(&mut neighbours, Duration::from_secs(3)).await);
    });
}

/// UDP has nobody that sends again: what arrives is what was not lost.
#[test]
fn as_many_packets_are_lost_as_it_says() {
    in_lab(async || {
        const SENT: usize = 4000;
        for percent in [5.0, 30.0] {
            let plan = plan(loss(at_node3(), percent, Direction::In));
            let network = Network::build(&plan).unwrap();
            let to = at(plan.nodes[2].address, 9);
            let bind = |place, address: std::net::SocketAddr| {
                let namespace = network.namespace(&place);
                let socket = namespace
                    .enter(|| std::net::UdpSocket::bind(address))
                    .unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            };
            let receiver = bind(node("node3"), to);
            let sender = bind(pod("c1"), at(plan.pods[0].address, 0));
            let mut cut = effect::inject(&network, &plan, 0).unwrap();
            let mut arrived = 0;
            for _ in 0..SENT {
                sender.send_to(b"x", to).unwrap();
                while receiver.recv(&mut [0; 8]).is_ok() {
                    arrived += 1;
                }
            }
            let lost = SENT - arrived;
            let counted = usize::try_from(cut.vanished().unwrap().to_node).unwrap();
            // Nodes say now and then which groups they listen to.
            assert!((lost..lost + 8).contains(&counted), "{counted} of {lost}");
            let share = lost as f64 / SENT as f64 * 100.0;
            // Five standard deviations: once in two million runs.
            let deviation = (percent * (100.0 - percent) / SENT as f64).sqrt();
            assert!(
                (share - percent).abs() < 5.0 * deviation,
                "{share} of {percent}"
            );
        }
    });
}

#[test]
fn syns_vanish_and_established_connections_live_on() {
    in_lab(async || {
        let effect = Effect::Drop {
            path: path(at_node3(), Direction::Both),
            packets: Packets::Syn,
            percent: 100.0,
        };
        let plan = plan(effect);
        let network = Network::build(&plan).unwrap();
        let mut streams = connect(&network, &plan).await;
        let before = rig::state(&network, &plan);
        let mut cut = effect::inject(&network, &plan, 0).unwrap();
        for (client, server, stream) in &mut streams {
            assert!(answers(stream, PATIENCE).await, "{client} to {server}");
        }
        assert_eq!(cut.vanished().unwrap(), Vanished::default());
        let c1 = network.namespace(&pod("c1"));
        for address in [
            at(plan.pods[2].address, PORT),
            at(plan.pods[3].address6, PORT),
        ] {
            assert_eq!(dials(&c1, address, PATIENCE).await, None);
        }
        assert!(cut.vanished().unwrap().to_node >= 2);
        // Another node's SYNs arrive.
        let elsewhere = at(plan.nodes[1].address, PORT);
        rig::serve(&network.namespace(&node("node2")), elsewhere, "server");
        assert_eq!(dials(&c1, elsewhere, PATIENCE).await, Some(Ok(())));
        drop(cut);
        assert_eq!(rig::state(&network, &plan), before);
        let address = at(plan.pods[2].address, PORT);
        assert_eq!(dials(&c1, address, PATIENCE).await, Some(Ok(())));
    });
}

#[test]
fn a_router_s_rst_resets_and_refuses() {
    in_lab(async || {
        for place in [at_node3(), Where::At(End::Pod("s1".to_owned()))] {
            let effect = Effect::Answer {
                path: path(place, Direction::In),
                with: RejectWith::Rst,
            };
            let plan = plan(effect);
            let network = Network::build(&plan).unwrap();
            let mut streams = connect(&network, &plan).await;
            let before = rig::state(&network, &plan);
            let cut = effect::inject(&network, &plan, 0).unwrap();
            let stream = &mut streams
                .iter_mut()
                .find(|s| (s.0, s.1) == ("c1", "s1"))
                .unwrap()
                .2;
            let error = rig::echo(stream, "?").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let c1 = network.namespace(&pod("c1"));
            let refused = Some(Err(ErrorKind::ConnectionRefused));
            let s1 = at(plan.pods[2].address, PORT);
            assert_eq!(dials(&c1, s1, PATIENCE).await, refused);
            drop(cut);
            assert_eq!(rig::state(&network, &plan), before);
            assert_eq!(dials(&c1, s1, PATIENCE).await, Some(Ok(())));
        }
    });
}

#[test]
fn a_router_s_icmp_ends_dials_and_no_connection() {
    in_lab(async || {
        let effect = Effect::Answer {
            path: path(at_node3(), Direction::Both),
            with: RejectWith::Icmp,
        };
        let plan = plan(effect);
        let network = Network::build(&plan).unwrap();
        let mut streams = connect(&network, &plan).await;
        let cut = effect::inject(&network, &plan, 0).unwrap();
        for (client, server, stream) in &mut streams {
            // Silence as far as it can tell, and no error.
            let echoed = tokio::time::timeout(PATIENCE, rig::echo(stream, "?")).await;
            assert!(echoed.is_err(), "{client} to {server}: {echoed:?}");
        }
        let c1 = network.namespace(&pod("c1"));
        for address in [
            at(plan.pods[2].address, PORT),
            at(plan.pods[3].address6, PORT),
        ] {
            // An error that comes back while connect() still has the socket counts for nothing: the next SYN brings it.
            let dialled = dials(&c1, address, Duration::from_millis(2500)).await;
            assert_eq!(dialled, Some(Err(ErrorKind::HostUnreachable)), "{address}");
        }
        drop(cut);
        for (client, server, stream) in &mut streams {
            assert!(
                answers(stream, Duration::from_secs(4)).await,
                "{client} to {server}"
            );
        }
    });
}
