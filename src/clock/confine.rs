//! What holds a guest in: from the outside, so that not even the guest's root gets past it.
//!
//! A User Mode Linux guest is an ordinary process of the user, and its `ro` root no protection: the guest's root can
//! remount it. Landlock lets the process read and execute what the user can, and write nothing but its memory file;
//! a seccomp filter takes the calls Landlock does not cover. Neither needs user namespaces.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// System calls that change files' metadata, mounts or namespaces, or open connections: a guest needs none of them.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN: [libc::c_long; 27] = [
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_init_module,
];

/// Flag of landlock_create_ruleset(2) that asks for the interface's version.
const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;

/// A ready confinement, to be put on a process between fork and exec.
pub struct Confinement {
    ruleset: Option<RulesetCreated>,
    filter: BpfProgram,
}

/// This machine can't hold a guest in.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel has no Landlock, or it is switched off.
    #[error(
        "Landlock is not there (Linux 5.13 or later, with `landlock` among the security modules), and without it a \
         guest could write this machine's files"
    )]
    NoLandlock,
    /// A rule was refused.
    #[error("failed to confine the guest: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// A folder can't be opened.
    #[error("failed to confine the guest: {0}")]
    Path(#[from] landlock::PathFdError),
    /// The filter was refused.
    #[error("failed to confine the guest: {0}")]
    Seccomp(#[from] seccompiler::BackendError),
}

impl Confinement {
    /// Read and execute everywhere, write only to what stands in `memory`, a folder of the guest's own.
    ///
    /// # Errors
    /// See [`ConfineError`].
    pub fn new(memory: &Path) -> Result<Self, ConfineError> {
        let newest = ABI::V6;
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(newest))?
            .handle_access(AccessNet::from_all(newest))?
            .scope(Scope::from_all(newest))?
            .create()
            .map_err(|_| ConfineError::NoLandlock)?;
        let write: BitFlags<AccessFs> = AccessFs::WriteFile | AccessFs::ReadFile;
        let rules = rules
            .add_rule(PathBeneath::new(
                PathFd::new("/")?,
                AccessFs::from_read(newest),
            ))?
            .add_rule(PathBeneath::new(
                PathFd::new(memory)?,
                write | AccessFs::Execute,
            ))?
            .add_rule(PathBeneath::new(PathFd::new("/dev/null")?, write))?;
        Ok(Self {
            ruleset: Some(rules),
            filter: filter()?,
        })
    }

    /// Confines the calling process, for good. Call between fork and exec.
    ///
    /// # Errors
    /// If the kernel refuses; then the process must not go on.
    pub fn apply(&mut self) -> io::Result<()> {
        let ruleset = self
            .ruleset
            .take()
            .ok_or_else(|| io::Error::other("confined already"))?;
        let status = ruleset.restrict_self().map_err(io::Error::other)?;
        if status.ruleset == RulesetStatus::NotEnforced {
            return Err(io::Error::other(ConfineError::NoLandlock));
        }
        seccompiler::apply_filter(&self.filter).map_err(io::Error::other)
    }
}

/// Whether this machine can hold a guest in; says by which version of Landlock's interface.
///
/// # Errors
/// See [`ConfineError`].
pub fn available() -> Result<String, ConfineError> {
    Confinement::new(&std::env::temp_dir())?;
    // SAFETY: with this flag the call only returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    Ok(format!("version {version} of its interface"))
}

fn filter() -> Result<BpfProgram, ConfineError> {
    let rules: BTreeMap<i64, _> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}
