//! Builds a record event by event. Times are in seconds from the case's start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use halfopen::plan::{Case, Phase, Protocol};
use halfopen::record::{
    ClockName, ConnectionEnd, EndedBy, Event, Observation, RECORD_VERSION, RequestError, RequestId,
    Segment, TcpInfo,
};

/// Where the service is.
pub(crate) const SERVICE: &str = "192.168.255.220:443";

/// A duration of seconds.
pub(crate) fn seconds(s: f64) -> Duration {
    Duration::from_nanos((s * 1e9).round() as u64)
}

/// A record under construction.
pub(crate) struct Story {
    pub(crate) case: Case,
    pub(crate) clock: ClockName,
    pub(crate) events: Vec<Event>,
    pub(crate) open: BTreeSet<(String, u32)>,
    pub(crate) waiting: BTreeMap<(String, u32), Option<u32>>,
    pub(crate) yaml_line: usize,
}

impl Story {
    /// Any event.
    pub(crate) fn event(&mut self, t: f64, what: Observation) -> &mut Self {
        let t_ns = u64::try_from(seconds(t).as_nanos()).unwrap();
        self.events.push(Event { t_ns, what });
        self
    }

    /// The client's own address on a connection.
    pub(crate) fn local(&self, client: &str, connection: u32) -> SocketAddr {
        let pod = self
            .case
            .lab
            .pods
            .iter()
            .find(|p| p.name == client)
            .expect("a client has a pod");
        SocketAddr::new(
            pod.address.into(),
            40_000 + u16::try_from(connection).unwrap(),
        )
    }

    /// The SYN of a dial, which the rules send to `server`.
    pub(crate) fn dial(
        &mut self,
        t: f64,
        client: &str,
        connection: u32,
        server: &str,
    ) -> &mut Self {
        let from = self.local(client, connection);
        let to = self
            .case
            .lab
            .servers
            .iter()
            .find(|s| s.name == server)
            .expect("a server")
            .listen[0];
        let node = self
            .case
            .lab
            .clients
            .iter()
            .find(|c| c.name == client)
            .expect("a client")
            .node
            .clone();
        self.event(
            t,
            Observation::DialStarted {
                client: client.to_owned(),
                connection,
                target: address(SERVICE),
                local: Some(from),
            },
        );
        self.open.insert((client.to_owned(), connection));
        self.event(
            t + 0.0001,
            Observation::Segment(Segment {
                node,
                from,
                to,
                flags: "S".to_owned(),
                seq: 1,
                len: 0,
                retransmission: 0,
                stamp_ns: u64::try_from(seconds(t).as_nanos()).unwrap() + 20_000,
            }),
        )
    }

    /// A dial that succeeds.
    pub(crate) fn open(
        &mut self,
        t: f64,
        client: &str,
        connection: u32,
        server: &str,
    ) -> &mut Self {
        let local = self.local(client, connection);
        let protocol = Protocol::H2;
        self.dial(t, client, connection, server);
        self.event(
            t + 0.001,
            Observation::ServerAccepted {
                server: server.to_owned(),
                peer: local,
                protocol: Some(protocol),
            },
        );
        self.event(
            t + 0.0012,
            Observation::ConnectionOpened {
                client: client.to_owned(),
                connection,
                local,
                target: address(SERVICE),
                protocol: Some(protocol),
            },
        )
    }

    /// A dial's end without a connection.
    pub(crate) fn dial_failed(
        &mut self,
        t: f64,
        client: &str,
        connection: u32,
        error: ConnectionEnd,
    ) -> &mut Self {
        self.open.remove(&(client.to_owned(), connection));
        self.on_the_wire(t, client, connection, &error);
        self.event(
            t,
            Observation::DialFailed {
                client: client.to_owned(),
                connection,
                error,
            },
        )
    }

    /// A request that goes out.
    pub(crate) fn sent(&mut self, t: f64, client: &str, number: u32, connection: u32) -> &mut Self {
        let request = id(client, number);
        self.waiting
            .insert((client.to_owned(), number), Some(connection));
        self.event(
            t,
            Observation::RequestSent {
                request,
                connection,
                attempt: 1,
            },
        )
    }

