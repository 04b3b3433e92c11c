//! The record: everything observed in a case, one JSON object a line.
//!
//! The lab writes it, and verdicts, causes and reports are pure functions of it. The first event is always
//! [`Observation::CaseStarted`], which carries the whole [`Case`], so a record can be judged again without its YAML.

mod frame;
mod namespace;
mod program;
mod recorder;
mod request;
mod segment;
mod socket;
mod version_1;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Case, Keepalive, Phase, Protocol};

pub use frame::{Frame, Frames, LINK_HEADER, SNAP_LENGTH};
pub use namespace::{Flow, Stage};
pub use program::{OutputStream, how_ended, signal_name};
pub use recorder::{Recorder, monotonic};
pub use request::{Progress, RequestError, RequestId};
pub use segment::Segment;
pub use socket::{Socket, SocketChange, SocketTimer, TcpInfo, TcpState, TimerKind};

/// Version of the record's shape; it rises when a field changes its meaning.
///
/// 2: faults are made of effects.
pub const RECORD_VERSION: u32 = 3;

/// One observation and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the case's start, by CLOCK_MONOTONIC of the kernel the case ran on.
    pub t_ns: u64,
    /// What was observed.
    #[serde(flatten)]
    pub what: Observation,
}

impl Event {
    /// The time since the case's start.
    #[must_use]
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.t_ns)
    }
}

