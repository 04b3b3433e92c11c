//! The sysctls that Linux has, by name: what none of its kernels has is a slip of the pen.
//!
//! `sysctls.txt` has those of Linux 6.1 to 7.3 under the four branches in [`BRANCHES`], with `*` for a link's name. Not every one
//! of them belongs to a network namespace, and not every kernel has each: that is the machine's to say.

/// Branches of which every name is known. Others come with modules.
const BRANCHES: [&str; 4] = ["core", "ipv4", "ipv6", "netfilter"];

/// A name a line.
const NAMES: &str = include_str!("sysctls.txt");

/// Whether some kernel has a sysctl of this name, as far as can be told.
pub(crate) fn is_known(key: &str) -> bool {
    let branch = key.split('.').nth(1).unwrap_or_default();
    !BRANCHES.contains(&branch) || like(key).any(|name| name == key)
}

/// The name that was meant, if one is near.
pub(crate) fn nearest(key: &str) -> Option<String> {
    let near = like(key).map(|name| (strsim::damerau_levenshtein(key, &name), name));
    let (distance, name) = near.min()?;
    (distance <= key.len() / 4).then_some(name)
}

/// Every name, with the link's name where `key` has one.
fn like(key: &str) -> impl Iterator<Item = String> {
    let own: Vec<String> = key.split('.').map(str::to_owned).collect();
    NAMES.lines().map(move |name| {
        let parts = name.split('.').enumerate();
        let parts = parts.map(|(at, part)| match (part, own.get(at)) {
            ("*", Some(own)) => own.as_str(),
            _ => part,
        });
        parts.collect::<Vec<_>>().join(".")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sysctl::PINNED;

    #[test]
    fn what_is_pinned_is_known() {
        for pin in PINNED {
            assert!(is_known(pin.key), "{}", pin.key);
        }
    }

    #[test]
    fn links_have_any_name_and_modules_their_own_branches() {
        for key in [
            "net.ipv4.conf.wlan7.rp_filter",
            "net.ipv6.neigh.eth0.gc_stale_time",
            "net.mptcp.enabled",
            "net.sctp.rto_min",
            "net.netfilter.nf_log.3",
        ] {
            assert!(is_known(key), "{key}");
        }
        for key in [
            "net.ipv4.tcp_retry2",
            "net.ipv4.conf.eth0.rp_filtr",
            "net.ipv4.rp_filter",
            "net.ipv4.tcp_tw_recycle",
        ] {
            assert!(!is_known(key), "{key}");
        }
    }

    #[test]
    fn the_nearest_is_proposed_with_the_link_s_own_name() {
        for (key, meant) in [
            ("net.ipv4.tcp_retry2", "net.ipv4.tcp_retries2"),
            (
                "net.ipv4.tcp_keepalive_interval",
                "net.ipv4.tcp_keepalive_intvl",
            ),
            (
                "net.ipv4.conf.eth7.rp_filtr",
                "net.ipv4.conf.eth7.rp_filter",
            ),
        ] {
            assert_eq!(nearest(key).as_deref(), Some(meant));
        }
        assert_eq!(nearest("net.core.quite_another_thing_altogether"), None);
    }

    #[test]
    fn names_are_sorted_and_each_is_there_once() {
        let names: Vec<&str> = NAMES.lines().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
