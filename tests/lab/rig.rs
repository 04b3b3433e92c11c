//! What the tests of the lab share: plans to build, and ways to use and to look at what was built.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use halfopen::lab::network::Network;
use halfopen::linux::namespace::Namespace;
use halfopen::plan::{
    AcceptQueue, App, Client, Effect, Endpoint, Fault, LabPlan, Location, Node, Place, Pod, Probes,
    Protocol, Server, ServerLimits, Service, Sysctl, Target, Trigger, Workload, Workloads,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub(crate) use crate::namespaces::inside as in_lab;
use crate::needs;

/// A plan of `nodes` nodes with `pods` (name, node), and nothing running.
pub(crate) fn plan(nodes: u8, pods: &[(&str, u8)]) -> LabPlan {
    let node = |index: u8| Node {
        name: format!("node{index}"),
        index,
        address: Ipv4Addr::new(10, 0, 0, index),
        address6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, index.into()),
        pod_network: Ipv4Addr::new(192, 168, index - 1, 0),
        pod_network6: Ipv6Addr::new(0xfd00, index.into(), 0, 0, 0, 0, 0, 0),
        sysctls: Vec::new(),
        masquerade: false,
    };
    let pod = |(n, (name, node)): (usize, &(&str, u8))| {
        let host = u8::try_from(n).unwrap() + 2;
        Pod {
            name: (*name).to_owned(),
            node: format!("node{node}"),
            address: Ipv4Addr::new(192, 168, node - 1, host),
            address6: Ipv6Addr::new(0xfd00, (*node).into(), 0, 0, 0, 0, 0, host.into()),
            sysctls: Vec::new(),
            uptime: Duration::ZERO,
        }
    };
    LabPlan {
        seed: 1,
        duration: Duration::from_secs(10),
        rtt: None,
        drain: Duration::ZERO,
        nodes: (1..=nodes).map(node).collect(),
        pods: pods.iter().enumerate().map(pod).collect(),
        servers: Vec::new(),
        services: Vec::new(),
        middleboxes: Vec::new(),
        clients: Vec::new(),
        faults: Vec::new(),
        probes: Probes::default(),
    }
}

/// Adds a service at `address` with `endpoints` (server, address), and a client of it at each of `places`.
pub(crate) fn add_service(
    plan: &mut LabPlan,
    name: &str,
    address: &str,
    endpoints: &[(&str, SocketAddr)],
    places: &[Place],
) {
    let address = address.parse().unwrap();
    for place in places {
        let client = client(plan, name, address, place);
        plan.clients.push(client);
    }
    plan.services.push(Service {
        name: name.to_owned(),
        address,
        proxy: halfopen::plan::Proxy::Iptables,
        endpoints: endpoints
            .iter()
            .map(|(server, address)| Endpoint {
                server: (*server).to_owned(),
                address: *address,
            })
            .collect(),
        pin_first: None,
        affinity: None,
        removal: None,
        readiness: None,
    });
}

fn client(plan: &LabPlan, service: &str, address: SocketAddr, place: &Place) -> Client {
    Client {
        name: format!("client{}", plan.clients.len()),
        place: place.clone(),
        node: plan.node_of(place).unwrap().to_owned(),
        target: Target {
            host: service.to_owned(),
            address,
            path: "/".to_owned(),
            tls: false,
            servers: Vec::new(),
            service: Some(service.to_owned()),
        },
        profile: "bare".to_owned(),
        transport: halfopen::preset::bare(Protocol::H1),
        workloads: Workloads::one(
            Workload::Poll {
                every: Duration::from_secs(1),
            },
            None,
        ),
        start: Duration::ZERO,
        location: Location::default(),
    }
}

/// A server in the pod of its name, on `address`.
pub(crate) fn server(plan: &LabPlan, name: &str, address: SocketAddr) -> Server {
    Server {
        place: pod(name),
        ..server_on(name, &plan.pod(name).unwrap().node, address)
    }
}

/// A server on a node, on `address`.
pub(crate) fn server_on(name: &str, on: &str, address: SocketAddr) -> Server {
    Server {
        name: name.to_owned(),
        place: node(on),
        node: on.to_owned(),
        listen: vec![address],
        tls: false,
        tls_names: Vec::new(),
        protocols: vec![Protocol::H1],
        app: App::Echo,
        program: None,
        response_delay: Duration::ZERO,
        limits: ServerLimits::default(),
        store: name.to_owned(),
        accept_queue: AcceptQueue::default(),
        emulate: None,
    }
}

