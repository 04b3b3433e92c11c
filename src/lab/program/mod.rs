//! A client that is a program of the user's, as it is: started in its pod's network namespace, with names, certificates
//! and places to write to of its own, and with no privilege at all.
//!
//! It lives in a PID namespace: whatever it forks ends when the first process of that does, at once and for certain.

mod cover;
mod files;
mod filter;
mod init;
mod memory;
mod output;
mod room;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, pipe2};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

pub(super) use self::files::Files;
use self::init::{Orders, Outlets, Report};
use self::memory::MOST_MEMORY;
use self::output::Output;
use self::room::Room;
use super::LabError;
use crate::contract::CA_FILE;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::{self, Program};
use crate::probe::sockets::options;
use crate::probe::sockets::program::ProgramProbe;
use crate::record::{Observation, OutputStream, Recorder, monotonic};

/// Read at once of what a program writes.
const CHUNK: usize = 64 << 10;

/// A client that is a program.
pub(super) struct ProgramClient {
    client: plan::Client,
    program: Program,
    namespace: Rc<Namespace>,
    recorder: Recorder,
    files: Rc<Files>,
    probe: Rc<ProgramProbe>,
    /// The first process of its PID namespace, while there is one.
    init: Cell<Option<Pid>>,
    outputs: RefCell<[Output; 2]>,
}

/// The pipes from a program's first process.
struct Pipes {
    reports: BufReader<Receiver>,
    stdout: Receiver,
    stderr: Receiver,
}

impl ProgramClient {
    /// Watches the connections of `client`, a program, from now on; it is not started yet.
    ///
    /// # Errors
    /// As [`ProgramProbe::open`].
    pub(super) fn new(
        client: &plan::Client,
        program: &Program,
        addresses: Vec<IpAddr>,
        namespace: Rc<Namespace>,
        recorder: &Recorder,
        files: &Rc<Files>,
    ) -> Result<Rc<Self>, LabError> {
        Ok(Rc::new(Self {
            probe: ProgramProbe::open(&client.name, addresses, &namespace, recorder)?,
            client: client.clone(),
            program: program.clone(),
            namespace,
            recorder: recorder.clone(),
            files: Rc::clone(files),
            init: Cell::new(None),
            outputs: RefCell::default(),
        }))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.client.name
    }

    /// The node it runs on.
    pub(super) fn node(&self) -> &str {
        &self.client.node
    }

    /// Runs the program from its start to the end of the case.
    ///
    /// # Errors
    /// [`LabError::Program`] if there is no such program, others if it can't be started or watched.
    pub(super) async fn run(
        self: Rc<Self>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), LabError> {
        let wait = self.client.start.saturating_sub(self.recorder.now());
        let watching = async {
            let read = self.probe.run().await;
            read.map_err(LinuxError::kernel(format!(
                "watching the connections of {}",
                self.name()
            )))
        };
        let work = async {
            tokio::time::sleep(wait).await;
            let pipes = self
                .start()
                .map_err(LinuxError::kernel(format!("starting {}", self.name())))?;
            self.follow(pipes).await
        };
        let stopped = async { _ = stop.wait_for(|stop| *stop).await };
        let result = tokio::select! {
            () = stopped => Ok(()),
            () = self.watch_memory() => Ok(()),
            result = work => result,
            result = watching => result.map_err(LabError::from),
        };
        let finished = self.probe.finish();
        self.end();
        let finished = finished.map_err(LinuxError::kernel("reading a program's last packets"));
        result.and(finished.map_err(LabError::from))
    }

    /// Ends what the program has started when it has too much memory, as a guest's kernel does it when there is no more. Never
    /// returns.
    async fn watch_memory(&self) {
        // A guest has its own limit, and every look would wake it.
        if !self.files.on_machine() {
            std::future::pending::<()>().await;
        }
        let mut took = Duration::ZERO;
        loop {
            tokio::time::sleep(memory::EVERY.max(took * memory::PAUSE)).await;
            let begun = monotonic();
            let Some(init) = self.init.get() else {
                continue;
            };
            let mut processes = options::processes_with(init);
            processes.retain(|process| *process != init);
            let used = memory::used(&processes);
            took = monotonic().saturating_sub(begun);
            if used <= MOST_MEMORY {
                continue;
            }
            for process in processes {
                let _ = kill(process, Signal::SIGKILL);
            }
            let text = format!(
                "{} was ended: it had {} MiB of memory, and a program may have {} MiB",
                self.name(),
                used >> 20,
                MOST_MEMORY >> 20
            );
            self.recorder.emit(Observation::Warning { text });
        }
    }

    /// Ends the program and all that it has started. What it wrote is recorded.
    fn end(&self) {
        if let Some(init) = self.init.take() {
            self.probe.follow(None);
            let _ = kill(init, Signal::SIGKILL);
            // Nothing of it goes on; the kernel needs a moment to clear many processes away.
            drop(tokio::task::spawn_local(reap(init)));
        }
        for (stream, output) in [OutputStream::Stdout, OutputStream::Stderr]
            .into_iter()
            .zip(&mut *self.outputs.borrow_mut())
        {
            for (text, dropped) in output.finish() {
                self.wrote(stream, text, dropped);
            }
        }
    }

