//! System calls that lead out of a lab on the real clock, past its namespaces: a program does without them, as it does on
//! the virtual clock, whose kernel has none of them.

use std::collections::BTreeMap;
use std::io;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Families of sockets that belong to a network namespace. Others (AF_VSOCK, AF_TIPC, AF_QIPCRTR, …) reach the machine's
/// hypervisor or its peers from every namespace.
const FAMILIES: [libc::c_int; 4] = [
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];

/// Keys and keyrings, which are the user's, and io_uring, which opens sockets that no filter sees.
const ABSENT: [libc::c_long; 6] = [
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What a call has in its number that is made by the x32 ABI.
const X32: libc::c_long = 0x4000_0000;

/// Takes these calls from this process and all that it starts, for good. Where sockets with a path could reach the
/// machine's processes (`paths_are_safe` is false), there are no sockets with a path, only pairs.
///
/// # Errors
/// If the kernel refuses a filter.
pub(super) fn apply(paths_are_safe: bool) -> io::Result<()> {
    // Outermost last: from then on not even this is allowed.
    install(&sockets(paths_are_safe)?)?;
    install(&absent()?)
}

fn install(filter: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(filter).map_err(io::Error::other)
}

fn sockets(paths_are_safe: bool) -> io::Result<BpfProgram> {
    let mut allowed = FAMILIES.to_vec();
    if paths_are_safe {
        allowed.push(libc::AF_UNIX);
    }
    let socket = rule(&allowed)?;
    allowed.push(libc::AF_UNIX);
    let rules = [
        (libc::SYS_socket, vec![socket]),
        (libc::SYS_socketpair, vec![rule(&allowed)?]),
    ];
    program(rules.into(), libc::EAFNOSUPPORT)
}

/// Calls whose first argument is none of these.
fn rule(allowed: &[libc::c_int]) -> io::Result<SeccompRule> {
    let is_not = |family: &libc::c_int| {
        let family = u64::from(family.cast_unsigned());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    let conditions: Result<Vec<_>, _> = allowed.iter().map(is_not).collect();
    conditions
        .and_then(SeccompRule::new)
        .map_err(io::Error::other)
}

fn absent() -> io::Result<BpfProgram> {
    let rules = ABSENT.map(|call| (call, Vec::new()));
    program(rules.into(), libc::ENOSYS)
}

/// A filter that answers these calls with an error.
fn program(
    mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> io::Result<BpfProgram> {
    if cfg!(target_arch = "x86_64") {
        let again = rules.clone();
        rules.extend(again.into_iter().map(|(call, rules)| (call | X32, rules)));
    }
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let machine = std::env::consts::ARCH
        .try_into()
        .map_err(io::Error::other)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)
}

/// Lets this process and all that it starts open nothing to write but what is in `places`, not even a FIFO of the
/// machine's, which a read-only mount allows. Without Landlock (before Linux 5.13) nothing is done.
///
/// # Errors
/// If the kernel refuses the rules.
pub(super) fn write_only_in(places: &[&str]) -> io::Result<()> {
    // With any rules at all a file can be moved to another folder only where that is allowed.
    let rights: BitFlags<AccessFs> = AccessFs::WriteFile | AccessFs::Refer;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(rights & AccessFs::from_all(ABI::V2))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let places = places.iter().filter_map(|place| PathFd::new(place).ok());
    let each = places.map(|place| Ok::<_, landlock::RulesetError>(PathBeneath::new(place, rights)));
    let rules = rules.add_rules(each).map_err(io::Error::other)?;
    rules.restrict_self().map(drop).map_err(io::Error::other)
}
