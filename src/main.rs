//! The program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    halfopen::cli::main()
}

/// See Cargo.toml.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
