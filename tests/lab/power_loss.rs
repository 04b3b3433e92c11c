//! A node's loss of power, on the wire.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use halfopen::lab::effect::{self, Vanished};
use halfopen::lab::network::Network;
use halfopen::plan::{Effect, LabPlan, Neighbour};
use halfopen::probe::packets::PacketProbe;
use halfopen::record::{Event, Observation, Recorder, Segment};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{self, at, in_lab, node, pod};

const PORT: u16 = 80;

fn power_loss(node: &str, neighbour: Neighbour) -> [Effect; 2] {
    let node = node.to_owned();
    [
        Effect::Silence {
            node: node.clone(),
            neighbour,
        },
        Effect::Stop { node },
    ]
}

/// A client in a pod of node 1; servers in two pods of node 3 and on node 3 itself.
fn plan(retries: &str) -> LabPlan {
    let mut plan = rig::plan(3, &[("client", 1), ("s1", 3), ("s2", 3)]);
    plan.pods[0]
        .sysctls
        .push(rig::sysctl("net.ipv4.tcp_retries2", retries));
    plan.faults = vec![
        rig::fault(power_loss("node3", Neighbour::Resolves)),
        rig::fault(power_loss("node3", Neighbour::Dead)),
        rig::fault(power_loss("node2", Neighbour::Resolves)),
    ];
    plan
}

/// A recorder into a list.
fn recorder() -> (Recorder, Rc<RefCell<Vec<Event>>>) {
    let events = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&events);
    let recorder = Recorder::new(move |event| sink.borrow_mut().push(event));
    recorder.start_clock();
    (recorder, events)
}

fn watch(network: &Network, name: &str, recorder: &Recorder) {
    let probe = PacketProbe::open(name, &network.namespace(&node(name))).unwrap();
    let recorder = recorder.clone();
    tokio::task::spawn_local(async move { probe.run(&recorder).await.unwrap() });
}

fn segments(events: &[Event]) -> Vec<Segment> {
    let segment = |event: &Event| match &event.what {
        Observation::Segment(segment) => Some(segment.clone()),
        _ => None,
    };
    events.iter().filter_map(segment).collect()
}

async fn connect_to_all(network: &Network, plan: &LabPlan) -> Vec<TcpStream> {
    let client = network.namespace(&pod("client"));
    let servers = [
        (pod("s1"), at(plan.pods[1].address, PORT)),
        (pod("s2"), at(plan.pods[2].address6, PORT)),
        (node("node3"), at(plan.nodes[2].address, PORT)),
    ];
    let mut streams = Vec::new();
    for (place, address) in servers {
        rig::serve(&network.namespace(&place), address, "server");
        streams.push(rig::ask(&client, address).await.unwrap().0);
    }
    streams
}

/// The socket's error, once it has one, and how long that took.
async fn dies(stream: &mut TcpStream) -> (Option<i32>, Duration) {
    let start = Instant::now();
    stream.write_all(b"anybody there?").await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    (error.raw_os_error(), start.elapsed())
}

#[test]
fn two_pods_and_the_node_itself_die_together_in_silence() {
    in_lab(async || {
        let plan = plan("3");
        let network = Network::build(&plan).unwrap();
        let mut streams = connect_to_all(&network, &plan).await;
        let (recorder, events) = recorder();
        watch(&network, "node1", &recorder);
        watch(&network, "node3", &recorder);
        let mut cut = effect::inject(&network, &plan, 0).unwrap();

        let [a, b, c] = &mut streams[..] else {
            panic!("three streams")
        };
        let ends = <[_; 3]>::from(tokio::join!(dies(a), dies(b), dies(c)));
        for (error, took) in ends {
            assert_eq!(error, Some(libc::ETIMEDOUT));
            // tcp_retries2 = 3: not before 3.0 s after the first retransmission.
            assert!(
                took > Duration::from_secs(3) && took < Duration::from_secs(9),
                "{took:?}"
            );
        }

        let events = events.borrow();
        let (dead, segments): (Vec<_>, Vec<_>) = segments(&events)
            .into_iter()
            .partition(|s| s.node == "node3");
        assert_eq!(dead, [], "delivered to the dead node, or sent by it");
        for stream in &streams {
            let port = stream.local_addr().unwrap().port();
            assert_backs_off(&segments, port);
        }
        for segment in &segments {
            assert!(!segment.flags.contains(['R', 'F']), "{segment:?}");
            assert_eq!(
                segment.to.port(),
                PORT,
                "an answer from the dead: {segment:?}"
            );
        }
        let icmp = events
            .iter()
            .find(|e| matches!(e.what, Observation::Icmp { .. }));
        assert_eq!(icmp, None);
        let vanished = cut.vanished().unwrap();
        // Multicast listener reports of the other nodes vanish as well.
        assert!(vanished.to_node >= segments.len() as u64, "{vanished:?}");
    });
}

