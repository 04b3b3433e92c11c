//! A server that is a program: what it is asked and what it answers, by its packets, and whether it listens.
//!
//! Payload from a peer, after its own to that one, is a request; its payload after that is the answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use nix::unistd::Pid;

use super::LISTENING;
use super::namespace::Sockets;
use super::options;
use super::turns::Turns;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::Server;
use crate::probe::packets::parse::{FIN, Packet, RST, SYN, TcpSegment};
use crate::probe::packets::tap::{Hears, Tap};
use crate::record::{Observation, Recorder};

/// Watches the connections of one server.
pub(crate) struct ServerProbe {
    server: String,
    tap: Tap,
    sockets: Sockets,
    exchanges: RefCell<Exchanges>,
    recorder: Recorder,
}

impl ServerProbe {
    /// Watches what `server` is asked in `namespace`, from now on.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel lacks AF_PACKET sockets, [`LinuxError::Kernel`] if it refuses a socket.
    pub(crate) fn open(
        server: &Server,
        namespace: &Namespace,
        recorder: &Recorder,
    ) -> Result<Rc<Self>, LinuxError> {
        Ok(Rc::new(Self {
            server: server.name.clone(),
            tap: Tap::open(&server.name, namespace, Hears::Everywhere)?,
            sockets: Sockets::open(&server.name, namespace)?,
            exchanges: RefCell::new(Exchanges::of(server.listen.clone())),
            recorder: recorder.clone(),
        }))
    }

