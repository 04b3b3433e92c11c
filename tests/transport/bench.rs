//! What the transport's tests share: a network namespace of their own, servers and clients in it, the record.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use halfopen::client::{self, Surroundings};
use halfopen::contract::phase::PhaseBoard;
use halfopen::contract::tls::Authority;
use halfopen::linux::namespace::Namespace;
use halfopen::plan::{self, App, Place, Protocol, Target, Transport, Workload, Workloads};
pub(crate) use halfopen::preset::bare;
use halfopen::record::{ConnectionEnd, EndedBy, Event, Observation, Recorder, RequestError};
use halfopen::server::{self, Commons};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{namespaces, needs};

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Runs the calling test in a network namespace of its own, whose only link is the loopback.
pub(crate) fn in_lab<F: Future<Output = ()>>(test: impl FnOnce(Bench) -> F) {
    namespaces::inside(|| {
        shell("ip link set lo up");
        test(Bench::new())
    });
}

/// Runs a command line in this namespace.
pub(crate) fn shell(command: &str) {
    let called = command
        .split(" && ")
        .filter_map(|one| one.split(' ').next());
    for name in called.filter(|name| *name != "echo") {
        needs::path(name);
    }
    let mut shell = needs::program("sh");
    shell
        .args(["-c", command])
        .env("PATH", needs::search_path());
    let status = shell.status();
    assert!(status.is_ok_and(|s| s.success()), "failed: {command}");
}

/// From now on packets of these ports vanish, in both directions. Dropped where they arrive, not where they leave:
/// a drop on one's own egress is noticed by the sender's TCP.
pub(crate) fn blackhole(port: u16) {
    shell(&format!(
        "iptables -w -A INPUT -p tcp --dport {port} -j DROP && iptables -w -A INPUT -p tcp --sport {port} -j DROP"
    ));
}

/// A namespace with servers and clients, and what they recorded.
pub(crate) struct Bench {
    pub(crate) namespace: Rc<Namespace>,
    pub(crate) recorder: Recorder,
    pub(crate) phases: Rc<PhaseBoard>,
    pub(crate) commons: Rc<Commons>,
    events: Rc<RefCell<Vec<Event>>>,
    stop: watch::Sender<bool>,
}