    /// A server's part of an exchange.
    pub(crate) fn served(
        &mut self,
        t: f64,
        client: &str,
        number: u32,
        connection: u32,
        server: &str,
    ) -> &mut Self {
        let (server, peer) = (server.to_owned(), self.local(client, connection));
        let request = Some(id(client, number));
        let line = "GET /lock".to_owned();
        let received = Observation::ServerRequest {
            server: server.clone(),
            peer,
            request: request.clone(),
            line,
        };
        self.event(t, received);
        self.event(
            t,
            Observation::ServerResponse {
                server,
                peer,
                request,
                status: Some(200),
            },
        )
    }

    /// A client's word that it has a response.
    pub(crate) fn response(
        &mut self,
        t: f64,
        client: &str,
        number: u32,
        connection: u32,
        server: &str,
    ) -> &mut Self {
        self.waiting.remove(&(client.to_owned(), number));
        let request = id(client, number);
        self.event(
            t,
            Observation::Response {
                request,
                connection,
                server: Some(server.to_owned()),
                status: 200,
            },
        )
    }

    /// A request and its response.
    pub(crate) fn exchange(
        &mut self,
        t: f64,
        client: &str,
        number: u32,
        connection: u32,
        server: &str,
    ) -> &mut Self {
        self.sent(t, client, number, connection);
        self.served(t + 0.001, client, number, connection, server);
        self.response(t + 0.002, client, number, connection, server)
    }

    /// A request that ended without a response.
    pub(crate) fn failed(
        &mut self,
        t: f64,
        client: &str,
        number: u32,
        connection: Option<u32>,
        error: RequestError,
    ) -> &mut Self {
        self.waiting.remove(&(client.to_owned(), number));
        let text = format!("{error:?}");
        self.event(
            t,
            Observation::RequestFailed {
                request: id(client, number),
                connection,
                error,
                text,
            },
        )
    }

    /// A request that goes out and times out after `after`.
    pub(crate) fn times_out(
        &mut self,
        t: f64,
        after: f64,
        client: &str,
        number: u32,
        connection: u32,
    ) -> &mut Self {
        self.sent(t, client, number, connection);
        self.failed(
            t + after,
            client,
            number,
            Some(connection),
            RequestError::Timeout,
        )
    }

    /// A connection's end.
    pub(crate) fn closed(
        &mut self,
        t: f64,
        client: &str,
        connection: u32,
        end: ConnectionEnd,
    ) -> &mut Self {
        self.open.remove(&(client.to_owned(), connection));
        self.on_the_wire(t, client, connection, &end);
        self.event(
            t,
            Observation::ConnectionClosed {
                client: client.to_owned(),
                connection,
                end,
            },
        )
    }

    /// The packets that an end by the kernel comes with: what was sent again, probes, a RST.
    fn on_the_wire(&mut self, t: f64, client: &str, connection: u32, end: &ConnectionEnd) {
        match end.errno {
            Some(libc::ECONNRESET) => self.segment(t - 0.0001, client, connection, "R", false, 0),
            Some(libc::ECONNREFUSED) => {
                self.segment(t - 0.0001, client, connection, "RA", false, 0);
            }
            _ => {}
        }
        let Some(info) = end.tcp_info.filter(|_| end.errno == Some(libc::ETIMEDOUT)) else {
            return;
        };
        let ago = |ms: u32| t - f64::from(ms) / 1e3;
        let (first, last) = (ago(info.last_ack_recv_ms), ago(info.last_data_sent_ms));
        for n in 0..=info.retransmits {
            let share = f64::from(n) / f64::from(info.retransmits.max(1));
            let at = first + (last - first) * share;
            if info.retransmits > 0 {
                self.segment(at, client, connection, "PA", true, n.into());
            }
        }
        let interval = self.transport_of(client).keepalive.map(|k| k.interval);
        for n in 1..=info.probes {
            let back = interval.unwrap_or_default().as_secs_f64() * f64::from(info.probes - n + 1);
            self.segment(t - back, client, connection, "A", true, n.into());
        }
    }

    fn transport_of(&self, client: &str) -> &halfopen::plan::Transport {
        let found = self.case.lab.clients.iter().find(|c| c.name == client);
        &found.expect("a client").transport
    }

