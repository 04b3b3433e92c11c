//! Netlink, one exchange at a time: a batch of requests goes out in one send, and the kernel's answers come back before
//! the next line of code runs. Blocking on purpose: the kernel handles a request while send() runs, so there is nothing
//! to wait for, and a fault has to be in force when its function returns.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::LinuxError;
use super::namespace::Namespace;

/// A request, and what it does in words for error messages.
pub(crate) struct Request<M> {
    message: M,
    flags: u16,
    doing: String,
    tolerated: Option<i32>,
}

impl<M> Request<M> {
    /// `flags` besides NLM_F_REQUEST.
    pub(crate) fn new(message: M, flags: u16, doing: impl Into<String>) -> Self {
        Self {
            message,
            flags,
            doing: doing.into(),
            tolerated: None,
        }
    }

    /// An error that counts as success (for example ENOENT when deleting).
    pub(crate) fn tolerate(mut self, errno: i32) -> Self {
        self.tolerated = Some(errno);
        self
    }
}

/// Room asked for of a netlink socket's buffers, in bytes. Where that is not allowed, the kernel gives what its `rmem_max`
/// and `wmem_max` allow.
const ROOM: usize = 4 << 20;

/// Most requests sent at once.
const MOST_AT_ONCE: usize = 128;

/// Room for a request, and for its answer as the kernel counts it: more than either takes, but for a link's description.
const ROOM_EACH: usize = 1024;

/// Times that a question is asked whose answer had no room.
const ATTEMPTS: usize = 8;

/// A batch of which the kernel has done nothing.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The message that it refused, by its position in the batch, where it was one of them.
    pub(crate) message: Option<usize>,
    /// Its answer.
    pub(crate) source: io::Error,
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self {
            message: None,
            source,
        }
    }
}

/// A netlink socket in a namespace.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    /// A notification came in between the answers to a request, or had no room.
    notified: bool,
    /// Requests for which, and for whose answers, there is room.
    at_once: usize,
}

/// Gives a netlink socket as much room as the kernel allows. What is too little is no error.
pub(crate) fn enlarge(socket: &Socket) {
    let _ = setsockopt(socket, sockopt::RcvBufForce, &ROOM)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &ROOM));
    let _ = setsockopt(socket, sockopt::SndBufForce, &ROOM)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &ROOM));
}

/// The room a socket has for what the kernel says, and for what is said to it: bytes, the smaller of the two.
pub(crate) fn room(socket: &Socket) -> usize {
    let (receive, send) = (
        getsockopt(socket, sockopt::RcvBuf),
        getsockopt(socket, sockopt::SndBuf),
    );
    receive.unwrap_or(0).min(send.unwrap_or(0))
}

