//! What a record has on a connection besides its own end: its packets, its socket through time, its options and
//! sysctls, its PINGs and requests, what its server saw.

use std::time::Duration;

use crate::plan::{Client, Keepalive, Place, Protocol};
use crate::record::{SocketChange, SocketTimer, TcpInfo, TimerKind};
use crate::timeout_model::{Kernel, TcpSysctls};

use super::connections::Connection;
use super::effects;
use super::index::{AT_ONCE, Index, STAMP_SLACK, Unreachable};
use super::requests::Requests;
use super::timeline::Moment;
use super::waits::{FailedBeat, RequestsSeen, Waits};
use super::wire::Wire;

/// A socket's end may be read this long after it.
const READ_LATE: Duration = Duration::from_secs(1);

/// What the record has on a client's connections besides their own ends.
pub(super) struct Archive<'i, 'a> {
    client: &'a Client,
    index: &'i Index<'a>,
    requests: &'i Requests<'a>,
    sysctls: TcpSysctls,
    waits: Waits,
}

impl<'i, 'a> Archive<'i, 'a> {
    /// Of one client.
    pub(super) fn of(client: &'a Client, index: &'i Index<'a>, requests: &'i Requests<'a>) -> Self {
        Self {
            client,
            index,
            requests,
            sysctls: tcp_sysctls(client, index),
            waits: Waits::of(client, index),
        }
    }

