//! The network of a lab: who reaches whom, what sysctls hold, and that nothing of it is left.

use std::net::IpAddr;
use std::time::Duration;

use halfopen::lab::LabError;
use halfopen::lab::network::Network;
use halfopen::linux::LinuxError;
use halfopen::linux::sysctl;
use halfopen::plan::{Effect, End, LabPlan, Place};
use halfopen::record::Observation;

use crate::needs;
use crate::rig::{self, at, in_lab, node, pod};

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
            servers.push((pod(&p.name), [IpAddr::from(p.address), p.address6.into()]));
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
fn a_sysctl_holds_where_it_is_set_and_nowhere_else() {
    in_lab(async || {
        const KEY: &str = "net.ipv4.tcp_retries2";
        let mut plan = three_by_three();
        plan.nodes[0].sysctls.push(rig::sysctl(KEY, "5"));
        let mut network = Network::build(&plan).unwrap();
        let value = |place| network.namespace(&place).enter(|| sysctl::read(KEY));
        assert_eq!(value(node("node1")).unwrap(), "5");
        // A pod has its own copy, with the kernel's default: a node's setting never reaches it.
        for place in [pod("a"), node("node2")] {
            assert_eq!(value(place).unwrap(), "15");
        }
        let seen = network.take_observations();
        let expected = Observation::Sysctl {
            place: "node1".to_owned(),
            key: KEY.to_owned(),
            value: "5".to_owned(),
        };
        assert!(seen.contains(&expected), "{seen:?}");
    });
}

#[test]
fn what_a_tuned_host_hands_down_is_pinned_to_the_kernel_s_default() {
    in_lab(async || {
        // IPv4 settings of links are handed down from where a namespace is made, on some kernels from the host only;
        // what the lab ends up with must be the default in any case.
        let plan = three_by_three();
        let mut network = Network::build(&plan).unwrap();
        let warned = network.take_observations();
        let warned = |key: &str| {
            warned
                .iter()
                .any(|o| matches!(o, Observation::Warning { text } if text.starts_with(key)))
        };
        let release = nix::sys::utsname::uname().unwrap();
        let release = release.release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next().unwrap().parse::<u32>().unwrap();
        let kernel = (number(), number());
        for place in [node("node1"), pod("a")] {
            network
                .namespace(&place)
                .visit(|| {
                    for pin in sysctl::PINNED {
                        match sysctl::read(pin.key) {
                            Ok(value) if pin.since.is_none_or(|first| kernel >= first) => {
                                let is_default = value == pin.default;
                                assert!(is_default != warned(pin.key), "{}: {value}", pin.key);
                            }
                            _ => {}
                        }
                    }
                })
                .unwrap();
        }
    });
}

#[test]
fn a_sysctl_that_cannot_be_set_says_why_and_where_it_stood() {
    in_lab(async || {
        let build = |key, value| {
            let mut plan = three_by_three();
            plan.pods[0].sysctls.push(rig::sysctl(key, value));
            Network::build(&plan).unwrap_err()
        };
        let missing = build("net.ipv4.tcp_tw_recycle", "1");
        let LabError::Linux(LinuxError::Missing { what, location }) = &missing else {
            panic!("{missing:?}");
        };
        assert!(
            what.starts_with("the sysctl net.ipv4.tcp_tw_recycle"),
            "{what}"
        );
        assert_eq!(location.as_ref().unwrap().line, 7);
        assert!(matches!(
            missing.into_observation(),
            Observation::Skipped { .. }
        ));

        let other = std::fs::read_to_string("/proc/sys/kernel/panic").unwrap();
        for (key, value) in [
            ("net.ipv4.tcp_retries2", "many"),
            ("net.ipv4.tcp_retries2", "70000"),
            ("net.core.rmem_max/../somaxconn", "1"),
            ("kernel.panic", "5"),
        ] {
            let refused = build(key, value);
            assert!(
                matches!(&refused, LabError::Linux(LinuxError::Refused { location, .. }) if location.line == 7),
                "{key} = {value}: {refused:?}"
            );
            let observation = refused.into_observation();
            assert!(matches!(
                observation,
                Observation::RigError {
                    location: Some(_),
                    ..
                }
            ));
        }
        assert_eq!(
            std::fs::read_to_string("/proc/sys/kernel/panic").unwrap(),
            other
        );
    });
}

#[test]
fn what_surrounds_a_lab_stays_as_it_was() {
    in_lab(async || {
        let before = surroundings();
        let network = Network::build(&three_by_three()).unwrap();
        assert_eq!(surroundings(), before);
        drop(network);
        assert_eq!(surroundings(), before);
    });
    let before = surroundings();
    in_lab(async || {
        let _network = Network::build(&three_by_three()).unwrap();
    });
    assert_eq!(surroundings(), before);
}

/// Links, addresses, routes and network sysctls of the namespace this thread is in.
fn surroundings() -> String {
    let mut seen = String::new();
    for file in ["dev_mcast", "if_inet6", "route", "ipv6_route", "fib_trie"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        // Counters of use, at the end of a route's line, come and go.
        for line in text
            .unwrap_or_default()
            .lines()
            .filter(|_| file != "ipv6_route")
        {
            seen.push_str(line);
            seen.push('\n');
        }
    }
    for pin in sysctl::PINNED {
        seen.push_str(&format!("{} {:?}\n", pin.key, sysctl::read(pin.key).ok()));
    }
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        seen.push_str(&format!("{key} {:?}\n", sysctl::read(key).ok()));
    }
    seen
}