/// Whether something that the kernel had to say had no room in the socket.
pub(crate) fn had_no_room(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

impl Channel {
    /// Opens a socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER) in `namespace`.
    pub(crate) fn open(namespace: &Namespace, protocol: isize) -> Result<Self, LinuxError> {
        namespace
            .enter(|| Self::open_here(protocol))
            .map_err(LinuxError::kernel(format!(
                "opening a netlink socket in {}",
                namespace.name()
            )))
    }

    /// Opens a socket of `protocol` in the namespace this thread is in.
    pub(crate) fn open_here(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        // Answers carry the request's header only, not the request.
        socket.set_cap_ack(true)?;
        enlarge(&socket);
        Ok(Self {
            at_once: at_once(&socket),
            socket,
            sequence: 0,
            notified: false,
        })
    }

    /// The socket itself, for reading what the kernel sends unasked.
    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends `requests`, as many at once as there is room for, and returns when the kernel has done them all.
    ///
    /// # Errors
    /// The first request that failed, in words. Requests after it may have been done.
    pub(crate) fn execute<M>(&mut self, requests: Vec<Request<M>>) -> Result<(), LinuxError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut requests = requests.into_iter();
        loop {
            let some: Vec<_> = requests.by_ref().take(self.at_once).collect();
            let Some(last) = some.len().checked_sub(1) else {
                return Ok(());
            };
            self.execute_at_once(some, last)?;
        }
    }

    /// The kernel answers a failed request in any case, and the last one always, so one acknowledgement is enough.
    fn execute_at_once<M>(
        &mut self,
        requests: Vec<Request<M>>,
        last: usize,
    ) -> Result<(), LinuxError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let first_sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut notes = Vec::with_capacity(requests.len());
        for (n, request) in requests.into_iter().enumerate() {
            let ack = if n == last { NLM_F_ACK } else { 0 };
            self.append(&mut bytes, request.message, request.flags | ack);
            notes.push((request.doing, request.tolerated));
        }
        let failed = |doing: &str, source: io::Error| match source.raw_os_error() {
            // What the kernel says of a kind of link, or an address family, it was built without.
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => LinuxError::Missing {
                what: format!("what the kernel needs for {doing}"),
                location: None,
            },
            _ => LinuxError::Kernel {
                doing: doing.to_owned(),
                source,
            },
        };
        self.send(&bytes).map_err(|e| failed(&notes[last].0, e))?;
        let mut first_error = None;
        loop {
            let answers = self.receive(0).map_err(|e| failed(&notes[last].0, e))?;
            for answer in Answers::<M>::new(&answers) {
                let answer = answer.map_err(|e| failed(&notes[last].0, e))?;
                let NetlinkPayload::Error(error) = answer.payload else {
                    continue;
                };
                let n = answer.header.sequence_number.wrapping_sub(first_sequence) as usize;
                let Some((doing, tolerated)) = notes.get(n) else {
                    continue;
                };
                let errno = -error.raw_code();
                if errno != 0 && Some(errno) != *tolerated && first_error.is_none() {
                    first_error = Some(failed(doing, io::Error::from_raw_os_error(errno)));
                }
                if n == last {
                    return first_error.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends `messages` as a finished batch whose end is not itself acknowledged (nfnetlink).
    ///
    /// # Errors
    /// The first error the kernel reports.
    pub(crate) fn transact<M>(&mut self, messages: Vec<(M, u16)>) -> Result<(), Refused>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        let mut acked = None;
        let first = self.sequence.wrapping_add(1);
        for (message, flags) in messages {
            self.append(&mut bytes, message, flags);
            if flags & NLM_F_ACK != 0 {
                acked = Some(self.sequence);
            }
        }
        self.send(&bytes)?;
        let Some(acked) = acked else { return Ok(()) };
        loop {
            let answers = self.receive(0)?;
            for answer in Answers::<M>::new(&answers) {
                let answer = answer?;
                let NetlinkPayload::Error(error) = answer.payload else {
                    continue;
                };
                if error.code.is_some() {
                    let number = answer.header.sequence_number.wrapping_sub(first);
                    return Err(Refused {
                        message: usize::try_from(number).ok(),
                        source: io::Error::from_raw_os_error(-error.raw_code()),
                    });
                }
                if answer.header.sequence_number == acked {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for a dump and returns its messages.
    pub(crate) fn dump<M>(&mut self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.ask(&message, NLM_F_DUMP)
    }

    /// Asks for one thing and returns the answer.
    pub(crate) fn get<M>(&mut self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        self.ask(&message, NLM_F_ACK)
    }

    /// What is asked changes nothing, so it is asked again when an answer had no room.
    fn ask<M>(&mut self, message: &M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.ask_once(message.clone(), flags)? {
                return Ok(found);
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOBUFS))
    }

    /// `None` if a part of the answer was lost.
    fn ask_once<M>(&mut self, message: M, flags: u16) -> io::Result<Option<Vec<M>>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, flags);
        self.send(&bytes)?;
        let (mut found, mut lost) = (Vec::new(), 0);
        loop {
            let answers = match self.receive(lost) {
                // What did not get lost is there already, and a dump goes on as it is read.
                Err(error) if had_no_room(&error) => {
                    self.notified = true;
                    lost = libc::MSG_DONTWAIT;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && lost != 0 => {
                    let only_acknowledgement = flags == NLM_F_ACK && !found.is_empty();
                    return Ok(only_acknowledgement.then_some(found));
                }
                answers => answers?,
            };
            for answer in Answers::<M>::new(&answers) {
                let answer = answer?;
                if answer.header.sequence_number != self.sequence {
                    self.notified = true;
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Done(_) => return Ok(Some(found)),
                    NetlinkPayload::Error(error) => match -error.raw_code() {
                        0 => return Ok(Some(found)),
                        libc::ENOBUFS => lost = libc::MSG_DONTWAIT,
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    _ => {}
                }
            }
        }
    }

    /// Has the kernel tell this socket of changes in `group`, for [`Channel::wait`].
    pub(crate) fn subscribe(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Waits for the next notification, whatever it says. Having missed some counts as one.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.notified) {
            return Ok(());
        }
        match self.receive(0) {
            Err(error) if !had_no_room(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn append<M: NetlinkSerializable>(&mut self, bytes: &mut Vec<u8>, message: M, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + align(message.buffer_len()), 0);
        message.serialize(&mut bytes[start..]);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(bytes, &SocketAddr::new(0, 0), 0)
            .map(drop)
    }

    fn receive(&self, flags: libc::c_int) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(32 * 1024);
        self.socket.recv(&mut buffer, flags)?;
        Ok(buffer)
    }
}

/// Requests for which a socket has room, and for their answers if each has one.
fn at_once(socket: &Socket) -> usize {
    (room(socket) / ROOM_EACH).clamp(1, MOST_AT_ONCE)
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The messages in a buffer of answers.
struct Answers<'a, M> {
    rest: &'a [u8],
    kind: std::marker::PhantomData<M>,
}

impl<'a, M> Answers<'a, M> {
    fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            kind: std::marker::PhantomData,
        }
    }
}

impl<M: NetlinkDeserializable> Iterator for Answers<'_, M> {
    type Item = io::Result<NetlinkMessage<M>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let invalid = |e: netlink_packet_core::DecodeError| {
            io::Error::new(io::ErrorKind::InvalidData, e.to_string())
        };
        let length = match NetlinkBuffer::new_checked(self.rest) {
            Ok(buffer) => buffer.length() as usize,
            Err(e) => {
                self.rest = &[];
                return Some(Err(invalid(e)));
            }
        };
        let message = NetlinkMessage::deserialize(&self.rest[..length]).map_err(invalid);
        self.rest = self.rest.get(align(length)..).unwrap_or(&[]);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::neighbour_table::NeighbourTableMessage;
    use netlink_sys::protocols::NETLINK_ROUTE;

    /// No link has this number.
    const NO_LINK: u32 = 0x7fff_0000;

    fn link(index: u32) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        RouteNetlinkMessage::GetLink(message)
    }

    /// A channel with as little room as the kernel gives, 2.25 KiB.
    fn narrow() -> Channel {
        let mut channel = Channel::open_here(NETLINK_ROUTE).unwrap();
        setsockopt(&channel.socket, sockopt::RcvBuf, &1).unwrap();
        assert!(room(&channel.socket) < 4096);
        channel.at_once = at_once(&channel.socket);
        channel
    }

    #[test]
    fn any_number_of_requests_is_answered_whatever_the_room() {
        for mut channel in [narrow(), Channel::open_here(NETLINK_ROUTE).unwrap()] {
            // Together longer than a send buffer of the kernel's default size.
            let requests = || (0..10_000).map(|_| Request::new(link(NO_LINK), 0, "looking"));
            let tolerant = requests().map(|request| request.tolerate(libc::ENODEV));
            channel.execute(tolerant.collect()).unwrap();
            let error = channel.execute(requests().collect()).unwrap_err();
            assert!(
                matches!(&error, LinuxError::Kernel { source, .. } if source.raw_os_error() == Some(libc::ENODEV)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_question_is_answered_though_its_answer_has_no_room() {
        let mut narrow = narrow();
        let mut wide = Channel::open_here(NETLINK_ROUTE).unwrap();
        for _ in 0..20 {
            assert_eq!(narrow.get(link(1)).unwrap(), wide.get(link(1)).unwrap());
            let tables = |channel: &mut Channel| {
                let ask = NeighbourTableMessage::default();
                channel
                    .dump(RouteNetlinkMessage::GetNeighbourTable(ask))
                    .unwrap()
                    .len()
            };
            assert_eq!(tables(&mut narrow), tables(&mut wide));
        }
    }

    #[test]
    fn a_question_among_lost_notifications_is_asked_again() {
        let mut channel = narrow();
        // Answers nobody has read stand for notifications: the socket is full.
        for _ in 0..20 {
            let mut bytes = Vec::new();
            channel.append(&mut bytes, link(1), NLM_F_ACK);
            channel.send(&bytes).unwrap();
        }
        assert_eq!(channel.get(link(1)).unwrap().len(), 1);
        channel.wait().unwrap();
    }
}
