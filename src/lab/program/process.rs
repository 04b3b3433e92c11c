//! A program of the user's while it runs: started, listened to, ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

use super::init::{self, Orders, Outlets, Report};
use super::output::Output;
use super::terminal;
use crate::lab::LabError;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::Location;
use crate::probe::sockets::options;
use crate::record::OutputStream;

/// Read at once of what a program writes.
const CHUNK: usize = 64 << 10;

/// A program, in a PID namespace of its own: whatever it forks ends when the first process of that does, at once and for
/// certain.
pub(super) struct Process {
    name: String,
    location: Location,
    namespace: Rc<Namespace>,
    /// The first process of its PID namespace, while there is one.
    init: Cell<Option<Pid>>,
    outputs: RefCell<[Output; 2]>,
}

/// What is heard of a program.
pub(super) enum Heard<'a> {
    /// It was started.
    Started,
    /// It ended by itself.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
        /// Whether it will be started again.
        again: bool,
    },
    /// It wrote this just now.
    Wrote(OutputStream, &'a [u8]),
    /// Something that it wrote is to be recorded, with the bytes before it that are not.
    Output(OutputStream, String, u64),
}

/// The pipes from a program's first process.
pub(super) struct Pipes {
    reports: BufReader<Receiver>,
    stdout: Receiver,
    stderr: Receiver,
}

impl Process {
    /// One that is not started. `name` is for messages; `location` is where its command stands.
    pub(super) fn new(name: &str, location: &Location, namespace: &Rc<Namespace>) -> Self {
        Self {
            name: name.to_owned(),
            location: location.clone(),
            namespace: Rc::clone(namespace),
            init: Cell::new(None),
            outputs: RefCell::default(),
        }
    }

    /// The first process of its PID namespace, while there is one.
    pub(super) fn init(&self) -> Option<Pid> {
        self.init.get()
    }

    /// Starts the first process of the program's namespaces, which starts the program.
    pub(super) fn start(&self, orders: &Orders) -> io::Result<Pipes> {
        let (reports, reports_in) = pipe()?;
        let (stdout, stdout_in) = match orders.tty {
            true => terminal::open()?,
            false => pipe()?,
        };
        let (stderr, stderr_in) = match orders.tty {
            // All comes by the terminal.
            true => (pipe()?.0, stdout_in.try_clone()?),
            false => pipe()?,
        };
        let outlets = Outlets {
            reports: reports_in,
            stdout: stdout_in,
            stderr: stderr_in,
        };
        let init = self.namespace.enter(|| fork_init(orders, outlets))?;
        self.init.set(Some(init));
        Ok(Pipes {
            reports: BufReader::new(Receiver::from_owned_fd(reports)?),
            stdout: Receiver::from_owned_fd_unchecked(stdout)?,
            stderr: Receiver::from_owned_fd_unchecked(stderr)?,
        })
    }

    /// Tells what is heard of it, until it and all that it has started have ended.
    ///
    /// # Errors
    /// [`LabError::Program`] if there is no such program, others if it can't be started or listened to.
    pub(super) async fn follow(
        &self,
        pipes: Pipes,
        heard: impl Fn(Heard<'_>),
    ) -> Result<(), LabError> {
        let Pipes {
            reports,
            stdout,
            stderr,
        } = pipes;
        let mut reports = reports.lines();
        let listening = async {
            let mut ended = false;
            while let Some(line) = reports
                .next_line()
                .await
                .map_err(LinuxError::kernel("listening to a program's end"))?
            {
                let report = serde_json::from_str(&line)
                    .map_err(|error| LabError::Setup(error.to_string()))?;
                ended = matches!(report, Report::Exited { .. });
                heard(self.told(report)?);
            }
            match ended {
                true => Ok(()),
                false => Err(LabError::Setup(format!(
                    "the first process of program {} was killed",
                    self.name
                ))),
            }
        };
        let reading = async {
            tokio::join!(
                self.read(OutputStream::Stdout, stdout, &heard),
                self.read(OutputStream::Stderr, stderr, &heard)
            );
            Ok(())
        };
        futures_util::future::try_join(listening, reading)
            .await
            .map(|_| ())
    }

    fn told(&self, report: Report) -> Result<Heard<'static>, LabError> {
        match report {
            Report::Started {} => Ok(Heard::Started),
            Report::Exited {
                code,
                signal,
                again,
            } => Ok(Heard::Exited {
                code,
                signal,
                again,
            }),
            Report::Missing { why } => Err(LabError::Program {
                why,
                location: self.location.clone(),
            }),
            Report::Failed { doing, why } => Err(LabError::Setup(format!(
                "program {}: failed at {doing}: {why}",
                self.name
            ))),
        }
    }

    async fn read(&self, stream: OutputStream, mut pipe: Receiver, heard: &impl Fn(Heard<'_>)) {
        let mut buffer = vec![0; CHUNK];
        let index = stream.index();
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            heard(Heard::Wrote(stream, &buffer[..length]));
            let piece = self.outputs.borrow_mut()[index].take(&buffer[..length]);
            if let Some((text, dropped)) = piece {
                heard(Heard::Output(stream, text, dropped));
            }
        }
    }

    /// Ends it and all that it has started. What it wrote is told.
    pub(super) fn end(&self, heard: impl Fn(Heard<'_>)) {
        if let Some(init) = self.init.take() {
            let _ = kill(init, Signal::SIGKILL);
            // Nothing of it goes on; the kernel needs a moment to clear many processes away.
            drop(tokio::task::spawn_local(reap(init)));
        }
        for (stream, output) in [OutputStream::Stdout, OutputStream::Stderr]
            .into_iter()
            .zip(&mut *self.outputs.borrow_mut())
        {
            for (text, dropped) in std::mem::take(output).finish() {
                heard(Heard::Output(stream, text, dropped));
            }
        }
    }

    /// Has its first process send it the signal that it is to end by, and not start it again. Says whether there is one.
    pub(super) fn tell_to_end(&self) -> bool {
        let init = self.init.get();
        init.is_some_and(|init| kill(init, init::TELL_TO_END).is_ok())
    }

    /// Has the kernel run none of its processes, or all of them again.
    pub(super) fn hang(&self, hangs: bool) {
        let signal = match hangs {
            true => Signal::SIGSTOP,
            false => Signal::SIGCONT,
        };
        let Some(init) = self.init.get() else { return };
        for process in options::processes_with(init) {
            let _ = kill(process, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(init) = self.init.take() {
            let _ = kill(init, Signal::SIGKILL);
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// Forks the first process of a new PID namespace, in the network namespace this thread is in.
fn fork_init(orders: &Orders, outlets: Outlets) -> io::Result<Pid> {
    let own = std::fs::File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    // SAFETY: a lab process has one thread, so the child may do anything; it never comes back here.
    let forked = unsafe { fork() };
    if let Ok(ForkResult::Child) = forked {
        init::main(orders, outlets);
    }
    setns(&own, CloneFlags::CLONE_NEWPID)?;
    match forked? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => Err(io::Error::other("the child has come back")),
    }
}

/// Waits until a killed process is no more.
async fn reap(process: Pid) {
    if let Ok(handle) = options::pidfd_open(process)
        // SAFETY: the AsyncFd owns the descriptor from here on.
        && let Ok(handle) = unsafe { tokio::io::unix::AsyncFd::register(handle) }
    {
        let _ = handle.readable().await;
    }
    let _ = waitpid(process, None);
}