    /// Records what is seen, until reading fails. Safe to cancel at any time.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub(crate) async fn run(&self) -> io::Result<()> {
        loop {
            self.tap.readable().await?;
            self.drain()?;
        }
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)`.
    pub(crate) fn drain(&self) -> io::Result<()> {
        for (packet, stamp) in self.tap.take(&self.recorder)? {
            let Packet::Tcp(segment) = packet else {
                continue;
            };
            let seen = self.exchanges.borrow_mut().see(&segment);
            for (peer, seen) in seen {
                self.recorder.emit_at(stamp, self.told(peer, seen));
            }
        }
        Ok(())
    }

    fn told(&self, peer: SocketAddr, seen: Seen) -> Observation {
        let server = self.server.clone();
        match seen {
            Seen::Accepted => Observation::ServerAccepted {
                server,
                peer,
                protocol: None,
            },
            Seen::Asked(bytes) => Observation::ServerRequest {
                server,
                peer,
                request: None,
                line: format!("{bytes} bytes"),
            },
            Seen::Answered => Observation::ServerResponse {
                server,
                peer,
                request: None,
                status: None,
            },
            Seen::Closed => Observation::ServerClosed {
                server,
                peer,
                error: None,
                by: None,
            },
        }
    }

    /// Those of the server's addresses on which a socket listens.
    ///
    /// # Errors
    /// As sock_diag(7).
    pub(crate) fn listens(&self) -> io::Result<Vec<SocketAddr>> {
        let all = self.sockets.all(LISTENING)?;
        let takes = |address: &SocketAddr| all.iter().any(|shown| takes(shown.local, *address));
        let own = &self.exchanges.borrow().listen;
        Ok(own.iter().copied().filter(takes).collect())
    }

    /// Records what the sockets of its connections are set to, which the processes beside `init` hold.
    pub(crate) fn note_options(&self, init: Pid) {
        let exchanges = self.exchanges.borrow();
        let peers: HashMap<_, _> = exchanges.peers.keys().map(|peer| (*peer, *peer)).collect();
        options::of_processes(init, options::By::Peer, &peers, |peer, options| {
            self.recorder.emit(Observation::ServerSocketOptions {
                server: self.server.clone(),
                peer: *peer,
                keepalive: options.keepalive,
                user_timeout: options.user_timeout,
            });
        });
    }

    /// Its program is no more, and neither are its connections: the next one begins anew.
    pub(crate) fn forget(&self) {
        self.exchanges.borrow_mut().peers.clear();
    }
}

/// Whether a socket that listens on `local` is asked at an address. One for every IPv6 address takes IPv4 too, as a rule.
fn takes(local: SocketAddr, address: SocketAddr) -> bool {
    let ip = local.ip().to_canonical();
    let every = match ip {
        IpAddr::V4(own) => own.is_unspecified() && address.is_ipv4(),
        IpAddr::V6(own) => own.is_unspecified(),
    };
    local.port() == address.port() && (every || ip == address.ip())
}

/// What a segment was on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Accepted,
    /// So many bytes, first.
    Asked(u32),
    Answered,
    Closed,
}

/// What peers and the server say to each other.
#[derive(Debug, Default)]
struct Exchanges {
    listen: Vec<SocketAddr>,
    peers: HashMap<SocketAddr, Peer>,
}

/// One connection.
#[derive(Debug, Default)]
struct Peer {
    accepted: bool,
    turns: Turns,
}

impl Exchanges {
    fn of(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            peers: HashMap::new(),
        }
    }

    /// What a segment tells. One that is seen twice, on two links or sent again, tells nothing more.
    fn see(&mut self, segment: &TcpSegment) -> Vec<(SocketAddr, Seen)> {
        let (peer, by_server) = match (
            self.listen.contains(&segment.to),
            self.listen.contains(&segment.from),
        ) {
            (true, false) => (segment.from, false),
            (false, true) => (segment.to, true),
            // Its own connections to itself are nobody's requests.
            (true, true) | (false, false) => return Vec::new(),
        };
        if segment.has(SYN) && !by_server {
            let again = self.peers.get(&peer);
            if again.is_none_or(|known| known.accepted) {
                self.peers.insert(peer, Peer::default());
            }
            return Vec::new();
        }
        let Some(known) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        let mut seen = Vec::new();
        if segment.has(RST) || (segment.has(FIN) && by_server) {
            self.peers.remove(&peer);
            return vec![(peer, Seen::Closed)];
        }
        if !known.accepted && !by_server {
            known.accepted = true;
            seen.push((peer, Seen::Accepted));
        }
        if known.turns.see(segment, !by_server) == Some(true) {
            seen.push((
                peer,
                match by_server {
                    true => Seen::Answered,
                    false => Seen::Asked(segment.len),
                },
            ));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::packets::parse::ACK;
    use crate::probe::sockets::turns::segment;

    const PEER: &str = "10.1.0.2:40000";
    const SERVER: &str = "10.1.1.2:5432";

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// What each of these segments tells: by the server?, flags, sequence number, payload.
    fn told(segments: &[(bool, u8, u32, u32)]) -> Vec<Seen> {
        let mut exchanges = Exchanges::of(vec![at(SERVER)]);
        let mut all = Vec::new();
        for (by_server, flags, seq, len) in segments {
            let ends = match by_server {
                true => (at(SERVER), at(PEER)),
                false => (at(PEER), at(SERVER)),
            };
            let segment = segment(ends, *flags, *seq, *len);
            all.extend(exchanges.see(&segment).into_iter().map(|(_, seen)| seen));
        }
        all
    }

    #[test]
    fn a_socket_listens_on_its_own_address_or_on_every_one() {
        let takes = |local: &str, address: &str| takes(at(local), at(address));
        for local in [
            "0.0.0.0:80",
            "10.0.0.1:80",
            "[::]:80",
            "[::ffff:10.0.0.1]:80",
        ] {
            assert!(takes(local, "10.0.0.1:80"), "{local}");
        }
        for local in ["127.0.0.1:80", "0.0.0.0:81", "[::1]:80", "10.0.0.2:80"] {
            assert!(!takes(local, "10.0.0.1:80"), "{local}");
        }
        assert!(takes("[::]:80", "[fd00::1]:80") && !takes("0.0.0.0:80", "[fd00::1]:80"));
    }

    #[test]
    fn payload_after_the_peer_s_is_an_answer() {
        let told = told(&[
            (false, SYN, 99, 0),
            (true, SYN | ACK, 499, 0),
            (false, ACK, 100, 0),
            (false, ACK, 100, 8),
            (false, ACK, 108, 8),
            (true, ACK, 500, 1000),
            (true, ACK, 1500, 1000),
            (false, ACK, 116, 20),
            (true, ACK, 2500, 10),
            (true, FIN | ACK, 2510, 0),
        ]);
        let expected = [
            Seen::Accepted,
            Seen::Asked(8),
            Seen::Answered,
            Seen::Asked(20),
            Seen::Answered,
            Seen::Closed,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_seen_twice_and_what_nobody_asked_for_is_no_request_and_no_answer() {
        let told = told(&[
            (false, SYN, 99, 0),
            (false, SYN, 99, 0),
            (true, SYN | ACK, 499, 0),
            (false, ACK, 100, 0),
            // A greeting.
            (true, ACK, 500, 30),
            (false, ACK, 100, 8),
            (false, ACK, 100, 8),
            (true, ACK, 500, 30),
            (true, ACK, 530, 10),
            (true, ACK, 530, 10),
            (false, ACK, 100, 8),
        ]);
        assert_eq!(told, [Seen::Accepted, Seen::Asked(8), Seen::Answered]);
    }

    #[test]
    fn a_connection_of_the_same_ports_begins_anew_and_others_are_nobody_s() {
        let again = told(&[
            (false, SYN, 99, 0),
            (false, ACK, 100, 8),
            (false, RST, 108, 0),
            (false, SYN, 5, 0),
            (false, ACK, 6, 8),
        ]);
        let one = [Seen::Accepted, Seen::Asked(8)];
        assert_eq!(again, [one.as_slice(), &[Seen::Closed], &one].concat());
        assert_eq!(told(&[(false, ACK, 100, 8), (true, ACK, 500, 8)]), []);
    }
}