#[test]
fn two_nodes_die_and_heal_one_by_one() {
    in_lab(async || {
        let plan = plan("3");
        let network = Network::build(&plan).unwrap();
        let first = effect::inject(&network, &plan, 0).unwrap();
        let mut second = effect::inject(&network, &plan, 2).unwrap();
        drop(first);
        // The first node is back, the second is not: its rules are its own.
        let streams = connect_to_all(&network, &plan).await;
        assert_eq!(streams.len(), 3);
        assert!(second.vanished().is_ok());
    });
}

/// Retransmissions of the one flow from `port`, after the tail loss probe, come at doubling intervals.
fn assert_backs_off(segments: &[Segment], port: u16) {
    let mut flow: Vec<_> = segments.iter().filter(|s| s.from.port() == port).collect();
    flow.sort_by_key(|s| s.stamp_ns);
    let numbers: Vec<_> = flow.iter().map(|s| s.retransmission).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    assert!(numbers.len() >= 5, "{flow:?}");
    let times: Vec<_> = flow.iter().map(|s| s.stamp_ns as f64 / 1e9).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!("gaps of port {port}: {gaps:.3?}");
    // The first is the tail loss probe's; the timer starts anew there.
    for pair in gaps[1..].windows(2) {
        let factor = pair[1] / pair[0];
        assert!((1.85..2.15).contains(&factor), "{gaps:?}");
    }
}

#[test]
fn the_dead_do_not_deliver_either() {
    in_lab(async || {
        let plan = plan("15");
        let network = Network::build(&plan).unwrap();
        let mut streams = connect_to_all(&network, &plan).await;
        // The dead node's own processes go on in this test: what they send has to vanish as well.
        let from_dead = network.namespace(&node("node3"));
        let listener = at(plan.nodes[0].address, PORT);
        rig::serve(&network.namespace(&node("node1")), listener, "alive");
        let (mut outward, _) = rig::ask(&from_dead, listener).await.unwrap();
        let inner = at(plan.pods[1].address, PORT);
        let (mut inward, _) = rig::ask(&network.namespace(&pod("s2")), inner)
            .await
            .unwrap();

        // The kernel tells of a new link's multicast groups a moment after it is up, and that would vanish, too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut cut = effect::inject(&network, &plan, 0).unwrap();
        assert_eq!(cut.vanished().unwrap(), Vanished::default());
        let silence = Duration::from_millis(500);
        for stream in [&mut outward, &mut inward, &mut streams[0]] {
            let answer = tokio::time::timeout(silence, rig::echo(stream, "?")).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        let vanished = cut.vanished().unwrap();
        assert!(vanished.from_node > 0, "{vanished:?}");
        assert!(vanished.to_node > 0, "{vanished:?}");
        assert!(vanished.inside > 0, "{vanished:?}");

        drop(cut);
        for stream in [&mut outward, &mut inward, &mut streams[0]] {
            let answer = tokio::time::timeout(Duration::from_secs(3), stream.read_u8()).await;
            assert!(matches!(answer, Ok(Ok(b'?'))), "{answer:?}");
        }
        let (_, name) = rig::ask(&network.namespace(&pod("client")), inner)
            .await
            .unwrap();
        assert_eq!(name, "server");
    });
}

#[test]
fn neighbours_resolve_after_a_silent_loss_and_not_after_a_dark_one() {
    in_lab(async || {
        for (fault, errno) in [(0, None), (1, Some(libc::EHOSTUNREACH))] {
            let plan = plan("15");
            let network = Network::build(&plan).unwrap();
            let _streams = connect_to_all(&network, &plan).await;
            let _cut = effect::inject(&network, &plan, fault).unwrap();
            let client = network.namespace(&node("node2"));
            let dial = async |address| {
                let dial = rig::connect(&client, address);
                let end = tokio::time::timeout(Duration::from_secs(4), dial).await;
                end.ok().map(|end| end.unwrap_err().raw_os_error().unwrap())
            };
            let [four, six] = [
                at(plan.nodes[2].address, PORT),
                at(plan.nodes[2].address6, PORT),
            ];
            let ends = tokio::join!(dial(four), dial(six));
            assert_eq!(ends, (errno, errno), "fault {fault}");
        }
    });
}