    /// A segment of a client's connection to or from aa-1.
    fn segment(
        &mut self,
        t: f64,
        client: &str,
        connection: u32,
        flags: &str,
        own: bool,
        retransmission: u32,
    ) {
        let local = self.local(client, connection);
        let peer = self.case.lab.servers[0].listen[0];
        let (from, to) = if own { (local, peer) } else { (peer, local) };
        let segment = Segment {
            node: "node1".to_owned(),
            from,
            to,
            flags: flags.to_owned(),
            seq: 1000,
            len: if flags == "PA" { 127 } else { 0 },
            retransmission,
            stamp_ns: u64::try_from(seconds(t).as_nanos()).unwrap(),
        };
        self.event(t, Observation::Segment(segment));
    }

    /// Power loss of node3, with what clients were doing.
    pub(crate) fn cut(&mut self, t: f64, phases: &[(&str, Phase)]) -> &mut Self {
        let phases = phases
            .iter()
            .map(|(client, phase)| ((*client).to_owned(), *phase))
            .collect();
        self.event(t, Observation::FaultInjected { fault: 0, phases })
    }

    /// The dead endpoint leaves the rules.
    pub(crate) fn removed(&mut self, t: f64) -> &mut Self {
        self.event(
            t,
            Observation::EndpointRemoved {
                service: "aa".to_owned(),
                endpoint: "aa-1".to_owned(),
                node: None,
            },
        )
    }

    /// The client's node was the one that lost power.
    pub(crate) fn gone(&mut self, t: f64, client: &str) -> &mut Self {
        self.open.retain(|(name, _)| name != client);
        self.waiting.retain(|(name, _), _| name != client);
        self.event(
            t,
            Observation::ClientGone {
                client: client.to_owned(),
            },
        )
    }

    /// A sysctl as read back in a client's pod.
    pub(crate) fn sysctl(&mut self, place: &str, key: &str, value: &str) -> &mut Self {
        let (place, key, value) = (place.to_owned(), key.to_owned(), value.to_owned());
        self.event(0.0, Observation::Sysctl { place, key, value })
    }

    /// The record so far, as it stands when its writer is killed.
    pub(crate) fn cut_off(&self) -> Vec<Event> {
        let started = Observation::CaseStarted {
            record_version: RECORD_VERSION,
            clock: self.clock,
            kernel: "6.18.5".to_owned(),
            hz: Some(250),
            kernel_sha256: None,
            halfopen: None,
            case: Box::new(self.case.clone()),
        };
        let ready = Observation::LabReady { setup_us: 4_200 };
        let begin = [started, ready].map(|what| Event { t_ns: 0, what });
        begin
            .into_iter()
            .chain(self.events.iter().cloned())
            .collect()
    }

    /// The whole record: what is still open or waiting ends with the case.
    pub(crate) fn end(&mut self) -> Vec<Event> {
        let t = self.case.lab.duration.as_secs_f64();
        for ((client, number), connection) in std::mem::take(&mut self.waiting) {
            let request = id(&client, number);
            self.event(
                t + 1.0,
                Observation::RequestUnfinished {
                    request,
                    connection,
                },
            );
        }
        for (client, connection) in std::mem::take(&mut self.open) {
            self.closed(t + 1.0, &client, connection, ended(EndedBy::CaseEnd));
        }
        self.event(t + 1.0, Observation::CaseEnded {});
        self.cut_off()
    }
}

fn id(client: &str, number: u32) -> RequestId {
    RequestId {
        client: client.to_owned(),
        number,
        workload: None,
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// An end that is not the kernel's.
pub(crate) fn ended(by: EndedBy) -> ConnectionEnd {
    ConnectionEnd {
        by,
        errno: None,
        tcp_info: None,
        text: format!("{by:?}"),
        not_before: None,
    }
}

/// An error on the socket.
pub(crate) fn errno(errno: i32, tcp_info: Option<TcpInfo>) -> ConnectionEnd {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    ConnectionEnd {
        by: EndedBy::Kernel,
        errno: Some(errno),
        tcp_info,
        text,
        not_before: None,
    }
}

/// A socket that died `silent` seconds after it had last heard anything.
pub(crate) fn dead_socket(retransmits: u8, probes: u8, silent: f64) -> TcpInfo {
    let silent_ms = u32::try_from(seconds(silent).as_millis()).unwrap();
    TcpInfo {
        state: 7,
        retransmits,
        probes,
        rto_us: 120_000_000,
        rtt_us: 60,
        total_retrans: u32::from(retransmits) + 1,
        last_data_sent_ms: (silent_ms / 3).min(120_000),
        last_data_recv_ms: silent_ms,
        last_ack_recv_ms: silent_ms,
        ..TcpInfo::default()
    }
}