    /// Its node has lost its power: it is no more.
    pub(super) fn lose_power(&self) {
        self.probe.stop();
        self.end();
    }

    /// Records what its open connections are set to.
    pub(super) fn note_options(&self) {
        self.probe.note_options(&self.probe.connections());
    }

    /// Starts the first process of the program's namespaces, which starts the program.
    fn start(&self) -> io::Result<Pipes> {
        let [
            (reports, reports_in),
            (stdout, stdout_in),
            (stderr, stderr_in),
        ] = [pipe()?, pipe()?, pipe()?];
        let env = self.environment();
        let orders = Orders {
            room: Room::new(&self.files, &self.program.command, path_of(&env)),
            command: self.program.command.clone(),
            env,
            every: self.program.every,
            user: program_user(),
        };
        let outlets = Outlets {
            reports: reports_in,
            stdout: stdout_in,
            stderr: stderr_in,
        };
        let init = self.namespace.enter(|| fork_init(&orders, outlets))?;
        self.init.set(Some(init));
        self.probe.follow(Some(init));
        Ok(Pipes {
            reports: BufReader::new(Receiver::from_owned_fd(reports)?),
            stdout: Receiver::from_owned_fd(stdout)?,
            stderr: Receiver::from_owned_fd(stderr)?,
        })
    }

    /// What a program finds in its environment: nothing of the machine's but PATH.
    fn environment(&self) -> Vec<(String, String)> {
        let target = &self.client.target;
        let address = target.address.to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let own = [
            ("PATH", path.as_str()),
            ("HOME", "/tmp"),
            ("TMPDIR", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("SSL_CERT_FILE", CA_FILE),
            ("CURL_CA_BUNDLE", CA_FILE),
            ("REQUESTS_CA_BUNDLE", CA_FILE),
            ("NODE_EXTRA_CA_CERTS", CA_FILE),
            ("HALFOPEN_CLIENT", self.name()),
            ("HALFOPEN_URL", &self.program.url),
            ("HALFOPEN_HOST", &target.host),
            ("HALFOPEN_ADDRESS", &address),
            ("HALFOPEN_CA", CA_FILE),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // The scenario's come last: of two with one name the last is taken.
        own.into_iter()
            .chain(self.program.env.iter().cloned())
            .collect()
    }

    /// Records what the first process reports and what the program writes.
    async fn follow(&self, pipes: Pipes) -> Result<(), LabError> {
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
                self.heard(report)?;
            }
            match ended {
                true => Ok(()),
                false => Err(LabError::Setup(format!(
                    "the first process of program {} was killed",
                    self.name()
                ))),
            }
        };
        let reading = async {
            tokio::join!(
                self.read(OutputStream::Stdout, stdout),
                self.read(OutputStream::Stderr, stderr)
            );
            Ok(())
        };
        // A program that has ended leaves its connections to be watched.
        let all = futures_util::future::try_join(listening, reading);
        all.await?;
        std::future::pending().await
    }

    fn heard(&self, report: Report) -> Result<(), LabError> {
        let client = self.client.name.clone();
        match report {
            Report::Started {} => {
                self.recorder.emit(Observation::ProgramStarted {
                    client,
                    command: self.program.command.clone(),
                });
            }
            Report::Exited { code, signal } => self.recorder.emit(Observation::ProgramExited {
                client,
                code,
                signal,
            }),
            Report::Missing { why } => {
                return Err(LabError::Program {
                    why,
                    location: self.program.location.clone(),
                });
            }
            Report::Failed { doing, why } => {
                return Err(LabError::Setup(format!(
                    "program {client}: failed at {doing}: {why}"
                )));
            }
        }
        Ok(())
    }

    async fn read(&self, stream: OutputStream, mut pipe: Receiver) {
        let mut buffer = vec![0; CHUNK];
        let index = usize::from(stream == OutputStream::Stderr);
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            self.probe.wrote();
            let piece = self.outputs.borrow_mut()[index].take(&buffer[..length]);
            if let Some((text, dropped)) = piece {
                self.wrote(stream, text, dropped);
            }
        }
    }

    fn wrote(&self, stream: OutputStream, text: String, dropped: u64) {
        let client = self.client.name.clone();
        self.recorder.emit(Observation::ProgramOutput {
            client,
            stream,
            text,
            dropped,
        });
    }
}

impl Drop for ProgramClient {
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

/// Where a program looks for others: of two values the last counts.
fn path_of(env: &[(String, String)]) -> &str {
    let paths = env.iter().rev();
    let mut paths = paths.filter(|(name, _)| name == "PATH");
    paths.next().map_or("", |(_, path)| path)
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

/// Whose rights a lab's programs have, where they are not the lab process's own. Set once, before the first lab.
static USER: std::sync::OnceLock<(Uid, Gid)> = std::sync::OnceLock::new();

/// Gives the programs of all labs of this process the rights of a user: in a guest files show the machine's own owners.
pub(crate) fn run_as(user: Uid, group: Gid) {
    let _ = USER.set((user, group));
}

/// See [`run_as`].
fn program_user() -> Option<(Uid, Gid)> {
    USER.get().copied().filter(|(user, _)| !user.is_root())
}
