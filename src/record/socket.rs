//! Sockets, as the kernel shows them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What `getsockopt(TCP_INFO)` says of a socket, as far as the record needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpInfo {
    /// Kernel's state number (1 = ESTABLISHED, 2 = SYN_SENT, 7 = CLOSE).
    pub state: u8,
    /// Retransmissions of the oldest unacknowledged segment by the retransmission timer (`icsk_retransmits`).
    pub retransmits: u8,
    /// Unanswered keepalive or zero-window probes (`icsk_probes_out`).
    pub probes: u8,
    /// Exponential back-off of the timer.
    pub backoff: u8,
    /// Retransmission timeout, in microseconds.
    pub rto_us: u32,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Segments retransmitted in the connection's life.
    pub total_retrans: u32,
    /// Milliseconds since data was last sent.
    pub last_data_sent_ms: u32,
    /// Milliseconds since data was last received.
    pub last_data_recv_ms: u32,
    /// Milliseconds since an acknowledgement was last received.
    pub last_ack_recv_ms: u32,
}

impl TcpInfo {
    /// How long the peer had acknowledged nothing when this was read.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        Duration::from_millis(self.last_ack_recv_ms.into())
    }

    /// When the last acknowledgement had come, of what was read at `at`. To the jiffy: that is what the kernel counts in.
    #[must_use]
    pub fn last_acknowledged(&self, at: Duration) -> Duration {
        at.saturating_sub(self.silent_for())
    }
}

/// A TCP socket at a moment, as sock_diag shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Node or pod in whose namespace it is.
    pub place: String,
    /// Its own address.
    pub local: SocketAddr,
    /// Its peer's, as the socket has it: on a client's side before DNAT.
    pub peer: SocketAddr,
    /// Why it is shown now.
    pub change: SocketChange,
    /// Its state.
    pub state: TcpState,
    /// Bytes written and not acknowledged (`Send-Q`).
    pub send_queue: u32,
    /// Bytes received and not read (`Recv-Q`).
    pub receive_queue: u32,
    /// The timer that runs, if one does.
    pub timer: Option<SocketTimer>,
    /// Its TCP_INFO, where the kernel gave it.
    pub info: Option<TcpInfo>,
}

impl Socket {
    /// Whether its program has asked for more than it had when it was shown `before`. The farewell of one that closes it, with its
    /// FIN in the same queue, asks for nothing.
    #[must_use]
    pub fn has_more_than(&self, before: &Self) -> bool {
        self.state == TcpState::Established && self.send_queue > before.send_queue
    }
}

/// Why a socket is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketChange {
    /// It was not there before.
    Born,
    /// Something of it has changed.
    Changed,
    /// The kernel destroyed it; what is shown is its last.
    Ended,
}

/// A socket's timer, as `ss -o` and `netstat -o` show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTimer {
    /// Which.
    pub kind: TimerKind,
    /// Time left, in milliseconds.
    pub left_ms: u32,
    /// Retransmissions or probes sent in vain.
    pub count: u8,
}

/// Which timer of a socket runs (`idiag_timer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// Retransmission, tail loss probe or reordering: `on`.
    Retransmission,
    /// Keepalive: `keepalive`. SYN-ACKs have this one too.
    Keepalive,
    /// TIME-WAIT: `timewait`.
    TimeWait,
    /// Zero window probe: `probe` to netstat, `persist` to ss.
    ZeroWindowProbe,
}

/// A connection's state (RFC 9293, 3.3.2), by the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpState {
    /// 1.
    Established,
    /// 2.
    SynSent,
    /// 3.
    SynReceived,
    /// 4.
    FinWait1,
    /// 5.
    FinWait2,
    /// 6.
    TimeWait,
    /// 7: it is no more.
    Close,
    /// 8.
    CloseWait,
    /// 9.
    LastAck,
    /// 10.
    Listen,
    /// 11.
    Closing,
}

impl TcpState {
    /// The state that the kernel means by `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            // 12 is a request socket: a SYN that no listener has taken up yet.
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }
}
