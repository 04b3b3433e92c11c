//! The TCP sockets of one namespace: asked for by their addresses, or told by the kernel when they are no more.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd as _;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::diag::{self, Ends, Message, Shown};
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::linux::netlink::{self, had_no_room};

/// SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY of linux/sock_diag.h.
const DESTROYED: [u32; 2] = [1, 3];
/// The first address tried for a netlink socket. Left to itself the kernel throws dice for one, the same that choose ports
/// and endpoints.
const FIRST_ADDRESS: u32 = 0x6861_0001;
/// Addresses tried.
const ADDRESSES: u32 = 64;
/// Most sockets asked for at once: all answers lie in the socket's buffer before the first is read.
const AT_ONCE: usize = 64;
/// Room for an answer about a socket, as the kernel counts it.
const ROOM_EACH: usize = 3 << 10;
/// Room for the longest answer: a part of a dump.
const ROOM: usize = 32 << 10;

/// The sockets of a namespace.
pub(super) struct Sockets {
    deaths: AsyncFd<Socket>,
    /// A socket of its own: one that waits for deaths is woken by every answer.
    questions: Socket,
    sequence: Cell<u32>,
}

impl Sockets {
    /// Hears of sockets that end in `namespace` from now on.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if the kernel refuses a socket.
    pub(super) fn open(name: &str, namespace: &Namespace) -> Result<Self, LinuxError> {
        let doing = format!("watching the sockets of {name}");
        let opened = namespace.enter(|| Ok((open_deaths()?, open()?)));
        let registered = opened.and_then(|(deaths, questions)| {
            // SAFETY: the socket owns its descriptor, and stays inside the AsyncFd until both are dropped.
            let deaths = unsafe { AsyncFd::register_with_interest(deaths, Interest::READABLE) };
            Ok((deaths?, questions))
        });
        let (deaths, questions) = registered.map_err(LinuxError::kernel(doing))?;
        Ok(Self {
            deaths,
            questions,
            sequence: Cell::new(0),
        })
    }

    /// Waits until a socket has ended. Safe to cancel.
    ///
    /// # Errors
    /// As `epoll_wait(2)`.
    pub(super) async fn readable(&self) -> io::Result<()> {
        // Cleared before reading: what comes in between wakes us again.
        self.deaths.readable().await?.clear_ready();
        Ok(())
    }

    /// The sockets that have ended since the last call, without waiting, and whether there were more than the kernel had
    /// room for: who else has ended is to be asked then.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub(super) fn take_deaths(&self) -> io::Result<(Vec<Shown>, bool)> {
        let (mut deaths, mut more) = (Vec::new(), false);
        let mut buffer = [0; 8192];
        loop {
            match receive(self.deaths.get_ref(), &mut buffer) {
                Ok(messages) => deaths.extend(messages.into_iter().filter_map(|m| match m {
                    (_, Message::Socket(shown)) => Some(shown),
                    _ => None,
                })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((deaths, more));
                }
                Err(error) if had_no_room(&error) => more = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// The sockets with these addresses, in their order; `None` for one that is not there.
    ///
    /// # Errors
    /// As sock_diag(7).
    pub(super) fn look(&self, wanted: &[Ends]) -> io::Result<Vec<Option<Shown>>> {
        let mut found = Vec::with_capacity(wanted.len());
        let at_once = (netlink::room(&self.questions) / ROOM_EACH).clamp(1, AT_ONCE);
        for some in wanted.chunks(at_once) {
            found.extend(self.look_at_some(some)?);
        }
        Ok(found)
    }

    fn look_at_some(&self, wanted: &[Ends]) -> io::Result<Vec<Option<Shown>>> {
        let mut found = vec![None; wanted.len()];
        let first = self.sequence.get().wrapping_add(1);
        let mut bytes = Vec::with_capacity(wanted.len() * 72);
        for ends in wanted {
            diag::ask_for(&mut bytes, self.next_sequence(), *ends);
        }
        self.questions.send(&bytes, 0)?;
        let mut buffer = [0; 4096];
        let mut waiting = wanted.len();
        while waiting > 0 {
            for (sequence, message) in receive(&self.questions, &mut buffer)? {
                let index = sequence.wrapping_sub(first) as usize;
                let Some(place) = found.get_mut(index) else {
                    continue;
                };
                waiting -= 1;
                match message {
                    // Where there is no such connection, the socket that listens there answers.
                    Message::Socket(shown) if shown.ends() == wanted[index] => *place = Some(shown),
                    Message::Error(errno) if errno != libc::ENOENT => {
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// All sockets in one of `states`, a bit each by the kernel's number. The kernel walks its whole table for this: a
    /// millisecond or so on a large machine.
    ///
    /// # Errors
    /// As sock_diag(7); ENOENT where the kernel was built without it.
    pub(super) fn all(&self, states: u32) -> io::Result<Vec<Shown>> {
        let mut bytes = Vec::with_capacity(76);
        let asked = self.next_sequence();
        diag::ask_for_all(&mut bytes, asked, states);
        self.questions.send(&bytes, 0)?;
        let mut found = Vec::new();
        let mut buffer = vec![0; ROOM];
        loop {
            let messages = match receive(&self.questions, &mut buffer) {
                // A dump goes on as it is read: nothing of it is lost.
                Err(error) if had_no_room(&error) => continue,
                messages => messages?,
            };
            for (sequence, message) in messages {
                match message {
                    _ if sequence != asked => {}
                    Message::Socket(shown) => found.push(shown),
                    Message::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Message::Done => return Ok(found),
                    Message::Other => {}
                }
            }
        }
    }

    fn next_sequence(&self) -> u32 {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        self.sequence.get()
    }
}

/// The messages of the next datagram. The kernel has answered when send() returns, so there is nothing to wait for.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Vec<(u32, Message)>> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => return Ok(diag::parse(&buffer[..length])),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A netlink socket in the namespace this thread is in.
fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    netlink::enlarge(&socket);
    for address in FIRST_ADDRESS..FIRST_ADDRESS + ADDRESSES {
        match socket.bind(&NetlinkAddress::new(address, 0)) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            bound => {
                bound?;
                return Ok(socket);
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EADDRINUSE))
}

fn open_deaths() -> io::Result<Socket> {
    let socket = open()?;
    for group in DESTROYED {
        socket.add_membership(group)?;
    }
    Ok(socket)
}
