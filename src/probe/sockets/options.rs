//! What a program has set its sockets to: read from the sockets themselves, which another process can borrow.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname, getsockopt, sockopt};
use nix::unistd::Pid;
use socket2::SockRef;

use crate::linux::tcp_info::tcp_info;
use crate::plan::Keepalive;
use crate::record::TcpInfo;

/// TCP_CLOSE.
const CLOSED: u8 = 7;

/// What a socket is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// TCP keepalive, if it is on.
    pub(crate) keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT, if it is set.
    pub(crate) user_timeout: Option<Duration>,
}

/// TCP_INFO of sockets that are in no table any more, but that a process keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    by_cookie: HashMap<u64, TcpInfo>,
    by_local: HashMap<SocketAddr, TcpInfo>,
}

impl Kept {
    /// Those that the processes in the PID namespace of `init` keep.
    pub(crate) fn by_processes_with(init: Pid) -> Self {
        let mut kept = Self::default();
        for process in processes_with(init) {
            let Ok(handle) = pidfd_open(process) else {
                continue;
            };
            for fd in sockets_of(process) {
                let Ok(socket) = borrow(&handle, fd) else {
                    continue;
                };
                // One that is at work again is another connection's.
                let Some(info) = tcp_info(&socket).ok().filter(|info| info.state == CLOSED) else {
                    continue;
                };
                if let Ok(cookie) = SockRef::from(&socket).cookie() {
                    kept.by_cookie.entry(cookie).or_insert(info);
                }
                if let Some(local) = own_address(&socket) {
                    kept.by_local.entry(local).or_insert(info);
                }
            }
        }
        kept
    }

    /// Of the one with this number of the kernel's, or, where that is not known, the one with this address of its own.
    pub(crate) fn info(&self, cookie: Option<u64>, local: SocketAddr) -> Option<TcpInfo> {
        match cookie {
            Some(cookie) => self.by_cookie.get(&cookie),
            None => self.by_local.get(&local),
        }
        .copied()
    }
}

/// Which of a socket's addresses tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Its own, which a client's connection has alone.
    Own,
    /// Its peer's, which a server's has.
    Peer,
}

/// Tells the options of the sockets that have the addresses in `wanted`, of all processes in the PID namespace of `init`, one
/// by one as they are read: of thousands that takes seconds. Those that can't be read are left out.
pub(crate) fn of_processes<T>(
    init: Pid,
    by: By,
    wanted: &HashMap<SocketAddr, T>,
    mut tell: impl FnMut(&T, Options),
) {
    let mut told = HashSet::new();
    for process in processes_with(init) {
        if told.len() == wanted.len() {
            break;
        }
        let Ok(handle) = pidfd_open(process) else {
            continue;
        };
        for fd in sockets_of(process) {
            let Ok(socket) = borrow(&handle, fd) else {
                continue;
            };
            let address = match by {
                By::Own => own_address(&socket),
                By::Peer => peer_address(&socket),
            };
            let known = address.and_then(|address| wanted.get_key_value(&address));
            let Some((address, who)) = known else {
                continue;
            };
            if !told.contains(address)
                && let Ok(options) = read(&socket)
            {
                told.insert(*address);
                tell(who, options);
            }
        }
    }
}

/// The processes in the same PID namespace as `init`.
pub(crate) fn processes_with(init: Pid) -> Vec<Pid> {
    let namespace = |process: i32| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let Some(own) = namespace(init.as_raw()) else {
        return Vec::new();
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|process| namespace(*process).as_ref() == Some(&own))
        .map(Pid::from_raw)
        .collect()
}

fn sockets_of(process: Pid) -> Vec<RawFd> {
    let entries = fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let sockets = entries.filter(|entry| {
        let target = fs::read_link(entry.path()).ok();
        target.is_some_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    sockets
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A descriptor of a process; readable once it has ended.
pub(crate) fn pidfd_open(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) })
}

fn borrow(process: &OwnedFd, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn own_address(socket: &OwnedFd) -> Option<SocketAddr> {
    canonical(getsockname(socket.as_raw_fd()).ok()?)
}

fn peer_address(socket: &OwnedFd) -> Option<SocketAddr> {
    canonical(getpeername(socket.as_raw_fd()).ok()?)
}

fn canonical(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|a| SocketAddr::from((a.ip(), a.port())));
    let address = v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|a| SocketAddr::from((a.ip(), a.port())))
    })?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn read(socket: &OwnedFd) -> nix::Result<Options> {
    let seconds = |number: u32| Duration::from_secs(number.into());
    let keepalive = match getsockopt(socket, sockopt::KeepAlive)? {
        true => Some(Keepalive {
            idle: seconds(getsockopt(socket, sockopt::TcpKeepIdle)?),
            interval: seconds(getsockopt(socket, sockopt::TcpKeepInterval)?),
            count: getsockopt(socket, sockopt::TcpKeepCount)?,
        }),
        false => None,
    };
    let user_timeout = getsockopt(socket, sockopt::TcpUserTimeout)?;
    let user_timeout = (user_timeout > 0).then(|| Duration::from_millis(user_timeout.into()));
    Ok(Options {
        keepalive,
        user_timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_socket_of_ours_are_those_it_was_given() -> io::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
        let socket = socket2::SockRef::from(&stream);
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30));
        let keepalive = keepalive
            .with_interval(Duration::from_secs(15))
            .with_retries(9);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(Duration::from_millis(1500)))?;
        let mut found = Vec::new();
        let wanted = HashMap::from([(stream.local_addr()?, "ours")]);
        of_processes(Pid::this(), By::Own, &wanted, |who, options| {
            found.push((*who, options));
        });
        let keepalive = Keepalive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(15),
            count: 9,
        };
        let options = Options {
            keepalive: Some(keepalive),
            user_timeout: Some(Duration::from_millis(1500)),
        };
        assert_eq!(found, [("ours", options.clone())]);
        found.clear();
        let wanted = HashMap::from([(listener.local_addr()?, "ours, by its peer")]);
        of_processes(Pid::this(), By::Peer, &wanted, |who, options| {
            found.push((*who, options));
        });
        assert_eq!(found, [("ours, by its peer", options)]);
        Ok(())
    }
}
