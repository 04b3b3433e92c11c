//! The server's view: until when it had the connections that a client had with it when a fault came, and what ended the last.
//!
//! Its sockets say so (sock_diag), and what they say must fit its link's packets, its limits and its sysctls.

use std::net::SocketAddr;
use std::time::Duration;

use super::cause::{self, Diagnosis};
use super::connections::{self, Connection};
use super::evidence::{Evidence, SocketSeen, sysctls_of};
use super::index::{AT_ONCE, Index, STAMP_SLACK, canonical};
use super::timeline::{Injected, Moment};
use super::waits::RequestsSeen;
use super::wire::Wire;
use crate::plan::units::{exact, measured};
use crate::plan::{Cause, Client, Expectation, Protocol, Server, Transport};
use crate::preset;
use crate::record::{ConnectionEnd, EndedBy, Socket, SocketChange, TcpInfo, TcpState};
use crate::result::KeptResult;
use crate::timeout_model::Kernel;

/// A limit of the server's own may be seen a tick early by its socket.
const EARLY: Duration = Duration::from_millis(20);

/// What servers kept, as far as anything is expected of that.
pub(super) struct Forgotten<'a> {
    /// By what is expected of, in the order of the expectations, each once; or why nothing can be said.
    all: Vec<(Subject<'a>, Result<KeptResult, String>)>,
}

/// Server, client and fault of an expectation.
type Subject<'a> = (&'a str, &'a str, Option<&'a str>);

/// `None` of an expectation on a client itself.
fn subject(expectation: &Expectation) -> Option<Subject<'_>> {
    let server = expectation.server.as_deref()?;
    Some((server, &expectation.client, expectation.fault.as_deref()))
}

impl<'a> Forgotten<'a> {
    pub(super) fn of(index: &Index<'a>) -> Self {
        let mut all: Vec<(Subject, Result<KeptResult, String>)> = Vec::new();
        for expectation in &index.case.expectations {
            if let Some(new) = subject(expectation)
                && all.iter().all(|(known, _)| *known != new)
            {
                all.push((new, kept(new.0, expectation, index)));
            }
        }
        Self { all }
    }

    /// What the server of an expectation kept of its client, or why nothing can be said; `None` if it is on the client itself.
    pub(super) fn by(&self, expectation: &Expectation) -> Option<&Result<KeptResult, String>> {
        let own = subject(expectation)?;
        let found = self.all.iter().find(|(known, _)| *known == own);
        found.map(|(_, kept)| kept)
    }

    /// What is known, each once: of a fault that is named and of the one that is meant without a name it is the same.
    pub(super) fn into_results(self) -> Vec<KeptResult> {
        let mut known: Vec<KeptResult> = Vec::new();
        for kept in self.all.into_iter().filter_map(|(_, kept)| kept.ok()) {
            if !known.contains(&kept) {
                known.push(kept);
            }
        }
        known
    }
}

/// What the server called `named` kept of an expectation's client.
fn kept(named: &str, expectation: &Expectation, index: &Index) -> Result<KeptResult, String> {
    let lab = &index.case.lab;
    let server = lab.server(named);
    let server = server.ok_or("the case has no such server")?;
    let client = lab.client(&expectation.client);
    let client = client.ok_or("the case has no such client")?;
    let fault = fault(expectation, client, index)?;
    if !index.timeline.server_answers(named, fault.at) {
        return Err(format!(
            "nothing was tested: the fault took {named} itself, and what it had with it"
        ));
    }
    let had: Vec<Had> = connections::of(client, index)
        .iter()
        .filter_map(|connection| Had::of(connection, server, fault.at, index))
        .collect();
    if had.is_empty() {
        return Err(format!(
            "nothing was tested: {named} had no connection of {} when the fault came",
            client.name
        ));
    }
    let gone: Option<Vec<Moment>> = had.iter().map(|had| had.gone.map(|(at, _)| at)).collect();
    let last = gone.and_then(|all| all.into_iter().max());
    let diagnosis = match last {
        None => still_there(&had, index),
        Some(last) => {
            let mut ended = had
                .iter()
                .filter(|had| had.gone.is_some_and(|(at, _)| at == last));
            match ended.next() {
                Some(had) => had.diagnosis(server, client, index),
                None => Diagnosis::unknown("its end was not recorded"),
            }
        }
    };
    Ok(KeptResult {
        server: server.name.clone(),
        client: client.name.clone(),
        fault: fault.index,
        connections: had.len(),
        forgot_after: last.map(|last| last.since(fault.at)),
        cause: diagnosis.cause,
        evidence: diagnosis.evidence,
    })
}

