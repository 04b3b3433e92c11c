//! Capabilities that a program keeps.
//!
//! A lab's first process has all of them over the namespaces that it made, and over nothing else: on the real clock its user
//! namespace owns these alone, on the virtual clock there are no others. A program is in one network namespace, and to enter
//! another takes CAP_SYS_ADMIN, which none keeps. As in any pod, its link's peer bears an identifier by which the kernel lets it put
//! a link into that namespace, which is the lab's as well.

use std::io;

use crate::plan::Capability;

/// `struct __user_cap_header_struct` of capset(2); libc has none.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities each.
const VERSION: u32 = 0x2008_0522;
/// `CAP_NET_ADMIN`.
const NET_ADMIN: u8 = 12;

fn number(capability: Capability) -> u8 {
    match capability {
        Capability::NetAdmin => NET_ADMIN,
    }
}

/// Makes one of this process's capabilities ambient: what it executes has it too, whoever runs it.
///
/// # Errors
/// If this process does not have it, or may not hand it on any more.
pub(super) fn keep(capability: Capability) -> io::Result<()> {
    let number = number(capability);
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut sets = [Data::default(); 2];
    // SAFETY: both are of the size that this version has, and live through the call.
    done(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    sets[usize::from(number / 32)].inheritable |= 1 << (number % 32);
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) })?;
    let number = libc::c_ulong::from(number);
    // SAFETY: this call takes numbers.
    let raised = unsafe {
        let (ambient, raise) = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE);
        libc::prctl(ambient, raise, number, 0, 0)
    };
    done(raised.into())
}

fn done(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
