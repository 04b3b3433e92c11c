//! A link without a carrier: what is behind it is out of reach, nothing else is, and all is put back.

use std::io::ErrorKind;
use std::time::Duration;

use halfopen::lab::effect;
use halfopen::lab::network::Network;
use halfopen::plan::{Effect, End, LabPlan};

use crate::needs;
use crate::rig::{self, answers, at, dials, in_lab, node, pod};

const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_millis(600);

fn plan(behind: End) -> LabPlan {
    let mut plan = rig::plan(3, &[("c1", 1), ("s1", 3), ("s2", 3)]);
    plan.faults = vec![rig::fault([Effect::Carrier { behind }])];
    plan
}

fn carrier(network: &Network, place: &halfopen::plan::Place) -> String {
    let namespace = network.namespace(place);
    let mut ip = needs::program("ip");
    ip.args(["-o", "link", "show", "eth0"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = namespace.enter(|| ip.output()).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Takes the link of `end` down: of s1, s2 and node3 those in `dead` do not answer, and each is well after it.
async fn goes_down(end: End, dead: &[&str]) {
    let plan = plan(end);
    let network = Network::build(&plan).unwrap();
    let client = network.namespace(&pod("c1"));
    let servers = [
        ("s1", pod("s1"), at(plan.pods[1].address, PORT)),
        ("s1", pod("s1"), at(plan.pods[1].address6, PORT)),
        ("s2", pod("s2"), at(plan.pods[2].address, PORT)),
        ("node3", node("node3"), at(plan.nodes[2].address6, PORT)),
    ];
    let mut streams = Vec::new();
    for (name, place, address) in servers {
        rig::serve(&network.namespace(&place), address, "server");
        let (stream, _) = rig::ask(&client, address).await.unwrap();
        streams.push((name, address, stream));
    }
    let before = rig::state(&network, &plan);
    let cut = effect::inject(&network, &plan, 0).unwrap();
    for place in [pod("s1"), pod("s2"), node("node3")] {
        let name = match &place {
            halfopen::plan::Place::Pod(name) | halfopen::plan::Place::Node(name) => name.as_str(),
        };
        let own = match &plan.faults[0].effects[0] {
            Effect::Carrier {
                behind: End::Pod(pod),
            } => name == pod,
            _ => name == "node3",
        };
        let has = !carrier(&network, &place).contains("NO-CARRIER");
        assert_eq!(has, !own, "{name}: {}", carrier(&network, &place));
    }
    for (name, address, stream) in &mut streams {
        let is_dead = dead.contains(name);
        assert_eq!(answers(stream, PATIENCE).await, !is_dead, "{name}");
        let dialled = dials(&client, *address, PATIENCE).await;
        match (&plan.faults[0].effects[0], is_dead) {
            (_, false) => assert_eq!(dialled, Some(Ok(())), "{name}"),
            // Its node has no route to it any more, and says so.
            (
                Effect::Carrier {
                    behind: End::Pod(_),
                },
                true,
            ) => assert!(
                matches!(
                    dialled,
                    None | Some(Err(
                        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
                    ))
                ),
                "{name}: {dialled:?}"
            ),
            // For a while its neighbours believe in it, and hear nothing.
            (_, true) => assert_eq!(dialled, None, "{name}"),
        }
    }
    drop(cut);
    for (name, address, stream) in &mut streams {
        assert!(answers(stream, Duration::from_secs(5)).await, "{name}");
        assert_eq!(
            dials(&client, *address, Duration::from_secs(2)).await,
            Some(Ok(()))
        );
    }
    assert_eq!(rig::state(&network, &plan), before);
}

#[test]
fn a_node_s_uplink_takes_all_that_is_behind_it() {
    in_lab(async || {
        goes_down(End::Machine("node3".to_owned()), &["s1", "s2", "node3"]).await;
    });
}

#[test]
fn a_pod_s_link_takes_the_pod() {
    in_lab(async || {
        goes_down(End::Pod("s1".to_owned()), &["s1"]).await;
    });
}
