//! The timeout model against the kernel: hundreds of random combinations of sysctls, socket options, phases and round
//! trips on the virtual clock, always the same ones.
//!
//! `HALFOPEN_SWEEP=N` makes it N cases instead of the few of every test run, and `HALFOPEN_SWEEP_SUMMARY=FILE` writes what
//! came of them (see ci/sweep).

mod command;

mod sweep {
    pub mod generate;
    pub mod judge;
}
