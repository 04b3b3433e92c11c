//! Queueing disciplines that delay packets: netem, and prio, whose bands have a discipline each.

use std::io;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::LinuxError;
use super::link::RouteRequest;
use super::netlink::Request;

/// Nanoseconds of a tick of the kernel's packet schedulers (PSCHED_SHIFT 6).
pub(crate) const TICK_NS: u64 = 64;
/// TCA_OPTIONS of linux/rtnetlink.h, and of linux/pkt_sched.h what netem has besides its fixed part.
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
/// prio has so many bands at least.
const LEAST_BANDS: u32 = 2;

/// How netem delays packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Netem {
    /// By how much.
    pub(crate) delay: Duration,
    /// How much more or less than that at random.
    pub(crate) jitter: Duration,
    /// Packets that may be on their way.
    pub(crate) limit: u32,
}

impl Netem {
    /// Puts it on the link with this index, below `parent`.
    pub(crate) fn add(&self, link: u32, parent: TcHandle) -> RouteRequest {
        let message = qdisc(link, parent, None, "netem", self.options());
        request(message, NLM_F_CREATE | NLM_F_EXCL, "netem")
    }

    /// struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), and the times again in nanoseconds.
    fn options(&self) -> Vec<u8> {
        let ticks = |time: Duration| {
            u32::try_from(time.as_nanos() / u128::from(TICK_NS)).unwrap_or(u32::MAX)
        };
        let (delay, jitter) = (self.delay, self.jitter);
        let mut options: Vec<u8> = [ticks(delay), self.limit, 0, 0, 0, ticks(jitter)]
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .collect();
        for (kind, time) in [(TCA_NETEM_LATENCY64, delay), (TCA_NETEM_JITTER64, jitter)] {
            let nanoseconds = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
            options.extend(12_u16.to_ne_bytes());
            options.extend(kind.to_ne_bytes());
            options.extend(nanoseconds.to_ne_bytes());
        }
        options
    }
}

/// The class of a queueing discipline's band, from 1; also the priority by which a packet takes it.
pub(crate) fn class(handle: u16, band: u16) -> u32 {
    u32::from(handle) << 16 | u32::from(band)
}

/// Makes prio with `bands` bands the discipline of the link with this index, in the place of what was there. Every packet
/// takes the first band but those whose priority is a class of `handle`.
pub(crate) fn add_bands(link: u32, handle: u16, bands: u32) -> RouteRequest {
    // struct tc_prio_qopt: bands, and for each of 16 priorities its band, from 0.
    let mut options = bands.max(LEAST_BANDS).to_ne_bytes().to_vec();
    options.extend([0; 16]);
    let handle = TcHandle::from(class(handle, 0));
    let message = qdisc(link, TcHandle::ROOT, Some(handle), "prio", options);
    request(message, NLM_F_CREATE | NLM_F_REPLACE, "prio")
}

/// Whether an error says that the kernel does not have the queueing discipline: it answers ENOENT.
pub(crate) fn is_missing(error: &LinuxError) -> bool {
    let unknown = |source: &io::Error| source.raw_os_error() == Some(libc::ENOENT);
    match error {
        LinuxError::Kernel { source, .. } => unknown(source),
        LinuxError::Missing { .. } => true,
        LinuxError::Refused { .. } | LinuxError::Program { .. } => false,
    }
}

fn qdisc(
    link: u32,
    parent: TcHandle,
    handle: Option<TcHandle>,
    kind: &str,
    options: Vec<u8>,
) -> TcMessage {
    let mut message = TcMessage::with_index(link.cast_signed());
    message.header.parent = parent;
    if let Some(handle) = handle {
        message.header.handle = handle;
    }
    message.attributes = vec![
        TcAttribute::Kind(kind.to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)),
    ];
    message
}

fn request(message: TcMessage, flags: u16, what: &str) -> RouteRequest {
    Request::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        flags,
        format!("adding {what} to a link"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_discipline_is_missing() {
        let kernel = |errno| LinuxError::Kernel {
            doing: "adding".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        };
        assert!(is_missing(&kernel(libc::ENOENT)));
        assert!(!is_missing(&kernel(libc::EPERM)));
    }

    #[test]
    fn times_stand_in_ticks_and_again_in_nanoseconds() {
        let netem = Netem {
            delay: Duration::from_micros(50),
            jitter: Duration::from_nanos(640),
            limit: 1000,
        };
        let words = |fields: &[u32]| -> Vec<u8> {
            fields
                .iter()
                .flat_map(|field| field.to_ne_bytes())
                .collect()
        };
        let options = netem.options();
        assert_eq!(options[..24], words(&[781, 1000, 0, 0, 0, 10]));
        assert_eq!(options[28..36], 50_000_i64.to_ne_bytes());
        assert_eq!(options[40..48], 640_i64.to_ne_bytes());
    }
}