/// A fault that fires when a test says so.
pub(crate) fn fault(effects: impl IntoIterator<Item = Effect>) -> Fault {
    Fault {
        name: None,
        kind: "test".to_owned(),
        target: "the lab".to_owned(),
        detail: None,
        trigger: Trigger::At(Duration::ZERO),
        effects: effects.into_iter().collect(),
        lasts: None,
        location: Location::default(),
    }
}

/// A sysctl as a scenario would set it.
pub(crate) fn sysctl(key: &str, value: &str) -> Sysctl {
    Sysctl {
        key: key.to_owned(),
        value: value.to_owned(),
        location: Location {
            file: "scenario.yaml".to_owned(),
            line: 7,
            column: 3,
            length: key.len(),
            text: format!("  {key}: {value}"),
        },
    }
}

/// A place in a pod.
pub(crate) fn pod(name: &str) -> Place {
    Place::Pod(name.to_owned())
}

/// A place on a node.
pub(crate) fn node(name: &str) -> Place {
    Place::Node(name.to_owned())
}

/// A listener in `namespace` that says `name` to whoever connects, then echoes.
pub(crate) fn serve(namespace: &Namespace, address: SocketAddr, name: &'static str) {
    let socket = namespace.tcp_socket(address).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    tokio::task::spawn_local(async move {
        use tokio::io::AsyncWriteExt as _;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let hello = format!("{name}\n");
                if stream.write_all(hello.as_bytes()).await.is_err() {
                    return;
                }
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

/// Connects from `namespace`.
pub(crate) async fn connect(
    namespace: &Namespace,
    address: SocketAddr,
) -> std::io::Result<TcpStream> {
    let socket = namespace.tcp_socket(address)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// Connects from `namespace` and returns the stream and the name of who answered.
pub(crate) async fn ask(
    namespace: &Namespace,
    address: SocketAddr,
) -> std::io::Result<(TcpStream, String)> {
    use tokio::io::AsyncReadExt as _;
    let mut stream = connect(namespace, address).await?;
    let mut name = String::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok((stream, name)),
            byte => name.push(byte.into()),
        }
    }
}

/// Sends `text` on `stream` and waits for its echo.
pub(crate) async fn echo(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(text.as_bytes()).await?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, text.as_bytes());
    Ok(())
}

/// Address and port.
pub(crate) fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// All that is set up in a lab's namespaces: links with their state, addresses, routes, queueing disciplines, rules.
pub(crate) fn state(network: &Network, plan: &LabPlan) -> String {
    let nodes = plan.nodes.iter().map(|n| network.namespace(&node(&n.name)));
    let pods = plan.pods.iter().map(|p| network.namespace(&pod(&p.name)));
    let all = nodes.chain(pods).chain([Rc::clone(network.fabric())]);
    let commands = [
        "ip -o link",
        "ip -o addr",
        "ip route show table all",
        "ip -6 route show table all",
        "tc qdisc",
        "nft list ruleset",
        "iptables-save -t nat",
    ];
    let mut state = String::new();
    for namespace in all {
        for command in commands {
            let mut words = command.split(' ');
            let mut run = needs::program(words.next().unwrap());
            run.args(words);
            let output = namespace.enter(|| run.output()).unwrap();
            assert!(output.status.success(), "{command}: {output:?}");
            let mut lines: Vec<_> = String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                // Counters of what passed, and times of printing.
                .filter(|line| !line.starts_with(['#', ':']))
                .map(uncounted)
                .collect();
            lines.sort();
            state += &format!("{}: {command}\n{}\n", namespace.name(), lines.join("\n"));
        }
    }
    state
}

/// A rule without what it has counted.
fn uncounted(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let counted = |n: usize| n > 0 && ["packets", "bytes"].contains(&words[n - 1]);
    let kept = (0..words.len()).filter(|n| !counted(*n)).map(|n| words[n]);
    kept.collect::<Vec<_>>().join(" ")
}

/// Whether an echo comes back within `patience`.
pub(crate) async fn answers(stream: &mut TcpStream, patience: Duration) -> bool {
    let echoed = tokio::time::timeout(patience, echo(stream, "?")).await;
    matches!(echoed, Ok(Ok(())))
}

/// Whether a server can be dialled within `patience`, and how not: `None` = silence.
pub(crate) async fn dials(
    from: &Namespace,
    address: SocketAddr,
    patience: Duration,
) -> Option<Result<(), ErrorKind>> {
    let dialled = tokio::time::timeout(patience, connect(from, address)).await;
    dialled.ok().map(|d| d.map(drop).map_err(|e| e.kind()))
}
