//! Packets that a rule (iptables' NFQUEUE) holds up until a program has judged them.

use std::io;

use netlink_packet_core::{
    DefaultNla, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::LinuxError;
use super::namespace::Namespace;
use super::netlink::{Channel, Request, had_no_room};

// include/uapi/linux/netfilter/nfnetlink_queue.h
const NFNL_SUBSYS_QUEUE: u8 = 3;
const NFQNL_MSG_PACKET: u8 = 0;
const NFQNL_MSG_VERDICT: u8 = 1;
const NFQNL_MSG_CONFIG: u8 = 2;
const NFQNL_CFG_CMD_BIND: u8 = 1;
const NFQNL_COPY_PACKET: u8 = 2;
const NFQA_CFG_CMD: u16 = 1;
const NFQA_CFG_PARAMS: u16 = 2;
const NFQA_CFG_MASK: u16 = 4;
const NFQA_CFG_FLAGS: u16 = 5;
const NFQA_CFG_F_FAIL_OPEN: u32 = 1;
const NFQA_PACKET_HDR: u16 = 1;
const NFQA_VERDICT_HDR: u16 = 2;
const NFQA_PAYLOAD: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Bytes of each packet that are copied: the longest headers of IP and TCP, without IPv6's extensions.
const COPIED: u32 = 128;
/// Room for one message.
const ROOM: usize = 4096;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on as if nobody had looked.
    Accept,
    /// This one goes on in its place.
    Replace(Vec<u8>),
    /// It vanishes.
    Drop,
}

/// A queue of packets in a namespace.
pub(crate) struct PacketQueue {
    socket: AsyncFd<Socket>,
    number: u16,
}

impl PacketQueue {
    /// Takes queue `number` of `namespace`: its packets wait for [`PacketQueue::judge`] from now on.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel has no packet queues, [`LinuxError::Kernel`] if it refuses this one.
    pub(crate) fn bind(namespace: &Namespace, number: u16) -> Result<Self, LinuxError> {
        let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
        let mut params = COPIED.to_be_bytes().to_vec();
        params.push(NFQNL_COPY_PACKET);
        let bind = vec![NFQNL_CFG_CMD_BIND, 0, 0, 0];
        // What finds no room goes on: it must not vanish as if it had been judged.
        let fail_open = || NFQA_CFG_F_FAIL_OPEN.to_be_bytes().to_vec();
        let attributes = vec![
            DefaultNla::new(NFQA_CFG_CMD, bind),
            DefaultNla::new(NFQA_CFG_PARAMS, params),
            DefaultNla::new(NFQA_CFG_FLAGS, fail_open()),
            DefaultNla::new(NFQA_CFG_MASK, fail_open()),
        ];
        let doing = format!("binding packet queue {number}");
        let config = Request::new(message(NFQNL_MSG_CONFIG, number, attributes), 0, &*doing);
        channel.execute(vec![config]).map_err(|error| match error {
            // Nobody answers for the subsystem.
            LinuxError::Kernel { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
                LinuxError::Missing {
                    what: "packet queues (CONFIG_NETFILTER_NETLINK_QUEUE)".to_owned(),
                    location: None,
                }
            }
            other => other,
        })?;
        let register = || {
            let socket = channel.into_socket();
            socket.set_non_blocking(true)?;
            // SAFETY: the socket owns its descriptor, and stays inside the AsyncFd until both are dropped.
            unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
                .map_err(io::Error::from)
        };
        Ok(Self {
            socket: register().map_err(LinuxError::kernel(doing))?,
            number,
        })
    }

    /// Has `judge` decide on each packet, of which it gets the headers from IP's on, for ever. `missed` is called when some
    /// had no room, and have gone on without.
    ///
    /// # Errors
    /// As `recv(2)` and `send(2)`. Packets come no more then.
    pub(crate) async fn judge(
        &self,
        judge: impl Fn(&[u8]) -> io::Result<Fate>,
        missed: impl Fn(),
    ) -> io::Result<()> {
        loop {
            let mut guard = self.socket.readable().await?;
            match guard.try_io(|socket| self.judge_next(socket.get_ref(), &judge)) {
                Ok(Err(error)) if had_no_room(&error) => missed(),
                Ok(judged) => judged?,
                Err(_would_block) => {}
            }
        }
    }

    fn judge_next(
        &self,
        socket: &Socket,
        judge: impl Fn(&[u8]) -> io::Result<Fate>,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(ROOM);
        socket.recv(&mut buffer, 0)?;
        let Some((id, packet)) = queued(&buffer)? else {
            return Ok(());
        };
        let (verdict, other): (u32, _) = match judge(&packet)? {
            Fate::Accept => (NF_ACCEPT, None),
            Fate::Replace(other) => (NF_ACCEPT, Some(other)),
            Fate::Drop => (NF_DROP, None),
        };
        let value = [verdict.to_be_bytes(), id.to_be_bytes()].concat();
        let mut attributes = vec![DefaultNla::new(NFQA_VERDICT_HDR, value)];
        attributes.extend(other.map(|packet| DefaultNla::new(NFQA_PAYLOAD, packet)));
        let bytes = serialized(message(NFQNL_MSG_VERDICT, self.number, attributes));
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }
}

fn message(kind: u8, number: u16, attributes: Vec<DefaultNla>) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, number),
        NetfilterMessageInner::Other {
            subsys: NetfilterSubsystem::Other(NFNL_SUBSYS_QUEUE),
            message_type: kind,
            attributes,
        },
    )
}

/// A message that wants no acknowledgement: an answer would stand among the packets.
fn serialized(message: NetfilterMessage) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The number and the headers of a queued packet; `None` for any other message that is no error.
fn queued(bytes: &[u8]) -> io::Result<Option<(u32, Vec<u8>)>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(bytes)
        .map_err(|e| invalid(e.to_string()))?;
    let attributes = match message.payload {
        NetlinkPayload::InnerMessage(NetfilterMessage {
            inner:
                NetfilterMessageInner::Other {
                    subsys: NetfilterSubsystem::Other(NFNL_SUBSYS_QUEUE),
                    message_type: NFQNL_MSG_PACKET,
                    attributes,
                },
            ..
        }) => attributes,
        NetlinkPayload::Error(error) if error.code.is_some() => {
            return Err(io::Error::from_raw_os_error(-error.raw_code()));
        }
        _ => return Ok(None),
    };
    let value = |kind| {
        let attribute = attributes.iter().find(|a| a.kind() == kind)?;
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        Some(value)
    };
    let id = value(NFQA_PACKET_HDR).and_then(|v| Some(u32::from_be_bytes(*v.first_chunk()?)));
    let id = id.ok_or_else(|| invalid("a queued packet without a number".to_owned()))?;
    Ok(Some((id, value(NFQA_PAYLOAD).unwrap_or_default())))
}
