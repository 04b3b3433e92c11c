//! The sysctls that time a client's connections.

use std::time::Duration;

use crate::plan::Sysctl;

/// TCP_RTO_MIN: the base of the bound, whatever `tcp_rto_min_us` says.
const RTO_BASE_MS: u64 = 200;
/// TCP_TIMEOUT_INIT: the same of SYNs.
const SYN_BASE_MS: u64 = 1000;
/// What `tcp_orphan_retries`=0 stands for while the back-off has not reached its end (tcp_orphan_retries()).
const ORPHAN_RETRIES: u32 = 8;

/// TCP_THIN_LINEAR_RETRIES.
const THIN_LINEAR_RETRIES: u32 = 6;

/// The sysctls that time a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSysctls {
    /// `net.ipv4.tcp_retries2`.
    pub retries2: u32,
    /// `net.ipv4.tcp_orphan_retries`; 0 stands for 8.
    pub orphan_retries: u32,
    /// `net.ipv4.tcp_rto_max_ms` (Linux 6.15 and later).
    pub rto_max_ms: u64,
    /// `net.ipv4.tcp_rto_min_us`, in milliseconds (Linux 6.11 and later).
    pub rto_min_ms: u64,
    /// `net.ipv4.tcp_syn_retries`.
    pub syn_retries: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (Linux 6.5 and later).
    pub syn_linear_timeouts: u32,
    /// Whether a tail loss probe goes out before the first retransmission: `net.ipv4.tcp_early_retrans` is 3 or 4, and
    /// `net.ipv4.tcp_sack` is on (tcp_schedule_loss_probe()).
    pub loss_probe: bool,
    /// `net.ipv4.tcp_thin_linear_timeouts`: where fewer than four packets are out, the first retransmissions have no back-off.
    pub thin_linear: bool,
}

impl Default for TcpSysctls {
    /// The kernel's defaults.
    fn default() -> Self {
        Self {
            retries2: 15,
            orphan_retries: 0,
            rto_max_ms: 120_000,
            rto_min_ms: 200,
            syn_retries: 6,
            syn_linear_timeouts: 4,
            loss_probe: true,
            thin_linear: false,
        }
    }
}

impl TcpSysctls {
    /// The defaults, and what `sysctls` says otherwise. Values that are no numbers are the machine's to refuse.
    #[must_use]
    pub fn with(sysctls: &[Sysctl]) -> Self {
        let mut all = Self::default();
        for sysctl in sysctls {
            let Some(key) = sysctl.key.strip_prefix("net.ipv4.tcp_") else {
                continue;
            };
            let Ok(value) = sysctl.value.trim().parse::<u32>() else {
                continue;
            };
            match key {
                "retries2" => all.retries2 = value.min(255),
                "orphan_retries" => all.orphan_retries = value.min(255),
                "rto_max_ms" => all.rto_max_ms = u64::from(value).clamp(1_000, 120_000),
                "rto_min_us" => all.rto_min_ms = u64::from(value).div_ceil(1000).clamp(1, 120_000),
                "syn_retries" => all.syn_retries = value.clamp(1, 127),
                "syn_linear_timeouts" => all.syn_linear_timeouts = value.min(127),
                "early_retrans" => all.loss_probe &= matches!(value, 3 | 4),
                "thin_linear_timeouts" => all.thin_linear = value != 0,
                "sack" => all.loss_probe &= value != 0,
                _ => {}
            }
        }
        all
    }

    /// How long retransmissions go on, from the first one: the kernel gives up when its retransmission timer next
    /// fires after this (tcp_model_timeout()).
    #[must_use]
    pub fn retransmission_bound(&self) -> Duration {
        self.bound(self.retries2)
    }

    /// The same of a socket that its program has closed: it is nobody's any more (tcp_orphan_retries()).
    #[must_use]
    pub fn orphan_bound(&self) -> Duration {
        match self.orphan_retries {
            0 => self.bound(ORPHAN_RETRIES),
            retries => self.bound(retries),
        }
    }

