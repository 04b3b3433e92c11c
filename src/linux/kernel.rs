//! The running kernel: its release, and its timer frequency.

use std::time::Duration;

use nix::time::{ClockId, clock_getres};

use crate::plan::kernel_version;

/// The kernel's timer frequency, from the resolution of its coarse clock, which is one tick. `None` if the kernel does
/// not say, or says something that is no tick.
#[must_use]
pub(crate) fn hz() -> Option<u32> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    hz_of_tick(Duration::from(tick))
}

fn hz_of_tick(tick: Duration) -> Option<u32> {
    let frequency = (1.0 / tick.as_secs_f64()).round();
    // Kconfig offers 24 (some boards) to 1200.
    (20.0..=2000.0)
        .contains(&frequency)
        .then_some(frequency as u32)
}

/// `uname -r`.
pub(crate) fn kernel_name() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// The kernel's major and minor version.
pub(crate) fn kernel_release() -> (u32, u32) {
    kernel_version(&kernel_name()).unwrap_or((u32::MAX, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_whole_frequency() {
        for (nanoseconds, hz) in [
            (4_000_000, Some(250)),
            (1_000_000, Some(1000)),
            (10_000_000, Some(100)),
            (3_333_333, Some(300)),
            (1, None),
            (0, None),
        ] {
            assert_eq!(hz_of_tick(Duration::from_nanos(nanoseconds)), hz);
        }
    }

    #[test]
    fn this_kernel_has_a_frequency() {
        assert!(hz().is_some());
    }
}
