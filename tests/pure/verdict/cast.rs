//! A story's case: its nodes, servers and clients, and what is expected of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use halfopen::plan::{
    AcceptQueue, App, Case, Cause, Check, Client, Effect, Endpoint, Expectation, Fault,
    ForeseenStanding, LabPlan, Location, Neighbour, Node, Place, Pod, Prediction, Probes, Protocol,
    Server, Service, Target, Transport, Trigger, Warning, Window, Workload, Workloads,
};
use halfopen::record::ClockName;

use super::story::{SERVICE, Story, address, seconds};

impl Story {
    /// Three nodes; `aa-1` on node3 and `aa-2` on node2 behind the service; clients on node1.
    pub(crate) fn new(scenario: &str, duration: f64) -> Self {
        let node = |index: u8| Node {
            name: format!("node{index}"),
            index,
            address: Ipv4Addr::new(10, 0, 0, index),
            address6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, index.into()),
            pod_network: Ipv4Addr::new(192, 168, index, 0),
            pod_network6: Ipv6Addr::new(0xfd00, 0, 0, index.into(), 0, 0, 0, 0),
            sysctls: Vec::new(),
            masquerade: false,
        };
        let mut story = Self {
            case: Case {
                matrix: Vec::new(),
                scenario: scenario.to_owned(),
                name: "default".to_owned(),
                description: None,
                repetition: None,
                counters: Vec::new(),
                spread: Vec::new(),
                lab: LabPlan {
                    seed: 0,
                    duration: seconds(duration),
                    rtt: None,
                    drain: seconds(1.0),
                    nodes: (1..=3).map(node).collect(),
                    pods: Vec::new(),
                    servers: Vec::new(),
                    services: Vec::new(),
                    middleboxes: Vec::new(),
                    clients: Vec::new(),
                    faults: vec![Fault {
                        name: None,
                        kind: "power_loss".to_owned(),
                        target: "node3".to_owned(),
                        detail: None,
                        trigger: Trigger::At(seconds(10.0)),
                        effects: power_loss("node3", Neighbour::Resolves),
                        lasts: None,
                        location: Location::default(),
                    }],
                    probes: Probes::default(),
                },
                expectations: Vec::new(),
                predictions: Vec::new(),
                published: Vec::new(),
                warnings: Vec::new(),
            },
            clock: ClockName::Real,
            events: Vec::new(),
            open: BTreeSet::new(),
            waiting: BTreeMap::new(),
            yaml_line: 20,
        };
        story.server("aa-1", 3);
        story.server("aa-2", 2);
        let endpoint = |server: &Server| Endpoint {
            server: server.name.clone(),
            address: server.listen[0],
        };
        let endpoints = story.case.lab.servers.iter().map(endpoint).collect();
        story.case.lab.services.push(Service {
            name: "aa".to_owned(),
            address: address(SERVICE),
            proxy: halfopen::plan::Proxy::Iptables,
            endpoints,
            pin_first: Some("aa-1".to_owned()),
            removal: Some(seconds(40.0)),
            affinity: None,
            readiness: Some(seconds(10.0)),
        });
        story
    }

    fn pod(&mut self, name: &str, node: u8) -> Ipv4Addr {
        let used = self
            .case
            .lab
            .pods
            .iter()
            .filter(|p| p.node == format!("node{node}"))
            .count();
        let number = u8::try_from(used).unwrap() + 2;
        let address = Ipv4Addr::new(192, 168, node, number);
        self.case.lab.pods.push(Pod {
            name: name.to_owned(),
            node: format!("node{node}"),
            address,
            address6: Ipv6Addr::new(0xfd00, 0, 0, node.into(), 0, 0, 0, number.into()),
            sysctls: Vec::new(),
            uptime: Duration::ZERO,
        });
        address
    }

    fn server(&mut self, name: &str, node: u8) {
        let address = self.pod(name, node);
        self.case.lab.servers.push(Server {
            name: name.to_owned(),
            place: Place::Pod(name.to_owned()),
            node: format!("node{node}"),
            listen: vec![SocketAddr::new(address.into(), 443)],
            tls: true,
            tls_names: vec!["aa".to_owned()],
            protocols: vec![Protocol::H1, Protocol::H2],
            app: App::Lock,
            program: None,
            response_delay: Duration::ZERO,
            limits: halfopen::plan::ServerLimits::default(),
            store: "aa".to_owned(),
            accept_queue: AcceptQueue::default(),
            emulate: None,
        });
    }

    /// A client in a pod of `node`; its transport has no knob set.
    pub(crate) fn client(&mut self, name: &str, node: u8, protocol: Protocol) -> &mut Transport {
        self.pod(name, node);
        self.case.lab.clients.push(Client {
            name: name.to_owned(),
            place: Place::Pod(name.to_owned()),
            node: format!("node{node}"),
            target: Target {
                host: "aa".to_owned(),
                address: address(SERVICE),
                path: "/lock".to_owned(),
                tls: true,
                servers: vec!["aa-1".to_owned(), "aa-2".to_owned()],
                service: Some("aa".to_owned()),
            },
            profile: "plain".to_owned(),
            transport: halfopen::preset::bare(protocol),
            workloads: Workloads::one(
                Workload::LeaderElection {
                    every: seconds(3.0),
                    lease: seconds(15.0),
                    renew_deadline: seconds(10.0),
                    jitter: std::time::Duration::ZERO,
                },
                None,
            ),
            start: Duration::ZERO,
            location: Location::default(),
        });
        &mut self.case.lab.clients.last_mut().unwrap().transport
    }

    /// An expectation, written as the YAML line `source`, whose span is `span`.
    pub(crate) fn expect(
        &mut self,
        client: &str,
        check: Check,
        source: &str,
        span: &str,
    ) -> &mut Self {
        let column = source.find(span).expect("the span is in the line") + 1;
        let location = Location {
            file: "scenarios/example.yaml".to_owned(),
            line: self.yaml_line,
            column,
            length: span.chars().count(),
            text: source.to_owned(),
        };
        self.yaml_line += 1;
        let text = format!("{client}.{}", span.replace(": ", " "));
        self.case.expectations.push(Expectation {
            server: None,
            fault: None,
            client: client.to_owned(),
            workload: None,
            check,
            text,
            location,
        });
        self
    }

    /// A prediction; windows in seconds.
    pub(crate) fn predict(
        &mut self,
        client: &str,
        detection: Option<(f64, f64)>,
        recovery: Option<(f64, f64)>,
        cause: Cause,
    ) -> &mut Self {
        let window = |(min, max)| Window {
            min: seconds(min),
            max: seconds(max),
        };
        self.case.predictions.push(Prediction {
            client: client.to_owned(),
            detection: detection.map(window),
            recovery: recovery.map(window),
            odds: Vec::new(),
            quantiles: Vec::new(),
            relapses_within: None,
            cause,
            unaffected: false,
            standing: ForeseenStanding::default(),
        });
        self
    }

    /// A trap that the plan noticed.
    pub(crate) fn warn(&mut self, text: &str) -> &mut Self {
        let location = Location {
            file: "scenarios/example.yaml".to_owned(),
            line: 7,
            column: 5,
            ..Location::default()
        };
        self.case.warnings.push(Warning {
            text: text.to_owned(),
            location,
        });
        self
    }
}

/// What a loss of power does.
pub(crate) fn power_loss(node: &str, neighbour: Neighbour) -> Vec<Effect> {
    let node = node.to_owned();
    vec![
        Effect::Silence {
            node: node.clone(),
            neighbour,
        },
        Effect::Stop { node },
    ]
}
