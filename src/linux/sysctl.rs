//! Sysctls of a namespace: every one that matters to what is measured is pinned to the kernel's own default first, so
//! that a case gives the same result on a tuned host; then the scenario's values are written and read back.
//!
//! Functions here work on the namespace the thread is in: `/proc/sys/net` shows each thread its own.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::LinuxError;
use super::kernel::{kernel_name, kernel_release};
use crate::plan::Sysctl;
use crate::record::Observation;

/// A sysctl that is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Dotted key.
    pub key: &'static str,
    /// The kernel's default.
    pub default: &'static str,
    /// First kernel that has it with this default, where that is later than 4.15; older ones keep what they have.
    pub since: Option<(u32, u32)>,
}

const fn pin(key: &'static str, default: &'static str) -> Pin {
    Pin {
        key,
        default,
        since: None,
    }
}

const fn since(major: u32, minor: u32, key: &'static str, default: &'static str) -> Pin {
    Pin {
        key,
        default,
        since: Some((major, minor)),
    }
}

/// What is pinned. Defaults are those of `tcp_sk_init()`, `nf_conntrack_proto_tcp.c`, `arp_tbl` and `ipv4_devconf` in the
/// kernel's sources. Left out: what depends on the machine's memory (buffer sizes, backlogs, bucket counts).
///
/// `eth0` stands for the link that leads to the fabric; a namespace without it answers for `lo`.
pub const PINNED: &[Pin] = &[
    // When a connection is given up, and how retransmissions are spaced.
    pin("net.ipv4.tcp_retries1", "3"),
    pin("net.ipv4.tcp_retries2", "15"),
    pin("net.ipv4.tcp_orphan_retries", "0"),
    pin("net.ipv4.tcp_syn_retries", "6"),
    pin("net.ipv4.tcp_synack_retries", "5"),
    since(6, 5, "net.ipv4.tcp_syn_linear_timeouts", "4"),
    since(6, 11, "net.ipv4.tcp_rto_min_us", "200000"),
    since(6, 15, "net.ipv4.tcp_rto_max_ms", "120000"),
    pin("net.ipv4.tcp_thin_linear_timeouts", "0"),
    pin("net.ipv4.tcp_early_retrans", "3"),
    pin("net.ipv4.tcp_recovery", "1"),
    pin("net.ipv4.tcp_frto", "2"),
    pin("net.ipv4.tcp_retrans_collapse", "1"),
    pin("net.ipv4.tcp_reordering", "3"),
    pin("net.ipv4.tcp_max_reordering", "300"),
    // Keepalive.
    pin("net.ipv4.tcp_keepalive_time", "7200"),
    pin("net.ipv4.tcp_keepalive_intvl", "75"),
    pin("net.ipv4.tcp_keepalive_probes", "9"),
    // What is on the wire.
    pin("net.ipv4.tcp_timestamps", "1"),
    pin("net.ipv4.tcp_sack", "1"),
    pin("net.ipv4.tcp_dsack", "1"),
    pin("net.ipv4.tcp_window_scaling", "1"),
    pin("net.ipv4.tcp_ecn", "2"),
    pin("net.ipv4.tcp_ecn_fallback", "1"),
    pin("net.ipv4.tcp_fastopen", "1"),
    pin("net.ipv4.tcp_mtu_probing", "0"),
    pin("net.ipv4.tcp_base_mss", "1024"),
    pin("net.ipv4.tcp_autocorking", "1"),
    pin("net.ipv4.tcp_congestion_control", "cubic"),
    pin("net.ipv4.tcp_slow_start_after_idle", "1"),
    pin("net.ipv4.tcp_notsent_lowat", "4294967295"),
    since(4, 18, "net.ipv4.tcp_comp_sack_delay_ns", "1000000"),
    since(4, 18, "net.ipv4.tcp_comp_sack_nr", "44"),
    since(6, 7, "net.ipv4.tcp_pingpong_thresh", "1"),
    // Memory of earlier connections: none of it may reach the next one.
    pin("net.ipv4.tcp_no_metrics_save", "0"),
    since(5, 6, "net.ipv4.tcp_no_ssthresh_metrics_save", "1"),
    // Opening and closing.
    pin("net.ipv4.tcp_fin_timeout", "60"),
    since(4, 19, "net.ipv4.tcp_tw_reuse", "2"),
    since(6, 14, "net.ipv4.tcp_tw_reuse_delay", "1000"),
    pin("net.ipv4.tcp_rfc1337", "0"),
    pin("net.ipv4.tcp_syncookies", "1"),
    pin("net.ipv4.tcp_abort_on_overflow", "0"),
    pin("net.ipv4.tcp_invalid_ratelimit", "500"),
    pin("net.ipv4.ip_local_port_range", "32768 60999"),
    since(5, 4, "net.core.somaxconn", "4096"),
    // Routing and neighbours: what an ICMP error or a dead neighbour does, and when.
    pin("net.ipv4.conf.all.rp_filter", "0"),
    pin("net.ipv4.conf.default.rp_filter", "0"),
    pin("net.ipv4.conf.all.arp_ignore", "0"),
    pin("net.ipv4.conf.default.arp_ignore", "0"),
    pin("net.ipv4.conf.all.arp_announce", "0"),
    pin("net.ipv4.conf.default.arp_announce", "0"),
    pin("net.ipv4.conf.all.arp_filter", "0"),
    pin("net.ipv4.conf.default.arp_filter", "0"),
    pin("net.ipv4.icmp_ratelimit", "1000"),
    pin("net.ipv4.neigh.eth0.ucast_solicit", "3"),
    pin("net.ipv4.neigh.eth0.mcast_solicit", "3"),
    pin("net.ipv4.neigh.eth0.mcast_resolicit", "0"),
    pin("net.ipv4.neigh.eth0.base_reachable_time_ms", "30000"),
    pin("net.ipv4.neigh.eth0.delay_first_probe_time", "5"),
    pin("net.ipv4.neigh.eth0.retrans_time_ms", "1000"),
    pin("net.ipv4.neigh.eth0.gc_stale_time", "60"),
    pin("net.ipv6.neigh.eth0.ucast_solicit", "3"),
    pin("net.ipv6.neigh.eth0.mcast_solicit", "3"),
    pin("net.ipv6.neigh.eth0.base_reachable_time_ms", "30000"),
    pin("net.ipv6.neigh.eth0.delay_first_probe_time", "5"),
    pin("net.ipv6.neigh.eth0.retrans_time_ms", "1000"),
    // The DNAT mapping's life.
    pin(
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        "432000",
    ),
    pin("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", "300"),
    pin(
        "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged",
        "300",
    ),
    pin("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "120"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_syn_recv", "60"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_fin_wait", "120"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_close_wait", "60"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_last_ack", "30"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "120"),
    pin("net.netfilter.nf_conntrack_tcp_timeout_close", "10"),
    pin("net.netfilter.nf_conntrack_tcp_max_retrans", "3"),
    pin("net.netfilter.nf_conntrack_tcp_loose", "1"),
    pin("net.netfilter.nf_conntrack_tcp_be_liberal", "0"),
    since(
        5,
        14,
        "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst",
        "0",
    ),
    pin("net.netfilter.nf_conntrack_checksum", "1"),
];

/// The pins this kernel's fresh namespaces do not have by themselves: few or none, so that a lab reads the table once
/// and writes little.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    early: Vec<Pin>,
    late: Vec<Pin>,
    unpinnable: Vec<Observation>,
}