    /// What is known of a connection's end; `None` if that was not recorded.
    pub(super) fn evidence(&self, connection: &Connection<'a>) -> Option<Evidence<'a>> {
        let (client, index) = (self.client, self.index);
        let timeline = &index.timeline;
        let (ended, end) = connection.end?;
        let (keepalive, user_timeout) = options(client, index, connection);
        let lab = &index.case.lab;
        let to = connection.endpoint.as_ref();
        let to = to.map(|to| timeline.place(to.node, &to.name));
        let before = || timeline.effects_until(ended);
        let unresolved = to.as_ref().and_then(|to| {
            let mut dies = before().filter(|(_, effect)| effects::neighbour_dies(effect, lab, to));
            dies.next().map(|(at, _)| at.at)
        });
        Some(Evidence {
            id: connection.id,
            end,
            ended: ended.at,
            began: connection.began().map(|at| at.at),
            opened: connection.opened.map(|at| at.at),
            dial: connection.dial_failed,
            program: client.program().is_some(),
            tls: client.target.tls,
            protocol: connection.protocol,
            transport: &client.transport,
            keepalive,
            user_timeout,
            sysctls: self.sysctls,
            kernel: Kernel::of(index.kernel, index.hz),
            wire: Wire::of(index, connection, ended.at),
            socket: self.socket(connection, ended.at),
            ping_sent: self.ping_sent(connection, ended),
            requests: self.waits.seen(connection, ended, unresolved),
            last_request: self.last_request(connection, ended),
            failed_beat: self.waits.failed_beat(ended),
            server_closed: self.server_closed(connection, ended.at),
            dead_neighbour: to.as_ref().is_some_and(|to| {
                before().any(|(_, effect)| effects::no_neighbour(effect, lab, client, to))
            }),
            unresolved: unresolved.is_some(),
            lossy: to.as_ref().is_some_and(|to| {
                before().any(|(_, effect)| effects::loses_some(effect, lab, client, to))
            }),
            healed: timeline
                .faults
                .iter()
                .any(|fault| fault.until.is_some_and(|until| until.at < ended.at)),
            destroyed: before()
                .any(|(at, effect)| connection.held_at(at) && effects::destroys(effect, client)),
            icmp: Icmp::before(index, connection, &client.node, ended),
            case_over: index.case.lab.duration,
        })
    }

    fn socket(&self, connection: &Connection, ended: Duration) -> SocketSeen {
        let (Some(local), Some(began)) = (connection.local, connection.began()) else {
            return SocketSeen::default();
        };
        let own = self.index.socket(self.client.place.name(), local);
        let first = own.partition_point(|(at, _)| at.at + STAMP_SLACK < began.at);
        let mut seen = SocketSeen::default();
        for (at, socket) in &own[first..] {
            match socket.change {
                SocketChange::Ended if at.at <= ended + READ_LATE => seen.last = socket.info,
                SocketChange::Born | SocketChange::Changed => {
                    if at.at <= ended {
                        seen.note_timer(at.at, socket.timer);
                    }
                    // A look at its end is made a moment after it.
                    if at.at <= ended + AT_ONCE {
                        seen.note_times(at.at, socket.info);
                    }
                }
                SocketChange::Ended => {}
            }
        }
        seen
    }

    /// The last request that was handed to it before its end.
    fn last_request(&self, connection: &Connection, ended: Moment) -> Option<LastRequest> {
        let own = self.requests.on(connection.id);
        let own = own.filter_map(|(number, request)| {
            let mut sent = request
                .sent
                .iter()
                .filter(|(at, id)| *id == connection.id && *at <= ended);
            let (sent, _) = *sent.next_back()?;
            let over = request
                .outcome
                .filter(|(at, outcome)| *at < ended && outcome.is_well());
            Some((
                sent,
                LastRequest {
                    number,
                    sent: sent.at,
                    answered: over.map(|(at, _)| at.at),
                },
            ))
        });
        own.max_by_key(|(sent, _)| *sent)
            .map(|(_, request)| request)
    }

    /// The first PING that nothing answered any more.
    fn ping_sent(&self, connection: &Connection, ended: Moment) -> Option<Duration> {
        let events = self.index.client(&self.client.name)?;
        let mut unanswered = None;
        for (at, acknowledged) in events.pings.get(&connection.id)? {
            match acknowledged {
                true => unanswered = None,
                false if *at <= ended => unanswered = unanswered.or(Some(at.at)),
                false => {}
            }
        }
        unanswered
    }

    fn server_closed(&self, connection: &Connection, ended: Duration) -> bool {
        let began = connection.began().unwrap_or(Moment::START);
        let times = began.at..=ended + READ_LATE;
        let mut closed = connection
            .local
            .into_iter()
            .flat_map(|l| self.index.closed(l));
        closed.any(|at| times.contains(&at.at))
    }
}

/// A socket's keepalive and TCP_USER_TIMEOUT: ours has what the plan says, a program's what was read from it, if it was.
pub(super) fn options(
    client: &Client,
    index: &Index,
    connection: &Connection,
) -> (Option<Keepalive>, Option<Duration>) {
    if client.program().is_none() {
        return (client.transport.keepalive, client.transport.user_timeout);
    }
    let events = index.client(&client.name);
    let read = events.and_then(|events| events.options.get(&connection.id));
    read.copied().unwrap_or_default()
}

/// All that is known of a connection's end. Times are from the case's start.
#[derive(Debug, Clone)]
pub(super) struct Evidence<'a> {
    /// The connection's number.
    pub id: u32,
    pub end: &'a crate::record::ConnectionEnd,
    pub ended: Duration,
    pub began: Option<Duration>,
    pub opened: Option<Duration>,
    /// Its end was that of a dial.
    pub dial: bool,
    pub program: bool,
    pub tls: bool,
    /// What both ends speak, if it was opened.
    pub protocol: Option<Protocol>,
    pub transport: &'a crate::plan::Transport,
    pub keepalive: Option<Keepalive>,
    pub user_timeout: Option<Duration>,
    pub sysctls: TcpSysctls,
    /// The kernel whose timers ruled.
    pub kernel: Kernel,
    pub wire: Wire,
    pub socket: SocketSeen,
    /// The first PING that was not answered any more.
    pub ping_sent: Option<Duration>,
    pub requests: RequestsSeen,
    /// The last request on it.
    pub last_request: Option<LastRequest>,
    /// The heartbeat that failed as it was closed.
    pub failed_beat: Option<FailedBeat>,
    pub server_closed: bool,
    /// Its endpoint's node died, and its link-layer address with it, before this end.
    pub dead_neighbour: bool,
    /// Who asks for that address is told that it does not resolve.
    pub unresolved: bool,
    /// Its path lost some packets, and let others pass.
    pub lossy: bool,
    /// A fault had healed before this end: what its peer sent before is sent again then, and heard, and acknowledges nothing.
    pub healed: bool,
    /// The kernel was told to destroy its socket.
    pub destroyed: bool,
    /// The ICMP errors about it that came before this end.
    pub icmp: Option<Icmp>,
    /// When the case is over, by its plan.
    pub case_over: Duration,
}