    /// How long SYNs go on at most, from the first one, whatever their number.
    #[must_use]
    pub(super) fn syn_bound(&self) -> Duration {
        self.bound_from(self.syn_retries, SYN_BASE_MS)
    }

    /// Retransmissions of a client's requests after each of which the RTO is the first one again. (What a client has out is thin.)
    #[must_use]
    pub fn linear_retransmissions(&self) -> u32 {
        match self.thin_linear {
            true => THIN_LINEAR_RETRIES,
            false => 0,
        }
    }

    fn bound(&self, retries: u32) -> Duration {
        self.bound_from(retries, RTO_BASE_MS)
    }

    fn bound_from(&self, retries: u32, base_ms: u64) -> Duration {
        let linear_from = (self.rto_max_ms / base_ms).max(1).ilog2();
        let doubling = retries.min(linear_from);
        let linear = u64::from(retries - doubling);
        Duration::from_millis(((2 << doubling) - 1) * base_ms + linear * self.rto_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Location;

    fn bound(retries2: u32, rto_max_ms: u64) -> f64 {
        let sysctls = TcpSysctls {
            retries2,
            rto_max_ms,
            ..TcpSysctls::default()
        };
        sysctls.retransmission_bound().as_secs_f64()
    }

    #[test]
    fn bounds_are_the_documented_ones() {
        for (retries2, seconds) in [(15, 924.6), (9, 204.6), (8, 102.2), (5, 12.6), (3, 3.0)] {
            assert_eq!(bound(retries2, 120_000), seconds, "tcp_retries2={retries2}");
        }
        assert_eq!(bound(15, 10_000), 112.6);
        assert_eq!(bound(15, 1_000), 14.4);
    }

    #[test]
    fn an_orphan_has_a_bound_of_its_own() {
        let of = |orphan_retries| TcpSysctls {
            orphan_retries,
            ..TcpSysctls::default()
        };
        assert_eq!(of(0).orphan_bound(), Duration::from_millis(102_200));
        assert_eq!(of(5).orphan_bound(), Duration::from_millis(12_600));
    }

    #[test]
    fn each_sysctl_has_its_place_and_its_bounds() {
        let all = |value: u32| {
            let names = [
                "retries2",
                "orphan_retries",
                "rto_max_ms",
                "rto_min_us",
                "syn_retries",
                "syn_linear_timeouts",
            ];
            let sysctls = names.map(|name| Sysctl {
                key: format!("net.ipv4.tcp_{name}"),
                value: value.to_string(),
                location: Location::default(),
            });
            TcpSysctls::with(&sysctls)
        };
        let told = |of: TcpSysctls| {
            (
                [
                    of.retries2,
                    of.orphan_retries,
                    of.syn_retries,
                    of.syn_linear_timeouts,
                ],
                [of.rto_max_ms, of.rto_min_ms],
            )
        };
        assert_eq!(told(all(100)), ([100; 4], [1_000, 1]));
        assert_eq!(told(all(5_001)), ([255, 255, 127, 127], [5_001, 6]));
        assert_eq!(told(all(0)), ([0, 0, 1, 0], [1_000, 1]));
    }

    #[test]
    fn without_sack_or_early_retransmission_there_is_no_loss_probe() {
        let with = |key: &str, value: &str| {
            TcpSysctls::with(&[Sysctl {
                key: format!("net.ipv4.tcp_{key}"),
                value: value.to_owned(),
                location: Location::default(),
            }])
        };
        assert!(with("early_retrans", "4").loss_probe);
        assert!(!with("early_retrans", "0").loss_probe);
        assert!(!with("sack", "0").loss_probe);
    }

    proptest! {
        #[test]
        fn more_retries_never_wait_less(retries2 in 0_u32..20, rto_max_ms in 1_000_u64..120_000) {
            prop_assert!(bound(retries2, rto_max_ms) <= bound(retries2 + 1, rto_max_ms));
            prop_assert!(bound(retries2, rto_max_ms) <= bound(retries2, rto_max_ms + 1_000));
        }
    }
}