impl Drift {
    /// This kernel's, read at the first call in the namespace the thread is in, which must be fresh. Later calls repeat it:
    /// fresh namespaces of one kernel are alike.
    pub fn of_this_kernel() -> &'static Self {
        static DRIFT: OnceLock<Drift> = OnceLock::new();
        DRIFT.get_or_init(Self::of_fresh_namespace)
    }

    /// Reads the table in the namespace this thread is in, which must be fresh, and pins what differs: what is refused here
    /// (a congestion control that only the host may choose) is refused everywhere.
    fn of_fresh_namespace() -> Self {
        let release = kernel_release();
        let mut drift = Self::default();
        for pin in PINNED {
            if pin.since.is_some_and(|first| release < first) {
                continue;
            }
            // Links of a namespace start with what its `lo` has.
            let Ok(value) = read(&pin.key.replace(".eth0.", ".lo.")) else {
                continue;
            };
            if value != pin.default {
                drift.add(pin, &value);
            }
        }
        drift
    }

    fn add(&mut self, pin: &Pin, value: &str) {
        // Keys of links can only be written once the links are there.
        if pin.key.contains(".eth0.") {
            self.late.push(*pin);
        } else if let Err(e) = write(pin.key, pin.default) {
            self.unpinnable.push(Observation::Warning {
                text: format!(
                    "{} stays {value}: this kernel does not let a namespace set it to the usual {} ({e})",
                    pin.key, pin.default
                ),
            });
        } else {
            self.early.push(*pin);
        }
    }

    /// One [`Observation::Warning`] for each pin that can't be had on this machine.
    #[must_use]
    pub fn unpinnable(&self) -> &[Observation] {
        &self.unpinnable
    }

    /// Pins what can be pinned before a namespace has links. Returns what `place` has now.
    #[must_use]
    pub fn pin_before_links(&self, place: &str) -> Vec<Observation> {
        self.early.iter().map(|pin| pinned(place, pin)).collect()
    }

    /// Whether anything is to be pinned on links.
    #[must_use]
    pub fn has_link_pins(&self) -> bool {
        !self.late.is_empty()
    }

    /// Pins what belongs to the link `eth0`. Returns what `place` has now.
    #[must_use]
    pub fn pin_links(&self, place: &str) -> Vec<Observation> {
        self.late.iter().map(|pin| pinned(place, pin)).collect()
    }
}

