//! What a socket is told about a peer of which nothing is heard.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::plan::Keepalive;

/// Sets keepalive, with the kernel's own times if they are `by_sysctls`, and TCP_USER_TIMEOUT. `None` leaves them off.
///
/// # Errors
/// As `setsockopt(2)`.
pub(crate) fn limit(
    socket: SockRef<'_>,
    keepalive: Option<Keepalive>,
    by_sysctls: bool,
    user_timeout: Option<Duration>,
) -> io::Result<()> {
    match keepalive {
        Some(_) if by_sysctls => socket.set_keepalive(true)?,
        Some(keepalive) => {
            let options = TcpKeepalive::new()
                .with_time(whole_seconds(keepalive.idle))
                .with_interval(whole_seconds(keepalive.interval))
                .with_retries(keepalive.count);
            socket.set_tcp_keepalive(&options)?;
        }
        None => {}
    }
    if let Some(limit) = user_timeout {
        socket.set_tcp_user_timeout(Some(whole_milliseconds(limit)))?;
    }
    Ok(())
}

/// TCP_KEEPIDLE and TCP_KEEPINTVL count whole seconds from 1. Rounded up: a probe never goes out early.
fn whole_seconds(duration: Duration) -> Duration {
    let up = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs((duration.as_secs() + up).max(1))
}

/// TCP_USER_TIMEOUT counts whole milliseconds, and 0 turns it off. Rounded up.
fn whole_milliseconds(duration: Duration) -> Duration {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000).max(1);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_whole_is_rounded_up_and_never_to_off() {
        let ms = Duration::from_millis;
        assert_eq!(whole_seconds(ms(200)), ms(1000));
        assert_eq!(whole_seconds(ms(1000)), ms(1000));
        assert_eq!(whole_seconds(ms(1001)), ms(2000));
        assert_eq!(whole_milliseconds(Duration::from_micros(1)), ms(1));
        assert_eq!(whole_milliseconds(Duration::from_micros(1001)), ms(2));
        assert_eq!(whole_milliseconds(ms(700)), ms(700));
    }
}
