//! Connections that a program has closed while its data was being sent again in vain. Linux 6.18 keeps the FIN back
//! behind that data, so the wire shows nothing for as long as the orphan lives: only the socket's state does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::namespace::Sockets;

/// Least and longest time between two looks.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(5);

/// Time until the next look, for data that has been sent again for `busy`: a hundredth of it, so that the time of a
/// closing is known to a hundredth, and 15 minutes cost some hundred looks.
pub(super) fn pause(busy: Duration) -> Duration {
    (busy / 100).clamp(SOONEST, LATEST)
}

/// Own addresses of the sockets that were closed by their programs and are not gone yet.
///
/// # Errors
/// As sock_diag(7).
pub(super) fn closing(sockets: &Sockets) -> io::Result<Vec<SocketAddr>> {
    // FIN-WAIT-1, LAST-ACK, CLOSING.
    let found = sockets.all(1 << 4 | 1 << 9 | 1 << 11)?;
    Ok(found.into_iter().map(|shown| shown.local).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_costs_hundreds_of_looks_and_not_thousands() {
        let (mut busy, mut looks) = (Duration::ZERO, 0);
        while busy < Duration::from_secs(940) {
            busy += pause(busy);
            looks += 1;
        }
        assert!((300..800).contains(&looks), "{looks}");
    }
}
