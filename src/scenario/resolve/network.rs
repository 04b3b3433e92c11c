//! Nodes and pods with their addresses and sysctls, and the time between them.

use std::time::Duration;

use crate::plan::address::{self, MAX_NODES, MAX_PODS};
use crate::plan::{Node, Place, Pod, RoundTrip, Sysctl};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{Named, NodeSpec, Spanned, Text};
use crate::scenario::sysctls;
use crate::yaml::{Problem, given, placed};

/// Below a second, so that the SYN's own timer (RFC 6298, 2.1) does not fire on a healthy path.
const LONGEST_RTT: Duration = Duration::from_millis(900);
/// Above what veth pairs take, which would go on top of it unseen.
const SHORTEST_RTT: Duration = Duration::from_micros(200);

/// A round trip that a network can have, and that leaves the fault's phases their meaning.
pub(super) fn rtt(cx: &mut Cx<'_>) -> Option<RoundTrip> {
    let (span, time) = placed(&cx.scenario.rtt)?;
    if time.0 > LONGEST_RTT {
        let message = "a round trip of more than 900 ms, which no path on Earth has";
        let help = "write e.g. `rtt: 40ms`; by satellite it is some 600 ms";
        cx.push(Problem::new(span, message).help(help));
    } else if time.0 < SHORTEST_RTT {
        let message = "a round trip of less than 200 us is the machine's own";
        cx.push(Problem::new(span, message).help(
            "leave `rtt` out for a network as fast as the machine, or write e.g. `rtt: 1ms`",
        ));
    }
    Some(RoundTrip {
        time: time.0,
        location: cx.locate(span),
    })
}

/// The machines.
pub(super) fn nodes(cx: &mut Cx<'_>) {
    let scenario = cx.scenario;
    cx.topology.sysctls = sysctls(cx, &scenario.sysctls);
    let Some(nodes) = scenario.nodes.get() else {
        return;
    };
    if nodes.0.is_empty() {
        let problem = Problem::new(scenario.nodes.span, "a scenario needs a node");
        cx.push(problem.help("write e.g. `nodes: [node1, node2]`"));
    }
    for (number, (name, spec)) in (1..).zip(&nodes.0) {
        let node = node(cx, number, name, spec);
        let what = format!("node `{}`", name.get().map_or("?", String::as_str));
        let node = cx.account(&what, name.span, node);
        cx.topology.nodes.extend(node);
    }
}

fn node(cx: &mut Cx<'_>, number: usize, name: &Spanned<String>, spec: &NodeSpec) -> Option<Node> {
    let sysctls = over_everybodys(cx, &spec.sysctls);
    if number == MAX_NODES + 1 {
        let problem = Problem::new(name.span, format!("more than {MAX_NODES} nodes"));
        cx.push(problem.help("the nodes' network is 10.0.0.0/24"));
    }
    let index = u8::try_from(number).ok()?;
    (number <= MAX_NODES).then_some(Node {
        name: name.get()?.clone(),
        index,
        address: address::node(index),
        address6: address::node6(index),
        pod_network: address::pod_network(index),
        pod_network6: address::pod_network6(index),
        sysctls,
        masquerade: given(&spec.masquerade).copied().unwrap_or_default(),
    })
}

/// A place on `node` for the server or client called `name`: the node itself, or a new pod.
pub(super) fn place(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    node: &Spanned<String>,
    host_network: bool,
    own: &Option<Spanned<Named<Text>>>,
) -> Option<Place> {
    // Only a pod has a network namespace, and so sysctls, of its own.
    if let Some(own) = own.as_ref().filter(|_| host_network) {
        let message = "on the host network there are no sysctls of one's own";
        let help = "set them on the node: `nodes: { NODE: { sysctls: … } }`";
        cx.push(Problem::new(own.span, message).help(help));
    }
    let sysctls = over_everybodys(cx, own);
    let node = cx.existing(Kind::Node, node)?;
    let index = cx.topology.node(node)?.index;
    if host_network {
        return Some(Place::Node(node.to_owned()));
    }
    let before = cx.topology.pods_of.entry(node.to_owned()).or_default();
    let n = *before;
    *before += 1;
    if n == MAX_PODS {
        let message = format!("node `{node}` has more than {MAX_PODS} pods");
        let help = "put some on another node; a pod network is a /24";
        cx.push(Problem::new(name.span, message).help(help));
    }
    let n = u8::try_from(n).ok().filter(|_| n < MAX_PODS)?;
    let name = name.get()?;
    cx.topology.pods.push(Pod {
        name: name.clone(),
        node: node.to_owned(),
        address: address::pod(index, n),
        address6: address::pod6(index, n),
        sysctls,
        uptime: Duration::ZERO,
    });
    Some(Place::Pod(name.clone()))
}

/// Everybody's sysctls, and over them one's own.
fn over_everybodys(cx: &mut Cx<'_>, own: &Option<Spanned<Named<Text>>>) -> Vec<Sysctl> {
    let own = sysctls(cx, own);
    let mut all = cx.topology.sysctls.clone();
    all.retain(|sysctl| own.iter().all(|s| s.key != sysctl.key));
    all.extend(own);
    all
}

fn sysctls(cx: &mut Cx<'_>, field: &Option<Spanned<Named<Text>>>) -> Vec<Sysctl> {
    let mut all = Vec::new();
    for (name, value) in given(field).into_iter().flat_map(|named| &named.0) {
        let sysctl = sysctl(cx, name, value);
        let what = format!("sysctl `{}`", name.get().map_or("?", String::as_str));
        all.extend(cx.account(&what, name.span, sysctl));
    }
    all
}

fn sysctl(cx: &mut Cx<'_>, name: &Spanned<String>, value: &Spanned<Text>) -> Option<Sysctl> {
    let key = name.get()?;
    let part = |p: &str| {
        !p.is_empty()
            && p.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let shaped = key.split('.').all(part) && key.contains('.');
    if !shaped || !key.starts_with("net.") {
        let message = format!("`{key}` is not a sysctl of a network namespace");
        cx.push(Problem::new(name.span, message).help(match shaped {
            true => "only those under `net.` belong to a node or a pod",
            false => "it is written with dots, e.g. `net.ipv4.tcp_retries2`",
        }));
    } else if !sysctls::is_known(key) {
        let problem = Problem::new(name.span, format!("Linux has no sysctl `{key}`"));
        cx.push(problem.help(match sysctls::nearest(key) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`sysctl -a` lists those of a machine".to_owned(),
        }));
    }
    let text = &value.get()?.0;
    if text.trim().is_empty() || text.contains(['\n', '\0']) {
        let message = format!("sysctl `{key}` needs a value on one line");
        cx.push(Problem::new(value.span, message));
    }
    Some(Sysctl {
        key: key.clone(),
        value: text.clone(),
        location: cx.locate(name.span),
    })
}
