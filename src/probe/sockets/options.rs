//! What a program has set its sockets to: read from the sockets themselves, which another process can borrow.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt};
use nix::unistd::Pid;

use crate::plan::Keepalive;

/// What a socket is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// TCP keepalive, if it is on.
    pub(crate) keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT, if it is set.
    pub(crate) user_timeout: Option<Duration>,
}

/// The options of the sockets that have the addresses `wanted`, of all processes in the PID namespace of `init`. Those
/// that can't be read are left out.
pub(crate) fn of_processes(init: Pid, wanted: &[SocketAddr]) -> Vec<(SocketAddr, Options)> {
    let mut found = Vec::new();
    for process in processes_with(init) {
        let Ok(handle) = pidfd_open(process) else {
            continue;
        };
        for fd in sockets_of(process) {
            let Ok(socket) = borrow(&handle, fd) else {
                continue;
            };
            let Some(local) = own_address(&socket) else {
                continue;
            };
            if wanted.contains(&local) && !found.iter().any(|(known, _)| *known == local) {
                found.extend(read(&socket).ok().map(|options| (local, options)));
            }
        }
        if found.len() == wanted.len() {
            break;
        }
    }
    found
}

/// The processes in the same PID namespace as `init`.
fn processes_with(init: Pid) -> Vec<Pid> {
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
    let address: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
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
        let found = of_processes(Pid::this(), &[stream.local_addr()?]);
        let keepalive = Keepalive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(15),
            count: 9,
        };
        let user_timeout = Some(Duration::from_millis(1500));
        assert_eq!(
            found,
            [(
                stream.local_addr()?,
                Options {
                    keepalive: Some(keepalive),
                    user_timeout
                }
            )]
        );
        Ok(())
    }
}