fn pinned(place: &str, pin: &Pin) -> Observation {
    let written = write(pin.key, pin.default).and_then(|()| read(pin.key));
    match written {
        Ok(value) => Observation::Sysctl {
            place: place.to_owned(),
            key: pin.key.to_owned(),
            value,
        },
        Err(e) => Observation::Warning {
            text: format!(
                "{place}: {} could not be pinned to the kernel's default {}: {e}",
                pin.key, pin.default
            ),
        },
    }
}

/// Writes a scenario's sysctls in the namespace this thread is in, and reads each back.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel, or its namespaces, have no such sysctl; [`LinuxError::Refused`] if the value is not
/// taken, or the key isn't one of a namespace's.
pub fn write_all(place: &str, sysctls: &[Sysctl]) -> Result<Vec<Observation>, LinuxError> {
    sysctls
        .iter()
        .map(|sysctl| {
            let refused = |source| LinuxError::Refused {
                what: format!("{place}: writing {} = {}", sysctl.key, sysctl.value),
                location: sysctl.location.clone(),
                source,
            };
            if !belongs_to_namespace(&sysctl.key) {
                let why = "only sysctls under net. belong to a node or a pod";
                return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, why)));
            }
            match write(&sysctl.key, &sysctl.value) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    // A sysctl that is there says ENOENT of a value it has no module for.
                    let what = match read(&sysctl.key) {
                        Ok(_) => format!("`{}` for the sysctl {}", sysctl.value, sysctl.key),
                        Err(_) => format!("the sysctl {} in a network namespace", sysctl.key),
                    };
                    return Err(LinuxError::Missing {
                        what: format!("{what} (Linux {})", kernel_name()),
                        location: Some(sysctl.location.clone()),
                    });
                }
                Err(e) => return Err(refused(e)),
            }
            Ok(Observation::Sysctl {
                place: place.to_owned(),
                key: sysctl.key.clone(),
                value: read(&sysctl.key).map_err(refused)?,
            })
        })
        .collect()
}

/// Writes one sysctl in the namespace this thread is in.
///
/// # Errors
/// As `open(2)` and `write(2)` under /proc/sys: ENOENT if the kernel lacks it, EINVAL if it does not take the value.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    // One write: a sysctl takes a value whole or not at all. Never created: a missing one has to be noticed.
    std::fs::OpenOptions::new()
        .write(true)
        .open(path(key))?
        .write_all(value.as_bytes())
}

/// Reads one sysctl in the namespace this thread is in, with single blanks between its words.
///
/// # Errors
/// As `open(2)` and `read(2)` under /proc/sys.
pub fn read(key: &str) -> io::Result<String> {
    // No sysctl under net. is longer, and one read returns it whole; the table's readers are counted in system calls.
    let mut buffer = [0; 1024];
    let length = File::open(path(key))?.read(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A lab started by root could otherwise write the host's own `kernel.` or `vm.` sysctls.
fn belongs_to_namespace(key: &str) -> bool {
    key.starts_with("net.")
        && key
            .split('.')
            .all(|part| !part.is_empty() && !part.contains('/'))
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_s_own_sysctls_may_be_written() {
        assert!(belongs_to_namespace("net.ipv4.tcp_retries2"));
        for key in [
            "kernel.panic",
            "vm.swappiness",
            "net",
            "net.",
            "net..ipv4",
            "net.ipv4/../../kernel.panic",
            "",
        ] {
            assert!(!belongs_to_namespace(key), "{key}");
        }
    }

    #[test]
    fn no_sysctl_is_pinned_twice() {
        let mut keys: Vec<_> = PINNED.iter().map(|pin| pin.key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
