//! Network namespaces: every `unshare` and `setns` of the lab stands in this file.
//!
//! A namespace has no name; it lives as long as its descriptor or a socket in it. A lab is one thread, which visits
//! a namespace to make a socket there and comes straight back: sockets stay where they were made.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes a new, empty namespace. `name` is for messages only.
    ///
    /// # Errors
    /// If the kernel refuses `unshare(CLONE_NEWNET)`: no CAP_SYS_ADMIN in this user namespace, or no memory.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::new_with(name, || ()).map(|(namespace, ())| namespace)
    }

    /// As [`Namespace::new`], and runs `work` in the new namespace before coming back.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    ///
    /// # Panics
    /// If the thread can't return to where it came from; going on would build in the wrong place.
    pub fn new_with<T>(name: &str, work: impl FnOnce() -> T) -> io::Result<(Self, T)> {
        let home = Self::current("home")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = Self::current(name);
        let result = work();
        home.come_back();
        Ok((made?, result))
    }

    /// The namespace this thread is in.
    ///
    /// # Errors
    /// If /proc is not there.
    pub fn current(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            file: File::open("/proc/thread-self/ns/net")?,
        })
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor, for netlink messages that name a namespace.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` with this thread in the namespace. `work` must not wait: the thread is the whole lab's.
    ///
    /// # Errors
    /// If the namespace can't be entered, or `work` fails.
    ///
    /// # Panics
    /// If the thread can't return to where it came from; going on would build in the wrong place.
    pub fn enter<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.visit(work)?
    }

    /// As [`Namespace::enter`], for work that has errors of its own, or none.
    ///
    /// # Errors
    /// If the namespace can't be entered.
    ///
    /// # Panics
    /// As [`Namespace::enter`].
    pub fn visit<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = Self::current("home")?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        let result = work();
        home.come_back();
        Ok(result)
    }

    fn come_back(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .expect("a thread can return to its own namespace");
    }

    /// A non-blocking TCP socket in the namespace, of the family of `address`.
    ///
    /// # Errors
    /// As [`Namespace::enter`] and `socket(2)`.
    pub fn tcp_socket(&self, address: SocketAddr) -> io::Result<Socket> {
        self.enter(|| {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }
}
