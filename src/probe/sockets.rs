//! The connections of a program that is not ours: their births from its packets, their deaths from the kernel, which
//! tells of every socket that is no more (sock_diag's destroy groups) and hands over its last TCP_INFO.

mod closing;
pub(crate) mod options;
mod tracker;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::rc::{Rc, Weak};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use self::tracker::{Death, Tracker};
use super::packets::tap::{Hears, Tap};
use super::tcp_info;
use crate::lab::namespace::Namespace;
use crate::lab::netlink::Channel;
use crate::lab::{LabError, sysctl};
use crate::record::{Event, Observation, Recorder};

/// SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY of linux/sock_diag.h.
const DESTROYED: [u32; 2] = [1, 3];
/// The kernel's default of `net.ipv4.tcp_syn_retries`.
const SYN_RETRIES: u8 = 6;

/// Watches the connections of one program.
pub struct SocketProbe {
    tap: Tap,
    deaths: AsyncFd<Socket>,
    /// For questions about sockets.
    channel: RefCell<Channel>,
    tracker: RefCell<Tracker>,
    /// Data has begun to be sent again.
    stirred: Notify,
    recorder: Recorder,
}

impl SocketProbe {
    /// Watches the connections that are opened from `addresses` in `namespace`, from now on. They are recorded as those
    /// of `client`.
    ///
    /// # Errors
    /// [`LabError::Missing`] if this kernel lacks AF_PACKET sockets, [`LabError::Kernel`] if it refuses a socket.
    pub fn open(
        client: &str,
        addresses: Vec<IpAddr>,
        namespace: &Namespace,
        recorder: &Recorder,
    ) -> Result<Rc<Self>, LabError> {
        let deaths = namespace.enter(open_deaths).and_then(|socket| {
            // SAFETY: the socket owns its descriptor, and stays inside the AsyncFd until both are dropped.
            unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
                .map_err(io::Error::from)
        });
        let syn_limit = namespace.visit(syn_limit).unwrap_or(SYN_RETRIES);
        let probe = Rc::new(Self {
            tap: Tap::open(client, namespace, Hears::Turns)?,
            deaths: deaths.map_err(LabError::kernel(format!(
                "watching the sockets of {client}"
            )))?,
            channel: RefCell::new(Channel::open(namespace, NETLINK_SOCK_DIAG)?),
            tracker: RefCell::new(Tracker::new(client, addresses, syn_limit)),
            stirred: Notify::new(),
            recorder: recorder.clone(),
        });
        let weak = Rc::downgrade(&probe);
        recorder.listen(move |event| heard(&weak, event));
        Ok(probe)
    }

