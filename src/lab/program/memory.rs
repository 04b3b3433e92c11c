//! How much memory a program has on the real clock, where no guest's memory ends it.

use std::fs;
use std::time::Duration;

use nix::unistd::Pid;

/// Most memory that a program may have with all it starts, in bytes, where nothing else is said.
pub(super) const MOST_MEMORY: u64 = 1 << 30;

/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// How many times longer than a look the pause after it is, at least: a thousand processes take a while to look at, and the
/// lab has other things to do.
pub(super) const PAUSE: u32 = 30;

/// Bytes that some processes have together: memory of their own, and what they share, once for each that has it.
pub(super) fn used(processes: &[Pid]) -> u64 {
    let each = processes.iter().map(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        bytes(&status)
    });
    each.sum()
}

fn bytes(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let counts = ["RssAnon", "RssShmem", "VmSwap"].contains(&name);
        let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
        counts.then_some(kibibytes << 10)
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_mapped_do_not_count() {
        let status = "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t  700 kB\n\
                      RssShmem:\t  100 kB\nVmSwap:\t  8 kB\n";
        assert_eq!(bytes(status), 208 << 10);
        assert_eq!(bytes("no such process"), 0);
    }
}