#[test]
fn a_lab_s_namespaces_vanish_with_it() {
    in_lab(async || {
        let network = Network::build(&three_by_three()).unwrap();
        let inodes: Vec<_> = [node("node1"), node("node2"), pod("a"), pod("c")]
            .iter()
            .map(|place| network.namespace(place).enter(current_namespace).unwrap())
            .collect();
        drop(network);
        let held: Vec<_> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .filter(|link| inodes.contains(link))
            .collect();
        assert_eq!(
            held, [""; 0],
            "a namespace lives as long as a descriptor of it"
        );
    });
}

fn current_namespace() -> std::io::Result<String> {
    let link = std::fs::read_link("/proc/thread-self/ns/net")?;
    Ok(link.to_string_lossy().into_owned())
}

#[test]
fn this_machine_can_do_what_labs_are_built_of() {
    in_lab(async || {
        let checks = halfopen::clock::machine::probe_in_namespace();
        for check in &checks {
            println!("{check:?}");
        }
        // A lab has been built by the other tests here, so these must be found.
        for name in [
            "veth",
            "bridge",
            "nf_tables on links",
            "statistic match, IPv4",
            "AF_PACKET",
            "sock_diag",
        ] {
            let check = checks.iter().find(|check| check.name == name);
            let state = check.map(|check| check.state);
            assert_eq!(state, Some(halfopen::clock::machine::State::Ok), "{name}");
        }
    });
}

/// What a place knows of its neighbours, a line each.
fn neighbours(network: &Network, place: &halfopen::plan::Place) -> Vec<String> {
    let mut all = Vec::new();
    for family in ["-4", "-6"] {
        let mut ip = needs::program("ip");
        ip.args([family, "neigh", "show", "nud", "all"]);
        let shown = network.namespace(place).enter(|| ip.output()).unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        all.extend(text.lines().map(str::to_owned));
    }
    // Loopback and multicast are asked for nobody.
    all.retain(|line| !line.contains("NOARP"));
    all
}

fn places(plan: &LabPlan) -> Vec<halfopen::plan::Place> {
    let nodes = plan.nodes.iter().map(|n| node(&n.name));
    nodes
        .chain(plan.pods.iter().map(|p| pod(&p.name)))
        .collect()
}

/// Has every pod reach every other, by both families.
async fn all_meet(network: &Network, plan: &LabPlan) {
    for p in &plan.pods {
        for address in [IpAddr::from(p.address), p.address6.into()] {
            rig::serve(&network.namespace(&pod(&p.name)), at(address, 80), "here");
        }
    }
    for from in &plan.pods {
        for to in &plan.pods {
            for address in [IpAddr::from(to.address), to.address6.into()] {
                let address = at(address, 80);
                rig::ask(&network.namespace(&pod(&from.name)), address)
                    .await
                    .unwrap();
            }
        }
    }
}

/// The machine's neighbour table counts none of them: so no number of labs fills it.
#[test]
fn a_lab_s_neighbours_take_no_room_in_the_machine_s_table() {
    in_lab(async || {
        let plan = rig::plan(3, &[("a", 1), ("b", 2), ("c", 3), ("d", 3)]);
        let network = Network::build(&plan).unwrap();
        all_meet(&network, &plan).await;
        for place in places(&plan) {
            let known = neighbours(&network, &place);
            assert!(known.len() >= 2, "{place:?}: {known:?}");
            for line in known {
                assert!(line.contains("PERMANENT"), "{place:?}: {line}");
            }
        }
    });
}

/// How the kernel forgets who is behind a dead link is measured, so there it finds its neighbours by itself.
#[test]
fn neighbours_across_a_link_that_loses_its_carrier_are_found_by_asking() {
    in_lab(async || {
        for (behind, by_asking) in [
            (
                End::Machine("node3".to_owned()),
                ["node1", "node2", "node3"].as_slice(),
            ),
            (End::Pod("d".to_owned()), ["node3", "d"].as_slice()),
        ] {
            let mut plan = rig::plan(3, &[("a", 1), ("b", 2), ("c", 3), ("d", 3)]);
            plan.faults = vec![rig::fault([Effect::Carrier { behind }])];
            let network = Network::build(&plan).unwrap();
            all_meet(&network, &plan).await;
            for place in places(&plan) {
                let (Place::Node(name) | Place::Pod(name)) = &place;
                let known = neighbours(&network, &place);
                let asked = known.iter().any(|line| !line.contains("PERMANENT"));
                assert_eq!(
                    asked,
                    by_asking.contains(&name.as_str()),
                    "{place:?}: {known:?}"
                );
            }
        }
    });
}

/// A batch of requests is longer than a socket's buffer, and so are the answers.
#[test]
fn a_node_with_many_pods_is_built() {
    in_lab(async || {
        let names: Vec<String> = (0..200).map(|n| format!("p{n}")).collect();
        let pods: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let plan = rig::plan(1, &pods);
        let network = Network::build(&plan).unwrap();
        let last = at(plan.pods[199].address6, 80);
        rig::serve(&network.namespace(&pod("p199")), last, "here");
        rig::ask(&network.namespace(&pod("p0")), last)
            .await
            .unwrap();
    });
}