/// What can be observed in a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Observation {
    /// First event of every record.
    CaseStarted {
        /// [`RECORD_VERSION`] when this record was written.
        record_version: u32,
        /// `real` or `virtual`.
        clock: ClockName,
        /// `uname -r` of the kernel whose TCP stack was measured.
        kernel: String,
        /// That kernel's timer frequency, where it could be found out.
        hz: Option<u32>,
        /// SHA-256 of that kernel's file, on the virtual clock: the same kernel throws the same dice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kernel_sha256: Option<String>,
        /// Version of the program that ran the case.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        halfopen: Option<String>,
        /// The case, resolved.
        case: Box<Case>,
    },
    /// Network, rules, sysctls and servers are ready; the case's clock starts at the next event.
    LabReady {
        /// Wall time the set-up took, in microseconds.
        setup_us: u64,
    },
    /// A sysctl of a namespace, as the kernel returned it after writing.
    Sysctl {
        /// Name of the node or pod.
        place: String,
        /// Dotted key.
        key: String,
        /// Value read back.
        value: String,
    },
    /// Something the reader should know; never decides a verdict.
    Warning {
        /// One sentence.
        text: String,
    },
    /// A server is bound and listening.
    ServerListening {
        /// Server's name.
        server: String,
        /// Bound address.
        address: SocketAddr,
    },
    /// A server accepted a connection and, with TLS, finished the handshake.
    ServerAccepted {
        /// Server's name.
        server: String,
        /// The peer as the server sees it (the client's own address unless it was masqueraded).
        peer: SocketAddr,
        /// Protocol spoken; none of a program's, whose packets alone are seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        protocol: Option<Protocol>,
    },
    /// A server received a whole request. Of a program: payload came from its peer, after its own to it.
    ServerRequest {
        /// Server's name.
        server: String,
        /// Peer of the connection it came on.
        peer: SocketAddr,
        /// Number the client gave it (header `x-halfopen-request`), absent for programs not ours.
        request: Option<RequestId>,
        /// Method and path; of a program's, how much it was.
        line: String,
    },
    /// A server handed a response to the kernel. Of a program: its payload went out, after its peer's.
    ServerResponse {
        /// Server's name.
        server: String,
        /// Peer of the connection.
        peer: SocketAddr,
        /// The request answered.
        request: Option<RequestId>,
        /// HTTP status; none of a program's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// A server handed a part of a response that goes on to the kernel.
    ServerStreamed {
        /// Server's name.
        server: String,
        /// Peer of the connection.
        peer: SocketAddr,
        /// The request answered.
        request: Option<RequestId>,
        /// All that it has sent of this response.
        sent: Progress,
    },
    /// A server's connection ended.
    ServerClosed {
        /// Server's name.
        server: String,
        /// Peer of the connection.
        peer: SocketAddr,
        /// Error text, if it did not end cleanly.
        error: Option<String>,
        /// Which limit of the server's ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<EndedBy>,
    },
    /// A client starts to open a connection (its SYN goes out now).
    DialStarted {
        /// Client's name.
        client: String,
        /// Number of the connection, unique in the client, from 1.
        connection: u32,
        /// Where to, before DNAT.
        target: SocketAddr,
        /// The client's own address, once the kernel has chosen it.
        local: Option<SocketAddr>,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// Client's name.
        client: String,
        /// Number of the connection.
        connection: u32,
        /// Why.
        error: ConnectionEnd,
    },
    /// A connection is established and, with TLS, shaken hands.
    ConnectionOpened {
        /// Client's name.
        client: String,
        /// Number of the connection.
        connection: u32,
        /// The client's own address.
        local: SocketAddr,
        /// Where to, before DNAT.
        target: SocketAddr,
        /// Protocol spoken, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        protocol: Option<Protocol>,
    },
    /// The client no longer has this connection.
    ConnectionClosed {
        /// Client's name.
        client: String,
        /// Number of the connection.
        connection: u32,
        /// What ended it.
        end: ConnectionEnd,
    },
    /// A client hands a request to a connection.
    RequestSent {
        /// The request.
        request: RequestId,
        /// Connection it goes out on.
        connection: u32,
        /// 1 for the first try, more when the transport retries by itself.
        attempt: u32,
    },
    /// A client has a whole response.
    Response {
        /// The request.
        request: RequestId,
        /// Connection it came on.
        connection: u32,
        /// Server that answered, by its own word (header `x-halfopen-server`).
        server: Option<String>,
        /// HTTP status.
        status: u16,
    },
    /// A response has begun that is to go on.
    ResponseBegan {
        /// The request.
        request: RequestId,
        /// Connection it comes on.
        connection: u32,
        /// Server that answers, by its own word (header `x-halfopen-server`).
        server: Option<String>,
    },
    /// A client has another part of a response that goes on.
    StreamReceived {
        /// The request.
        request: RequestId,
        /// Connection it came on.
        connection: u32,
        /// All that it has of this response.
        received: Progress,
    },
    /// A client's request ended without a response, or before its response was whole.
    RequestFailed {
        /// The request.
        request: RequestId,
        /// Connection it waited on; `None` while no connection existed.
        connection: Option<u32>,
        /// Why.
        error: RequestError,
        /// The error as the program would log it.
        text: String,
    },
    /// The case ended while a request was still waiting.
    RequestUnfinished {
        /// The request.
        request: RequestId,
        /// Connection it waits on.
        connection: Option<u32>,
    },
    /// An HTTP/2 PING went out.
    PingSent {
        /// Client's name.
        client: String,
        /// Connection.
        connection: u32,
    },
    /// Its answer came.
    PingAcked {
        /// Client's name.
        client: String,
        /// Connection.
        connection: u32,
    },
    /// A client became or ceased to be the holder of a lock.
    LeaderChanged {
        /// The lock's store.
        store: String,
        /// Holder now.
        holder: Option<String>,
    },
    /// A client began or ceased to believe that it holds a lock: until its renew deadline it acts as the leader.
    LeaderBelief {
        /// Client's name.
        client: String,
        /// Whether it acts as the leader from now on.
        leads: bool,
    },
    /// The servers judge a node ready, or not ready, from now on.
    NodeReady {
        /// The store of what they know.
        store: String,
        /// The client whose heartbeats came, or came no more.
        client: String,
        /// Their judgement.
        ready: bool,
    },
    /// A client's program was started.
    ProgramStarted {
        /// Client's name.
        client: String,
        /// Its command.
        command: Vec<String>,
    },
    /// A client's program was told that the case is over.
    ProgramStopped {
        /// Client's name.
        client: String,
        /// The signal it was sent.
        signal: i32,
    },
    /// A client's program ended by itself, or as it was told to.
    ProgramExited {
        /// Client's name.
        client: String,
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// What a client's program wrote. Long output is kept from its beginning and its end.
    ProgramOutput {
        /// Client's name.
        client: String,
        /// Where it wrote it to.
        stream: OutputStream,
        /// What it wrote. What was not UTF-8 stands there as U+FFFD.
        text: String,
        /// Bytes before this text that were not kept.
        dropped: u64,
    },
    /// A line of a client's program that says how its work went.
    ProgramSaid {
        /// Client's name.
        client: String,
        /// Whether all is well; or something failed.
        ok: bool,
        /// The line, or its beginning.
        line: String,
    },
    /// Payload reached a client's program. Of several segments that came at once this is the last. Since version 3.
    PayloadReceived {
        /// Client's name.
        client: String,
        /// Its own address.
        local: SocketAddr,
        /// Where it came from, as the client sees it.
        remote: SocketAddr,
    },
    /// Payload that had reached a client's link was taken out of its segment, of which the acknowledgement alone went on: a fault
    /// waited for its request to be acknowledged and not answered.
    PayloadWithheld {
        /// Client's name.
        client: String,
        /// Its own address.
        local: SocketAddr,
        /// Where it came from, as the client sees it.
        remote: SocketAddr,
    },
    /// A server's program was started.
    ServerStarted {
        /// Server's name.
        server: String,
        /// Its command.
        command: Vec<String>,
    },
    /// A server's program is ready.
    ServerReady {
        /// Server's name.
        server: String,
    },
    /// A server's program ended by itself.
    ServerExited {
        /// Server's name.
        server: String,
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// What a server's program wrote. Long output is kept from its beginning and its end.
    ServerOutput {
        /// Server's name.
        server: String,
        /// Where it wrote it to.
        stream: OutputStream,
        /// What it wrote. What was not UTF-8 stands there as U+FFFD.
        text: String,
        /// Bytes before this text that were not kept.
        dropped: u64,
    },
    /// What a program's connection was set to by the program, as its socket says.
    SocketOptions {
        /// Client's name.
        client: String,
        /// Number of the connection.
        connection: u32,
        /// TCP keepalive, if it is on.
        keepalive: Option<Keepalive>,
        /// TCP_USER_TIMEOUT, if it is set.
        user_timeout: Option<Duration>,
    },
    /// What the connection of a server that is a program was set to by it, as its socket says.
    ServerSocketOptions {
        /// Server's name.
        server: String,
        /// Peer of the connection.
        peer: SocketAddr,
        /// TCP keepalive, if it is on.
        keepalive: Option<Keepalive>,
        /// TCP_USER_TIMEOUT, if it is set.
        user_timeout: Option<Duration>,
    },
    /// A TCP socket of a node or pod, whenever something of it has changed other than its timer's running down.
    Socket(Socket),
    /// Counters of a namespace's TCP, IP and conntrack.
    Counters {
        /// Name of the node or pod.
        place: String,
        /// When they were read.
        stage: Stage,
        /// What each has grown by since the stage before (at the start: since the namespace was made), where that is not
        /// zero; by the kernel's name with its group, e.g. `TcpExt.TCPTimeouts`. What an emulation counts in the kernel's
        /// place has `emulated.` before it.
        deltas: BTreeMap<String, u64>,
    },
    /// The services' rules of a node, and what its conntrack, or IPVS, knows of their connections.
    Rules {
        /// Node.
        node: String,
        /// When they were read.
        stage: Stage,
        /// As iptables-save writes them, services' chains only; as `nft list table`; as `ipvsadm --save --numeric`: by the
        /// services' mode. The first line, a comment, says how they are known.
        rules: Vec<String>,
        /// Connections to services.
        flows: Vec<Flow>,
    },
    /// A client on a node that lost its power is no more.
    ClientGone {
        /// Client's name.
        client: String,
    },
    /// A fault is in force from now on.
    FaultInjected {
        /// Index into the case's faults.
        fault: usize,
        /// Phase each client was in, by name.
        phases: Vec<(String, Phase)>,
    },
    /// A fault is no longer in force: its time is over.
    FaultHealed {
        /// Index into the case's faults.
        fault: usize,
    },
    /// A middlebox has forgotten a connection on which nothing was sent for too long.
    Forgotten {
        /// Middlebox.
        middlebox: String,
        /// Where it comes from, as the middlebox sees it.
        from: SocketAddr,
        /// Where it leads.
        to: SocketAddr,
    },
    /// An endpoint is in a service's rules again.
    EndpointAdded {
        /// Service.
        service: String,
        /// Server.
        endpoint: String,
        /// The node of whose rules alone this is said, where programs set them; `None` = of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// An endpoint left a service's rules.
    EndpointRemoved {
        /// Service.
        service: String,
        /// Server.
        endpoint: String,
        /// The node of whose rules alone this is said, where programs set them; `None` = of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A TCP segment that says something: SYN, FIN, RST, or one sent again (and the first sending of that one).
    Segment(Segment),
    /// An ICMP message on the link of a client's node or pod.
    Icmp {
        /// Node or pod on whose link it was seen.
        node: String,
        /// ICMP type and code.
        kind: (u8, u8),
        /// Source and destination address of the message.
        from: std::net::IpAddr,
        /// Destination.
        to: std::net::IpAddr,
        /// Source and destination of the TCP segment that it is about, if it is an error and about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<(SocketAddr, SocketAddr)>,
    },
    /// The lab, on the real clock, waited noticeably for its turns on the processor.
    Lateness {
        /// The longest that it waited in any two seconds, or that a timer fired late, in microseconds.
        longest_us: u64,
    },
    /// The harness could not do its work: the case is neither passed nor failed.
    RigError {
        /// What went wrong.
        text: String,
        /// Where in the YAML the thing that could not be done was asked for.
        location: Option<crate::plan::Location>,
    },
    /// The case can't be run on this machine.
    Skipped {
        /// What is missing, by name.
        missing: String,
        /// Where in the YAML it was asked for.
        location: Option<crate::plan::Location>,
    },
    /// Last event of a record that is whole.
    CaseEnded {},
}

/// Which clock a case ran on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockName {
    /// The host kernel's.
    Real,
    /// A User Mode Linux guest's, which jumps over idle time.
    Virtual,
}

impl std::fmt::Display for ClockName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        })
    }
}

