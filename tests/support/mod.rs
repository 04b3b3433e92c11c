//! What the transport's tests share: a network namespace of their own, servers and clients in it, the record.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use halfopen::client::phase::PhaseBoard;
use halfopen::client::{self, Surroundings};
use halfopen::lab::namespace::Namespace;
pub(crate) use halfopen::plan::profile::bare;
use halfopen::plan::{self, App, Place, Protocol, Target, Transport, Workload, Workloads};
use halfopen::record::{ConnectionEnd, EndedBy, Event, Observation, Recorder, RequestError};
use halfopen::server::lock::Stores;
use halfopen::server::nodes::Registries;
use halfopen::server::tls::Authority;
use halfopen::server::{self, Commons};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Set in the process that is already in namespaces of its own.
const INSIDE: &str = "HALFOPEN_TEST_INSIDE";

/// Runs the calling test in new user and network namespaces, on one thread: in a process of its own, for only a
/// process with a single thread may enter a user namespace. `name` is the test's path in its file.
pub(crate) fn in_lab<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bench) -> F) {
    if std::env::var_os(INSIDE).is_none() {
        let me = std::env::current_exe().expect("the test's own file");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .arg(me)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .output()
            .expect("unshare is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    shell("ip link set lo up");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async { test(Bench::new()).await });
}

/// Runs a command line in this namespace.
pub(crate) fn shell(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status();
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
            commons: Rc::new(Commons {
                recorder: recorder.clone(),
                authority: Authority::new().expect("an authority"),
                stores: Stores::new(recorder.clone()),
                registries: Registries::new(recorder.clone()),
                phases: Rc::clone(&phases),
            }),
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
        response_delay: Duration::ZERO,
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