    /// Records what is seen, until reading fails. Safe to cancel at any time.
    ///
    /// # Errors
    /// As `recvmmsg(2)`, `recv(2)` and sock_diag(7).
    pub async fn run(&self) -> io::Result<()> {
        let mut looked = Duration::ZERO;
        loop {
            let busy = self.tracker.borrow().busy_since();
            let next =
                busy.map(|since| looked.max(since) + closing::pause(looked.saturating_sub(since)));
            let wait = next.map(|at| at.saturating_sub(self.recorder.now()));
            tokio::select! {
                readable = self.tap.readable() => readable?,
                ready = self.deaths.readable() => ready?.clear_ready(),
                () = self.stirred.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    looked = self.recorder.now();
                    self.look_for_closing()?;
                }
            }
            self.drain()?;
        }
    }

    fn look_for_closing(&self) -> io::Result<()> {
        self.drain()?;
        let closing = closing::closing(&mut self.channel.borrow_mut())?;
        self.record(|tracker| tracker.closing(&closing, self.recorder.now()));
        Ok(())
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)` and `recv(2)`.
    pub fn drain(&self) -> io::Result<()> {
        // A socket's last packet comes before its death, so it must be seen first: it is read last.
        let deaths = self.take_deaths()?;
        let now = self.recorder.now();
        for (packet, stamp) in self.tap.take(&self.recorder)? {
            self.record(|tracker| tracker.see(&packet, stamp));
        }
        for death in &deaths {
            self.record(|tracker| tracker.died(death, now));
        }
        Ok(())
    }

    /// The case is over: connections that are open then end with it.
    ///
    /// # Errors
    /// As [`SocketProbe::drain`].
    pub fn finish(&self) -> io::Result<()> {
        let drained = self.drain();
        self.record(|tracker| tracker.finish(self.recorder.now()));
        drained
    }

    /// The program is no more, and so are its connections; nothing is recorded of that.
    pub fn stop(&self) {
        self.tracker.borrow_mut().stop();
    }

    /// The connections the program has, established or being opened: number and own address.
    pub(crate) fn connections(&self) -> Vec<(u32, SocketAddr)> {
        self.tracker.borrow().open()
    }

    fn record(&self, learn: impl FnOnce(&mut Tracker) -> Vec<(Duration, Observation)>) {
        // Not in one: who hears of an event may ask the tracker.
        let observed = learn(&mut self.tracker.borrow_mut());
        for (at, what) in observed {
            self.recorder.emit_at(at, what);
        }
    }

    fn take_deaths(&self) -> io::Result<Vec<Death>> {
        let mut deaths = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let fd = self.deaths.get_ref().as_raw_fd();
            let read =
                nix::sys::socket::recv(fd, &mut buffer, nix::sys::socket::MsgFlags::MSG_DONTWAIT);
            match read {
                Ok(length) => deaths.extend(parse(&buffer[..length])),
                Err(nix::Error::EAGAIN) => return Ok(deaths),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::ENOBUFS) => self.recorder.emit(Observation::Warning {
                    text: "sockets died faster than they were counted: some deaths are not in the record".to_owned(),
                }),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What others have seen of the program's connections.
fn heard(probe: &Weak<SocketProbe>, event: &Event) {
    match &event.what {
        Observation::ServerAccepted { peer, protocol, .. } => {
            let Some(probe) = probe.upgrade() else { return };
            // Its SYN may not have been read yet. What can't be read here, the probe's own task will say.
            let _ = probe.drain();
            probe.record(|tracker| tracker.accepted(*peer, *protocol, event.at()));
        }
        Observation::Segment(segment) if segment.retransmission > 0 && segment.len > 0 => {
            let Some(probe) = probe.upgrade() else { return };
            if probe
                .tracker
                .borrow_mut()
                .sent_again(segment.from, event.at())
            {
                probe.stirred.notify_one();
            }
        }
        _ => {}
    }
}

fn open_deaths() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    // Without an address of its own it would be taken for the kernel's, and skipped.
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    for group in DESTROYED {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

/// SYNs the kernel sends again in the namespace this thread is in.
fn syn_limit() -> u8 {
    let number = |key| sysctl::read(key).ok()?.parse::<u8>().ok();
    let linear = number("net.ipv4.tcp_syn_linear_timeouts").unwrap_or(0);
    number("net.ipv4.tcp_syn_retries")
        .unwrap_or(SYN_RETRIES)
        .saturating_add(linear)
}

/// The messages of a datagram: `nlmsghdr`, `inet_diag_msg`, attributes.
fn parse(mut bytes: &[u8]) -> Vec<Death> {
    let mut deaths = Vec::new();
    while let Some(length) = bytes
        .first_chunk::<4>()
        .map(|word| u32::from_ne_bytes(*word) as usize)
    {
        let Some(message) = bytes.get(..length).filter(|m| m.len() >= 16) else {
            break;
        };
        deaths.extend(parse_message(&message[16..]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    deaths
}

/// Length of `inet_diag_msg`.
const HEADER: usize = 72;
/// The attribute that holds `tcp_info`.
const INET_DIAG_INFO: u16 = 2;

fn parse_message(message: &[u8]) -> Option<Death> {
    let address = |at: usize, port: usize| {
        let port = u16::from_be_bytes(message.get(port..port + 2)?.try_into().ok()?);
        let ip: [u8; 16] = message.get(at..at + 16)?.try_into().ok()?;
        let ip = match i32::from(*message.first()?) {
            libc::AF_INET => Ipv4Addr::from(*ip.first_chunk::<4>()?).into(),
            libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(ip)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    };
    let (local, remote) = (address(8, 4)?, address(24, 6)?);
    let mut attributes = message.get(HEADER..)?;
    while let Some(head) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let attribute = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == INET_DIAG_INFO {
            return Some(Death {
                local,
                remote,
                info: tcp_info::of_bytes(attribute),
            });
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
            parse_message(&bytes);
        }
    }
}
