//! A socket's TCP_INFO: the kernel's own account of a connection, readable until the descriptor is closed, even
//! after the connection has died.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};

use crate::record::TcpInfo;

/// Reads TCP_INFO from a TCP socket.
///
/// # Errors
/// If `socket` is not a TCP socket.
pub(crate) fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for the call's time, and `length` is the size of what `info` points to; the
    // kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the structure is of plain integers and began as zeroes, so it is valid however much the kernel wrote.
    Ok(of(unsafe { info.assume_init_ref() }))
}

/// TCP_INFO from `bytes` that the kernel wrote; what is missing at their end is 0.
pub(crate) fn of_bytes(bytes: &[u8]) -> TcpInfo {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let length = bytes.len().min(size_of::<libc::tcp_info>());
    // SAFETY: `length` bytes can be read from the one and written to the other, which do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), info.as_mut_ptr().cast(), length) };
    // SAFETY: plain integers, all of them set.
    of(unsafe { info.assume_init_ref() })
}

fn of(info: &libc::tcp_info) -> TcpInfo {
    TcpInfo {
        state: info.tcpi_state,
        retransmits: info.tcpi_retransmits,
        probes: info.tcpi_probes,
        backoff: info.tcpi_backoff,
        rto_us: info.tcpi_rto,
        rtt_us: info.tcpi_rtt,
        unacked: info.tcpi_unacked,
        total_retrans: info.tcpi_total_retrans,
        last_data_sent_ms: info.tcpi_last_data_sent,
        last_data_recv_ms: info.tcpi_last_data_recv,
        last_ack_recv_ms: info.tcpi_last_ack_recv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn an_established_connection_is_in_state_1() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let info = tcp_info(&stream)?;
        assert_eq!(info.state, 1);
        assert!(info.rto_us > 0);
        Ok(())
    }

    #[test]
    fn a_udp_socket_has_none() -> io::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        assert!(tcp_info(&socket).is_err());
        Ok(())
    }
}