/// ICMP errors about a connection: that its peer can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Icmp {
    /// How many.
    pub count: usize,
    /// The last of them.
    pub last: Unreachable,
}

impl Icmp {
    fn before(index: &Index, connection: &Connection, node: &str, ended: Moment) -> Option<Self> {
        let (local, began) = (connection.local?, connection.began()?);
        let all = index.unreachable(local, node).iter();
        let heard = all.filter(|error| {
            error.at.at + STAMP_SLACK >= began.at && error.at.at <= ended.at + AT_ONCE
        });
        let heard: Vec<_> = heard.collect();
        heard.last().map(|last| Self {
            count: heard.len(),
            last: **last,
        })
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        let Unreachable { kind, from, .. } = self.last;
        let (of_type, code) = kind;
        match self.count {
            1 => format!("{from} sent an ICMP error about it (type {of_type}, code {code})"),
            count => {
                format!("{from} sent {count} ICMP errors about it (type {of_type}, code {code})")
            }
        }
    }
}

/// A connection's socket, as sock_diag showed it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketSeen {
    /// The last timer that was seen to run before the end, and when.
    pub timer: Option<SocketTimer>,
    pub timer_at: Duration,
    /// Since when that was the timer of a closed window, if it was.
    pub window_closed: Option<Duration>,
    /// The last TCP_INFO, if the kernel destroyed it then.
    pub last: Option<TcpInfo>,
    /// When it had sent data last, by its own word.
    pub last_sent: Option<Duration>,
    /// When it had received data last, by its own word.
    pub last_read: Option<Duration>,
}

impl SocketSeen {
    pub(super) fn note_timer(&mut self, at: Duration, timer: Option<SocketTimer>) {
        let Some(timer) = timer else { return };
        self.timer = Some(timer);
        self.timer_at = at;
        self.window_closed = match timer.kind {
            TimerKind::ZeroWindowProbe => self.window_closed.or(Some(at)),
            TimerKind::Retransmission | TimerKind::Keepalive | TimerKind::TimeWait => None,
        };
    }

    fn note_times(&mut self, at: Duration, info: Option<TcpInfo>) {
        // Before the SYN is answered they say nothing.
        if let Some(info) = info.filter(|info| info.rtt_us > 0) {
            let ago = |ms: u32| at.checked_sub(Duration::from_millis(ms.into()));
            self.last_sent = ago(info.last_data_sent_ms);
            self.last_read = ago(info.last_data_recv_ms);
        }
    }
}

/// The last request on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastRequest {
    /// Its number in the client.
    pub number: u32,
    /// When it was handed over; of a program's that a server received, when that was.
    pub sent: Duration,
    /// When it was answered, if it was.
    pub answered: Option<Duration>,
}

/// The sysctls in the client's namespace: by what was read back there, else by what was asked for, else the kernel's
/// defaults.
pub(super) fn tcp_sysctls(client: &Client, index: &Index) -> TcpSysctls {
    sysctls_of(&client.place, index)
}

/// The same of any node or pod.
pub(super) fn sysctls_of(place: &Place, index: &Index) -> TcpSysctls {
    let asked = index.case.lab.sysctls_at(place);
    let read = index.sysctls(place.name());
    TcpSysctls::with(&[asked, read].concat())
}
