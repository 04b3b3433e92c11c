//! What this machine can do, by name, with the fix where it can't.
//!
//! [`probe_host`] only reads files; [`probe_in_namespace`] tries things out, in
//! namespaces that are thrown away.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lab::trial;
use crate::linux::LinuxError;
use crate::linux::iptables::Family;
use crate::linux::kernel::hz;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there and works.
    Ok,
    /// It is not there, or is forbidden.
    Missing,
    /// It could not be found out.
    Unknown,
}

/// One thing a lab may need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What, in a few words.
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// What was seen: a version, a value, the kernel's error.
    pub detail: String,
    /// What to do about it, if something is missing and can be had.
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, State::Ok, detail, None)
    }

    fn missing(name: &str, detail: impl Into<String>, fix: Option<&str>) -> Self {
        Self::new(name, State::Missing, detail, fix)
    }

    fn new(name: &str, state: State, detail: impl Into<String>, fix: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            state,
            detail: detail.into(),
            fix: fix.map(str::to_owned),
        }
    }

    fn tried(name: &str, result: Result<(), LinuxError>, fix: &str) -> Self {
        match result {
            Ok(()) => Self::ok(name, "works"),
            Err(error) => Self::missing(name, error.to_string(), Some(fix)),
        }
    }
}

/// What can be told without trying: kernel and user namespaces.
#[must_use]
pub fn probe_host() -> Vec<Check> {
    let mut checks = vec![kernel(), user_namespaces()];
    checks.extend(switch(
        "kernel.apparmor_restrict_unprivileged_userns",
        "0",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (or an AppArmor profile for halfopen that allows userns)",
    ));
    checks.extend(switch(
        "kernel.unprivileged_userns_clone",
        "1",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ));
    checks
}

fn kernel() -> Check {
    let name = nix::sys::utsname::uname();
    let release = name.map(|n| n.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_else(|e| e.to_string());
    let hz = hz().map_or_else(|| "HZ unknown".to_owned(), |hz| format!("HZ={hz}"));
    Check::ok("kernel", format!("Linux {release}, {hz}"))
}

fn user_namespaces() -> Check {
    const FIX: &str = "sudo sysctl -w user.max_user_namespaces=10000";
    match read("/proc/sys/user/max_user_namespaces") {
        Ok(value) if value == "0" => Check::missing(
            "user namespaces",
            "user.max_user_namespaces is 0",
            Some(FIX),
        ),
        Ok(value) => Check::ok("user namespaces", format!("up to {value}")),
        Err(e) => Check::missing(
            "user namespaces",
            format!("/proc/sys/user/max_user_namespaces: {e}"),
            Some("a kernel with CONFIG_USER_NS"),
        ),
    }
}

/// A sysctl some distributions forbid user namespaces with; on others it is not there, which is fine and not worth a line.
/// Root is not bound by it.
fn switch(key: &str, good: &str, fix: &str) -> Option<Check> {
    let value = read(Path::new("/proc/sys").join(key.replace('.', "/"))).ok()?;
    let detail = format!("{key} = {value}");
    let bound = !nix::unistd::geteuid().is_root();
    Some(if value == good || !bound {
        Check::ok("unprivileged user namespaces", detail)
    } else {
        Check::missing("unprivileged user namespaces", detail, Some(fix))
    })
}

/// Tries out what labs are built of. Call it where a lab would run: as root of user, network and mount namespaces of
/// its own, in a process with one thread, within a tokio runtime.
pub fn probe_in_namespace() -> Vec<Check> {
    if let Err(error) = trial::namespace() {
        let fix = "user namespaces (see above), or root";
        return vec![Check::missing(
            "network namespaces",
            error.to_string(),
            Some(fix),
        )];
    }
    let mut checks = vec![
        Check::ok("network namespaces", "works"),
        Check::tried(
            "sysctls of a namespace",
            trial::sysctls(),
            "a writable /proc/sys (in Docker: --security-opt systempaths=unconfined)",
        ),
        Check::tried(
            "veth",
            trial::veth(),
            "a kernel with CONFIG_VETH (sudo modprobe veth)",
        ),
        Check::tried(
            "bridge",
            trial::bridge(),
            "a kernel with CONFIG_BRIDGE (sudo modprobe bridge)",
        ),
        Check::tried(
            "nf_tables on links",
            trial::link_rules(),
            "Linux 5.16 or later with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_EGRESS (sudo modprobe nf_tables)",
        ),
    ];
    for (name, family) in [("IPv4", Family::Ipv4), ("IPv6", Family::Ipv6)] {
        let tried = trial::rules(family).map(|(what, module, result)| {
            let fix = format!("sudo modprobe {module}");
            Check::tried(&format!("{what}, {name}"), result, &fix)
        });
        checks.extend(tried);
    }
    checks.extend([
        Check::tried(
            "conntrack by netlink",
            trial::conntrack_table(),
            "sudo modprobe nf_conntrack_netlink",
        ),
        Check::tried(
            "packet queue by netlink",
            trial::packet_queue(),
            "sudo modprobe nfnetlink_queue",
        ),
        Check::tried("sock_diag", trial::sock_diag(), "sudo modprobe tcp_diag"),
        Check::tried(
            "AF_PACKET",
            trial::packet_socket(),
            "a kernel with CONFIG_PACKET (sudo modprobe af_packet)",
        ),
        Check::tried("netem", trial::netem(), "sudo modprobe sch_netem"),
        Check::tried(
            "/proc in a PID namespace",
            trial::mount_proc(),
            "an unmasked /proc (in Docker: --security-opt systempaths=unconfined)",
        ),
    ]);
    checks.extend(NEW_SYSCTLS.map(new_sysctl));
    checks
}

/// Sysctls that not every kernel has yet, and the first that does.
const NEW_SYSCTLS: [(&str, &str); 3] = [
    ("net.ipv4.tcp_syn_linear_timeouts", "6.5"),
    ("net.ipv4.tcp_rto_min_us", "6.11"),
    ("net.ipv4.tcp_rto_max_ms", "6.15"),
];

fn new_sysctl((key, since): (&str, &str)) -> Check {
    match trial::sysctl_value(key) {
        Ok(value) => Check::ok(key, format!("there, {value} by default")),
        Err(error) => Check::missing(
            key,
            error.to_string(),
            Some(&format!("Linux {since} or later")),
        ),
    }
}

fn read(file: impl AsRef<Path>) -> io::Result<String> {
    fs::read_to_string(file).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_the_host_says_something() {
        for check in probe_host() {
            assert!(!check.detail.is_empty(), "{check:?}");
            assert!(
                check.state != State::Missing || check.fix.is_some(),
                "{check:?}"
            );
        }
    }
}