impl Bench {
    fn new() -> Self {
        let events = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&events);
        let recorder = Recorder::new(move |event| kept.borrow_mut().push(event));
        recorder.start_clock();
        let phases = PhaseBoard::new(recorder.clone());
        Self {
            namespace: Rc::new(Namespace::current("test").expect("/proc")),
            commons: Rc::new(Commons::new(
                recorder.clone(),
                Authority::new().expect("an authority"),
                Rc::clone(&phases),
            )),
            recorder,
            phases,
            events,
            stop: watch::Sender::new(false),
        }
    }

    /// Binds and serves.
    pub(crate) fn serve(&self, server: &plan::Server) -> Serving {
        let bound = server::bind(server, &self.namespace, &self.commons).expect("bound");
        Serving {
            addresses: bound.addresses(),
            task: tokio::task::spawn_local(bound.serve()),
        }
    }

    /// Starts a client.
    pub(crate) fn start(&self, client: plan::Client) -> JoinHandle<()> {
        self.start_with_drain(client, ms(100))
    }

    pub(crate) fn start_with_drain(&self, client: plan::Client, drain: Duration) -> JoinHandle<()> {
        let around = Surroundings {
            namespace: Rc::clone(&self.namespace),
            recorder: self.recorder.clone(),
            trust: self.commons.authority.trust(),
            phases: Rc::clone(&self.phases),
            stop: self.stop.subscribe(),
            drain,
            seed: 0,
        };
        tokio::task::spawn_local(client::run(client, around))
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Clients started from now on run.
    pub(crate) fn go_on(&self) {
        self.stop.send_replace(false);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// From a client's first response to the first end of a connection of its, and that end.
    pub(crate) async fn rested(&self, name: &str) -> (Duration, ConnectionEnd) {
        let answered = self.wait(|o| match o {
            Observation::Response { request, .. } if request.client == name => Some(()),
            _ => None,
        });
        let (answered, ()) = answered.await;
        let closed = self.wait(|o| match o {
            Observation::ConnectionClosed { client, end, .. } if client == name => {
                Some(end.clone())
            }
            _ => None,
        });
        let (closed, end) = closed.await;
        (closed - answered, end)
    }

    /// The first event for which `pick` gives something, waited for; and when it was.
    pub(crate) async fn wait<T>(&self, pick: impl Fn(&Observation) -> Option<T>) -> (Duration, T) {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.find(&pick) {
                return found;
            }
            assert!(
                begun.elapsed() < ms(20_000),
                "waited in vain; seen:\n{}",
                self.story()
            );
            tokio::time::sleep(ms(5)).await;
        }
    }

    pub(crate) fn find<T>(
        &self,
        pick: impl Fn(&Observation) -> Option<T>,
    ) -> Option<(Duration, T)> {
        let events = self.events.borrow();
        events.iter().find_map(|e| Some((e.at(), pick(&e.what)?)))
    }

    pub(crate) fn count(&self, pick: impl Fn(&Observation) -> bool) -> usize {
        self.events
            .borrow()
            .iter()
            .filter(|e| pick(&e.what))
            .count()
    }

    pub(crate) async fn responses(&self, number: usize) {
        let begun = Instant::now();
        while self.count(|o| matches!(o, Observation::Response { .. })) < number {
            assert!(begun.elapsed() < ms(20_000), "seen:\n{}", self.story());
            tokio::time::sleep(ms(5)).await;
        }
    }

    pub(crate) fn story(&self) -> String {
        let lines: Vec<String> = self
            .events
            .borrow()
            .iter()
            .map(|e| format!("{e:?}"))
            .collect();
        lines.join("\n")
    }

    /// How connection `id` ended, waited for.
    pub(crate) async fn closed(&self, id: u32) -> (Duration, ConnectionEnd) {
        self.wait(|o| match o {
            Observation::ConnectionClosed {
                connection, end, ..
            } if *connection == id => Some(end.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn dial_failed(&self) -> (Duration, ConnectionEnd) {
        self.wait(|o| match o {
            Observation::DialFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn failed(&self) -> (Duration, (RequestError, Option<u32>, String)) {
        self.wait(|o| match o {
            Observation::RequestFailed {
                error,
                connection,
                text,
                ..
            } => Some((*error, *connection, text.clone())),
            _ => None,
        })
        .await
    }
}

/// A running server.
pub(crate) struct Serving {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) task: JoinHandle<()>,
}

impl Serving {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

/// An echo server in clear text, on a port the kernel chooses.
pub(crate) fn echo(name: &str) -> plan::Server {
    plan::Server {
        name: name.to_owned(),
        place: Place::Node("node1".to_owned()),
        node: "node1".to_owned(),
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        tls: false,
        tls_names: Vec::new(),
        protocols: vec![Protocol::H1, Protocol::H2],
        app: App::Echo,
        program: None,
        response_delay: Duration::ZERO,
        limits: plan::ServerLimits::default(),
        store: "aa".to_owned(),
        accept_queue: plan::AcceptQueue::default(),
        emulate: None,
    }
}

/// A client that polls `address`.
pub(crate) fn poller(
    name: &str,
    address: SocketAddr,
    transport: Transport,
    every: Duration,
) -> plan::Client {
    plan::Client {
        name: name.to_owned(),
        place: Place::Node("node1".to_owned()),
        node: "node1".to_owned(),
        target: Target {
            host: "localhost".to_owned(),
            address,
            path: "/".to_owned(),
            tls: false,
            servers: vec!["aa".to_owned()],
            service: None,
        },
        profile: "test".to_owned(),
        workloads: Workloads::one(Workload::Poll { every }, transport.request_timeout),
        transport,
        start: Duration::ZERO,
        location: plan::Location::default(),
    }
}

/// Asserts that `actual` lies in [`min`, `max`] milliseconds.
#[track_caller]
pub(crate) fn between(actual: Duration, min: u64, max: u64) {
    assert!(
        ms(min) <= actual && actual <= ms(max),
        "{actual:?} is not within {min}..={max} ms"
    );
}

/// A listener that accepts (the kernel does) and never answers.
pub(crate) fn silent_listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[track_caller]
pub(crate) fn ended_by(end: &ConnectionEnd, by: EndedBy) {
    assert_eq!(end.by, by, "{end:?}");
}