/// What ended a connection, or a dial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionEnd {
    /// Who or what ended it.
    pub by: EndedBy,
    /// errno from the socket, where there was one (`ETIMEDOUT` = 110).
    pub errno: Option<i32>,
    /// The socket's last TCP_INFO.
    pub tcp_info: Option<TcpInfo>,
    /// The error as the program would log it.
    pub text: String,
    /// Until when, at the least, it was not at its end, from the case's start: where the end was found by looking. `None` =
    /// the end is known to the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Duration>,
}

/// Who or what ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The kernel reported an error on the socket; `errno` says which, where it is known: a program's own is not.
    Kernel,
    /// The client, a program: it closed the connection, or gave the dial up.
    Client,
    /// The peer closed (FIN, GOAWAY, or a protocol error).
    Peer,
    /// The client: a request's timeout closes its HTTP/1.1 connection, or ends the dial that it asked for.
    RequestTimeout,
    /// The client: no data while waiting for a response.
    ReadTimeout,
    /// The client: no answer to an HTTP/2 PING.
    PingTimeout,
    /// The client: the connection was idle in its pool for too long.
    IdleTimeout,
    /// The client: the dial took too long.
    DialTimeout,
    /// The client: the TLS handshake took too long.
    TlsTimeout,
    /// The client: its heartbeats failed, and it closes its connections to begin anew.
    HeartbeatFailure,
    /// The case was over.
    CaseEnd,
    /// TLS or HTTP said something unexpected.
    Protocol,
}
