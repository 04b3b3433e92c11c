//! Middleboxes: what they know, and what becomes of packets of what they do not know. Sockets are held by hand.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use halfopen::lab::effect;
use halfopen::lab::middlebox;
use halfopen::lab::network::Network;
use halfopen::plan::{Effect, LabPlan, Location, Middlebox, MiddleboxKind, UnknownPackets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::rig::{self, at, in_lab, pod};

const PORT: u16 = 6443;
/// Longer than a segment takes, and shorter than any timer of TCP.
const SOON: Duration = Duration::from_millis(150);

/// A client on node 1 and a server on node 2, and a middlebox before one of these.
fn plan(node: &str, kind: MiddleboxKind, unknown: UnknownPackets) -> LabPlan {
    let mut plan = rig::plan(3, &[("client", 1), ("server", 2), ("other", 3)]);
    plan.middleboxes = vec![Middlebox {
        name: "box".to_owned(),
        node: node.to_owned(),
        kind,
        idle_timeout: Some(Duration::from_secs(1)),
        unknown,
        location: Location::default(),
    }];
    plan.faults = vec![rig::fault([Effect::LoseState {
        middlebox: "box".to_owned(),
        idle_of: None,
    }])];
    plan
}

/// Both ends of a connection, over which a byte has passed both ways.
struct Pair {
    near: TcpStream,
    far: TcpStream,
}

impl Pair {
    async fn open(network: &Network, from: &str, to: SocketAddr, listener: &TcpListener) -> Self {
        let namespace = network.namespace(&pod(from));
        let dial = timeout(Duration::from_secs(3), rig::connect(&namespace, to));
        let (near, far) = tokio::join!(dial, listener.accept());
        let mut pair = Self {
            near: near.expect("in time").expect("connected"),
            far: far.unwrap().0,
        };
        assert!(passes(&mut pair.near, &mut pair.far).await);
        assert!(passes(&mut pair.far, &mut pair.near).await);
        pair
    }
}

/// Whether a byte passes from one end to the other soon.
async fn passes(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"?").await.unwrap();
    matches!(timeout(SOON, to.read_u8()).await, Ok(Ok(_)))
}

/// What who sends a byte hears soon: nothing, or an error.
async fn hears(stream: &mut TcpStream) -> Option<ErrorKind> {
    stream.write_all(b"?").await.unwrap();
    let heard = timeout(SOON, stream.read_u8()).await.ok()?;
    Some(heard.expect_err("nobody answers").kind())
}

async fn listening(network: &Network, plan: &LabPlan, name: &str) -> (TcpListener, SocketAddr) {
    let address = at(plan.pod(name).unwrap().address, PORT);
    let socket = network.namespace(&pod(name)).tcp_socket(address).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    (TcpListener::from_std(socket.into()).unwrap(), address)
}

/// Who sends on a connection that a middlebox has forgotten: the client, or the server.
#[derive(Debug, Clone, Copy)]
enum Sender {
    Client,
    Server,
}

/// What comes of sending on a connection after it was idle for so long, or after the middlebox lost its state.
async fn after(plan: &LabPlan, idle: Option<Duration>, sender: Sender) -> Option<ErrorKind> {
    let network = Network::build(plan).unwrap();
    middlebox::load(&network, plan).unwrap();
    let (listener, address) = listening(&network, plan, "server").await;
    let mut pair = Pair::open(&network, "client", address, &listener).await;
    match idle {
        Some(idle) => sleep(idle).await,
        None => {
            let lost = effect::inject(&network, plan, 0).unwrap();
            assert_eq!(lost.found(), Some(1));
        }
    }
    let heard = match sender {
        Sender::Client => hears(&mut pair.near).await,
        Sender::Server => hears(&mut pair.far).await,
    };
    // New connections pass, whatever became of the old one.
    drop(Pair::open(&network, "client", address, &listener).await);
    heard
}

#[test]
fn what_is_forgotten_is_answered_or_not_by_who_sends_and_what_the_middlebox_is() {
    use MiddleboxKind::{LoadBalancer, Nat};
    use Sender::{Client, Server};
    use UnknownPackets::{Drop, Reset};
    const RST: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);
    in_lab(async || {
        let forgotten = Some(Duration::from_millis(1_300));
        for (node, kind, unknown, sender, expected) in [
            ("node2", LoadBalancer, Drop, Client, None),
            ("node2", LoadBalancer, Drop, Server, None),
            ("node2", LoadBalancer, Reset, Client, RST),
            ("node2", LoadBalancer, Reset, Server, RST),
            // The client is inside.
            ("node1", Nat, Reset, Client, RST),
            ("node1", Nat, Reset, Server, None),
            ("node1", Nat, Drop, Client, None),
        ] {
            let plan = plan(node, kind, unknown);
            for idle in [forgotten, None] {
                let heard = after(&plan, idle, sender).await;
                assert_eq!(heard, expected, "{kind:?} {unknown:?} {sender:?} {idle:?}");
            }
        }
    });
}

#[test]
fn what_is_known_passes_both_ways_and_so_does_what_does_not_cross_it() {
    in_lab(async || {
        let plan = plan("node2", MiddleboxKind::LoadBalancer, UnknownPackets::Reset);
        let network = Network::build(&plan).unwrap();
        middlebox::load(&network, &plan).unwrap();
        let (listener, address) = listening(&network, &plan, "server").await;
        let mut crossing = Pair::open(&network, "client", address, &listener).await;
        let (beside, address) = listening(&network, &plan, "other").await;
        let mut beside = Pair::open(&network, "client", address, &beside).await;
        // Longer than it knows what lies idle, and never idle so long.
        for _ in 0..4 {
            sleep(Duration::from_millis(500)).await;
            assert!(passes(&mut crossing.near, &mut crossing.far).await);
        }
        sleep(Duration::from_millis(1_300)).await;
        assert!(passes(&mut beside.far, &mut beside.near).await);
    });
}