/// The fault that an expectation counts from: the named one, the one that ended the client, or the first.
fn fault<'i, 'a>(
    expectation: &Expectation,
    client: &Client,
    index: &'i Index<'a>,
) -> Result<&'i Injected<'a>, String> {
    let timeline = &index.timeline;
    let mut faults = timeline.faults.iter();
    let found = match &expectation.fault {
        Some(name) => faults.find(|found| found.fault.name.as_ref() == Some(name)),
        None => timeline.ended_by_fault(client).or(faults.next()),
    };
    found.ok_or_else(|| String::from("nothing was tested: the fault never came into force"))
}

/// A connection that the server had when the fault came.
struct Had<'a> {
    local: SocketAddr,
    peer: SocketAddr,
    born: Moment,
    seen: Vec<(Moment, &'a Socket)>,
    /// When it had it no more, and how its socket was then.
    gone: Option<(Moment, &'a Socket)>,
}

impl<'a> Had<'a> {
    fn of(
        connection: &Connection<'a>,
        server: &'a Server,
        fault: Moment,
        index: &Index<'a>,
    ) -> Option<Self> {
        let (peer, began) = (connection.local?, connection.began()?);
        let place = server.place.name();
        let same = |socket: &Socket| canonical(socket.peer) == canonical(peer);
        let all = server.listen.iter().find_map(|local| {
            let of_port = index.socket(place, *local).iter();
            let own =
                of_port.filter(|(at, socket)| same(socket) && at.at + STAMP_SLACK >= began.at);
            let own: Vec<_> = own.copied().collect();
            (!own.is_empty()).then_some((*local, own))
        });
        let (local, mut seen) = all?;
        // What comes after its end is another connection's, from the same port.
        if let Some(end) = seen
            .iter()
            .position(|(_, s)| s.change == SocketChange::Ended)
        {
            seen.truncate(end + 1);
        }
        let (born, _) = *seen.first()?;
        let held = |socket: &Socket| {
            let open = matches!(
                socket.state,
                TcpState::Established | TcpState::CloseWait | TcpState::SynReceived
            );
            open && socket.change != SocketChange::Ended
        };
        let gone = seen.iter().copied().find(|(_, socket)| !held(socket));
        let had = born <= fault && gone.is_none_or(|(at, _)| at > fault);
        had.then_some(Self {
            local,
            peer,
            born,
            seen,
            gone,
        })
    }

    /// What ended it.
    fn diagnosis(&self, server: &Server, client: &Client, index: &Index) -> Diagnosis {
        let Some((at, last)) = self.gone else {
            return Diagnosis::unknown("its end was not recorded");
        };
        let mut before = self.seen.iter().rev().filter(|(seen, _)| *seen < at);
        let before = before.next().map(|(_, socket)| *socket);
        if last.state == TcpState::SynReceived {
            return never_established(before.unwrap_or(last), at.since(self.born));
        }
        if last.state != TcpState::Close && last.change != SocketChange::Ended {
            return self.closed(server, at, last, before, index);
        }
        // A socket that a program still holds is told of twice: its end, and then its destruction, with what it was like.
        let destroyed = self
            .seen
            .last()
            .filter(|(then, _)| then.at <= at.at + AT_ONCE);
        let info = destroyed.and_then(|(_, socket)| socket.info);
        let info = info.or(last.info).unwrap_or_default();
        if info.retransmits > 0 || info.probes > 0 {
            return self.by_kernel(server, client, at, info, index);
        }
        let between = |from: SocketAddr, to: SocketAddr| {
            let near = (at.at.saturating_sub(AT_ONCE), at.at + AT_ONCE);
            let mut sent = index.sent_from(from, near.0, near.1).iter();
            sent.any(|(_, segment)| segment.to == to && segment.flags.contains('R'))
        };
        if between(self.peer, self.local) {
            let evidence = String::from("a RST to it was seen on the wire");
            return Diagnosis {
                cause: Cause::Reset,
                evidence,
            };
        }
        if between(self.local, self.peer) {
            return self.closed(server, at, last, before, index);
        }
        Diagnosis::unknown("its socket was gone, and neither a timer of it nor a packet says why")
    }

    /// A side has closed it.
    fn closed(
        &self,
        server: &Server,
        at: Moment,
        last: &Socket,
        before: Option<&Socket>,
        index: &Index,
    ) -> Diagnosis {
        let peer_first = before.is_some_and(|socket| socket.state == TcpState::CloseWait);
        if peer_first || matches!(last.state, TcpState::LastAck | TcpState::Closing) {
            return Diagnosis {
                cause: Cause::ClosedByPeer,
                evidence: String::from("the client's FIN came first"),
            };
        }
        let silent = last.info.or(before.and_then(|socket| socket.info));
        let silent = silent.map(|info| Duration::from_millis(info.last_data_recv_ms.into()));
        let (by, limit) = match index.closed_by(self.peer, at.at) {
            Some(EndedBy::IdleTimeout) => (Cause::IdleTimeout, server.limits.idle_timeout),
            Some(EndedBy::PingTimeout) => (
                Cause::PingTimeout,
                server.limits.ping.map(|ping| ping.timeout),
            ),
            _ => {
                let evidence = match silent {
                    Some(silent) => format!(
                        "the server closed it, {} after it had received anything on it",
                        measured(silent)
                    ),
                    None => String::from("the server closed it"),
                };
                return Diagnosis {
                    cause: Cause::ClosedByServer,
                    evidence,
                };
            }
        };
        let what = match by == Cause::PingTimeout {
            true => "its PING went unanswered",
            false => "no request was open",
        };
        match (silent, limit) {
            (Some(silent), Some(limit)) if silent + EARLY >= limit => Diagnosis {
                cause: by,
                evidence: format!(
                    "{what} for {}; its socket had received nothing for {}",
                    exact(limit),
                    measured(silent)
                ),
            },
            (Some(silent), Some(limit)) => Diagnosis::unknown(format!(
                "the server says that {what} for {}, but its socket had received something {} before",
                exact(limit),
                measured(silent)
            )),
            _ => Diagnosis::unknown(format!("{what}, and its socket says nothing of it")),
        }
    }

    /// The kernel's timers ended it.
    fn by_kernel(
        &self,
        server: &Server,
        client: &Client,
        at: Moment,
        info: TcpInfo,
        index: &Index,
    ) -> Diagnosis {
        let (keepalive, user_timeout) = match &server.program {
            None => (server.limits.keepalive, server.limits.user_timeout),
            Some(_) => match index.server_options(&server.name, self.peer) {
                Some(options) => options,
                None => {
                    return Diagnosis::unknown(
                        "what its program has set its socket to was not read, so its timers can't be told apart",
                    );
                }
            },
        };
        let end = ConnectionEnd {
            by: EndedBy::Kernel,
            errno: Some(libc::ETIMEDOUT),
            tcp_info: Some(info),
            text: String::from("ETIMEDOUT"),
            not_before: None,
        };
        let transport = Transport {
            keepalive,
            user_timeout,
            ..preset::bare(Protocol::H1)
        };
        let mut socket = SocketSeen::default();
        for (seen, shown) in self.seen.iter().filter(|(seen, _)| *seen < at) {
            socket.note_timer(seen.at, shown.timer);
        }
        let link = server.place.name();
        let wire = Wire::of_server(
            index,
            (link, self.local, self.peer),
            self.born.at,
            at.at,
            info,
        );
        cause::of(Some(Evidence {
            id: 0,
            end: &end,
            ended: at.at,
            began: Some(self.born.at),
            opened: Some(self.born.at),
            dial: false,
            program: false,
            tls: server.tls,
            protocol: None,
            transport: &transport,
            keepalive,
            user_timeout,
            sysctls: sysctls_of(&server.place, index),
            kernel: Kernel::of(index.kernel, index.hz),
            wire,
            socket,
            ping_sent: None,
            requests: RequestsSeen::default(),
            last_request: None,
            failed_beat: None,
            server_closed: false,
            dead_neighbour: index.timeline.effects_until(at).any(|(_, effect)| {
                super::effects::neighbour_dies(effect, &index.case.lab, &client.place)
            }),
            unresolved: false,
            lossy: false,
            healed: false,
            destroyed: false,
            icmp: None,
            case_over: index.case.lab.duration,
        }))
    }
}

/// The kernel dropped what it remembered of a SYN: its SYN-ACK was never answered.
fn never_established(request: &Socket, after: Duration) -> Diagnosis {
    let again = request.timer.map_or(0, |timer| timer.count);
    Diagnosis {
        cause: Cause::RetransmissionTimeout,
        evidence: format!(
            "it was in SYN-RECV for {}: its SYN-ACK was sent {} times in vain (tcp_synack_retries)",
            measured(after),
            u32::from(again) + 1
        ),
    }
}

/// It has one of them still.
fn still_there(had: &[Had], index: &Index) -> Diagnosis {
    let open = had.iter().filter(|had| had.gone.is_none()).count();
    let some = had.iter().find(|had| had.gone.is_none());
    let timer = some
        .and_then(|had| had.seen.last())
        .and_then(|(_, socket)| socket.timer);
    let waits = match timer {
        Some(timer) => format!("; its socket's timer is {:?}", timer.kind).to_lowercase(),
        None => String::from("; no timer of its socket runs"),
    };
    Diagnosis {
        cause: Cause::Never,
        evidence: format!(
            "{open} of {} still there when the case was over, after {}{waits}",
            had.len(),
            exact(index.case.lab.duration)
        ),
    }
}
