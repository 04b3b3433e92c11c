//! SIGINT and SIGTERM, heard on a thread of their own, whatever the others do.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Exit;

/// Who hears signals.
pub(super) struct Signals {
    /// Turns true with the first signal. A second one ends the process.
    pub(super) interrupted: watch::Receiver<bool>,
    run_is_over: Arc<AtomicBool>,
}

impl Signals {
    /// From now on a signal no longer ends the process by itself.
    ///
    /// # Errors
    /// If signals can't be heard, or no thread can be started.
    pub(super) fn hear() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, interrupted) = watch::channel(false);
        let run_is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&run_is_over);
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let listen = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    if over.load(Ordering::Relaxed) || *sender.borrow() {
                        process::exit(Exit::Interrupted.code().into());
                    }
                    sender.send_replace(true);
                }
            });
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(listen)?;
        Ok(Self {
            interrupted,
            run_is_over,
        })
    }

    /// Nothing is left that has to be ended in order: from now on a signal ends the process.
    pub(super) fn run_is_over(&self) {
        self.run_is_over.store(true, Ordering::Relaxed);
    }

    /// Whether there was a signal.
    pub(super) fn interrupted(&self) -> bool {
        *self.interrupted.borrow()
    }
}
