//! Netlink, one exchange at a time: a batch of requests goes out in one send, and the kernel's answers come back before
//! the next line of code runs. Blocking on purpose: the kernel handles a request while send() runs, so there is nothing
//! to wait for, and a fault has to be in force when its function returns.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

use super::LabError;
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

/// A netlink socket in a namespace.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    /// A notification came in between the answers to a request.
    notified: bool,
}

impl Channel {
    /// Opens a socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER) in `namespace`.
    pub(crate) fn open(namespace: &Namespace, protocol: isize) -> Result<Self, LabError> {
        namespace
            .enter(|| Self::open_here(protocol))
            .map_err(LabError::kernel(format!(
                "opening a netlink socket in {}",
                namespace.name()
            )))
    }

    /// Opens a socket of `protocol` in the namespace this thread is in.
    pub(crate) fn open_here(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        // Answers carry the request's header only, not the request.
        socket.set_cap_ack(true)?;
        Ok(Self {
            socket,
            sequence: 0,
            notified: false,
        })
    }

    /// The socket itself, for reading what the kernel sends unasked.
    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends `requests` at once and returns when the kernel has done them all.
    ///
    /// The kernel answers a failed request in any case, and the last one always, so one acknowledgement is enough.
    ///
    /// # Errors
    /// The first request that failed, in words. Requests after it may have been done.
    pub(crate) fn execute<M>(&mut self, requests: Vec<Request<M>>) -> Result<(), LabError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(());
        };
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
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => LabError::Missing {
                what: format!("what the kernel needs for {doing}"),
                location: None,
            },
            _ => LabError::Kernel {
                doing: doing.to_owned(),
                source,
            },
        };
        self.send(&bytes).map_err(|e| failed(&notes[last].0, e))?;
        let mut first_error = None;
        loop {
            let answers = self.receive().map_err(|e| failed(&notes[last].0, e))?;
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

    /// Sends `bytes` of a finished batch whose end is not itself acknowledged (nfnetlink).
    ///
    /// # Errors
    /// The first error the kernel reports.
    pub(crate) fn transact<M>(&mut self, messages: Vec<(M, u16)>) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        let mut acked = None;
        for (message, flags) in messages {
            self.append(&mut bytes, message, flags);
            if flags & NLM_F_ACK != 0 {
                acked = Some(self.sequence);
            }
        }
        self.send(&bytes)?;
        let Some(acked) = acked else { return Ok(()) };
        loop {
            let answers = self.receive()?;
            for answer in Answers::<M>::new(&answers) {
                let answer = answer?;
                let NetlinkPayload::Error(error) = answer.payload else {
                    continue;
                };
                if error.code.is_some() {
                    return Err(io::Error::from_raw_os_error(-error.raw_code()));
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
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.ask(message, NLM_F_DUMP)
    }

    /// Asks for one thing and returns the answer.
    pub(crate) fn get<M>(&mut self, message: M) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.ask(message, NLM_F_ACK)
    }

    fn ask<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, flags);
        self.send(&bytes)?;
        let mut found = Vec::new();
        loop {
            let answers = self.receive()?;
            for answer in Answers::<M>::new(&answers) {
                let answer = answer?;
                if answer.header.sequence_number != self.sequence {
                    self.notified = true;
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(io::Error::from_raw_os_error(-error.raw_code()));
                    }
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
        match self.receive() {
            Err(e) if e.raw_os_error() != Some(libc::ENOBUFS) => Err(e),
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

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(32 * 1024);
        self.socket.recv(&mut buffer, 0)?;
        Ok(buffer)
    }
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
