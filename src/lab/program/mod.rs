//! Clients and servers that are programs of the user's, as they are: started in their pods' network namespaces, with names,
//! certificates and places to write to of their own, and with no privilege but what the scenario names.

mod capability;
mod cover;
mod files;
mod filter;
mod init;
mod lines;
mod memory;
mod output;
mod phases;
mod process;
mod room;
mod server;
mod terminal;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Uid};
use tokio::sync::watch;

pub(super) use self::files::Files;
use self::init::{Again, Orders};
use self::lines::{LineReader, Listener};
use self::memory::MOST_MEMORY;
pub(super) use self::phases::PhaseWatch;
use self::process::{Heard, Process};
use self::room::Room;
pub(super) use self::server::ProgramServer;
use super::LabError;
use crate::contract::CA_FILE;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::{self, Exec, Program, Stop};
use crate::probe::sockets::options;
use crate::probe::sockets::program::ProgramProbe;
use crate::record::{Observation, OutputStream, Recorder, monotonic, signal_name};

/// Characters recorded of a line that says how a program's work went.
const LONGEST_SAID: usize = 200;

/// A client that is a program.
pub(super) struct ProgramClient {
    client: plan::Client,
    program: Program,
    process: Process,
    recorder: Recorder,
    files: Rc<Files>,
    probe: Rc<ProgramProbe>,
    /// What it says of its work, if anybody listens.
    words: Option<(Listener, RefCell<[LineReader; 2]>)>,
    /// What it is doing, if a fault waits for that.
    phases: Option<Rc<PhaseWatch>>,
    /// It has ended for good, and what it wrote was read.
    over: Cell<bool>,
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
        phases: Option<PhaseWatch>,
    ) -> Result<Rc<Self>, LabError> {
        Ok(Rc::new(Self {
            phases: phases.map(Rc::new),
            over: Cell::new(false),
            probe: ProgramProbe::open(&client.name, addresses, &namespace, recorder)?,
            process: Process::new(&client.name, &program.exec.location, &namespace),
            words: program
                .output
                .as_ref()
                .map(|words| (Listener::of(words), RefCell::default())),
            client: client.clone(),
            program: program.clone(),
            recorder: recorder.clone(),
            files: Rc::clone(files),
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
            let pipes = self.process.start(&self.orders());
            let pipes = pipes.map_err(LinuxError::kernel(format!("starting {}", self.name())))?;
            self.probe.follow(self.process.init());
            self.process
                .follow(pipes, |heard| self.heard(heard))
                .await?;
            self.over.set(true);
            Ok(())
        };
        let phases = async {
            match &self.phases {
                Some(watch) => watch.run().await,
                None => std::future::pending().await,
            }
        };
        let stopped = async { _ = stop.wait_for(|stop| *stop).await };
        let mut work = std::pin::pin!(work);
        let result = tokio::select! {
            () = stopped => Ok(()),
            () = self.watch_memory() => Ok(()),
            result = async {
                work.as_mut().await?;
                // A program that has ended leaves its connections to be watched.
                std::future::pending().await
            } => result,
            result = phases => result.map_err(|error| {
                let doing = format!("looking at packets of {}", self.name());
                LabError::from(LinuxError::kernel(doing)(error))
            }),
            result = watching => result.map_err(LabError::from),
        };
        // What it does with its connections from here on is no part of the case.
        let finished = self.probe.finish();
        if let (Ok(()), Some(stop)) = (&result, self.program.exec.stop) {
            self.told_to_end(stop, work).await;
        }
        self.end();
        let finished = finished.map_err(LinuxError::kernel("reading a program's last packets"));
        result.and(finished.map_err(LabError::from))
    }

    /// Tells the program that the case is over, and waits for its end, with which `work` is over: what it writes counts.
    async fn told_to_end(&self, stop: Stop, work: impl Future<Output = Result<(), LabError>>) {
        if self.over.get() || !self.process.tell_to_end() {
            return;
        }
        let client = self.client.name.clone();
        self.recorder.emit(Observation::ProgramStopped {
            client: client.clone(),
            signal: stop.signal,
        });
        if tokio::time::timeout(stop.grace, work).await.is_err() {
            let text = format!(
                "{client} did not end within {} of its stop signal ({}), and was killed",
                humantime::format_duration(stop.grace),
                signal_name(stop.signal)
            );
            self.recorder.emit(Observation::Warning { text });
            self.recorder.emit(Observation::ProgramExited {
                client,
                code: None,
                signal: Some(libc::SIGKILL),
            });
        }
    }

    /// Ends what the program has started when it has too much memory, as a guest's kernel does it when there is no more. Never
    /// returns.
    async fn watch_memory(&self) {
        // A guest has its own limit, and every look would wake it.
        if !self.files.on_machine() {
            std::future::pending::<()>().await;
        }
        let most = self.program.exec.limits.memory.unwrap_or(MOST_MEMORY);
        let mut took = Duration::ZERO;
        loop {
            tokio::time::sleep(memory::EVERY.max(took * memory::PAUSE)).await;
            let begun = monotonic();
            let Some(init) = self.process.init() else {
                continue;
            };
            let mut processes = options::processes_with(init);
            processes.retain(|process| *process != init);
            let used = memory::used(&processes);
            took = monotonic().saturating_sub(begun);
            if used <= most {
                continue;
            }
            for process in processes {
                let _ = kill(process, Signal::SIGKILL);
            }
            let text = format!(
                "{} was ended: it had {} MiB of memory, and a program may have {} MiB",
                self.name(),
                used >> 20,
                most >> 20
            );
            self.recorder.emit(Observation::Warning { text });
        }
    }

    /// Ends the program and all that it has started. What it wrote is recorded.
    fn end(&self) {
        self.probe.follow(None);
        self.process.end(|heard| self.heard(heard));
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

    fn orders(&self) -> Orders {
        let (exec, env) = (&self.program.exec, self.environment());
        Orders {
            room: Room::new(&self.files, exec, &exec.command, path_of(&env)),
            host: self.client.place.name().to_owned(),
            command: exec.command.clone(),
            env,
            cwd: exec.cwd.clone(),
            stdin: exec.stdin.clone(),
            again: Again::of(exec),
            user: user_of(exec),
            capabilities: exec.capabilities.clone(),
            stop_signal: exec.stop.map(|stop| stop.signal),
            tty: exec.tty,
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let target = &self.client.target;
        let own = [
            ("HALFOPEN_CLIENT", self.name().to_owned()),
            ("HALFOPEN_URL", self.program.url.clone()),
            ("HALFOPEN_HOST", target.host.clone()),
            ("HALFOPEN_ADDRESS", target.address.to_string()),
        ];
        environment(own, &self.program.exec.env)
    }

    /// Records the lines that say how its work went.
    fn listen(&self, stream: OutputStream, bytes: &[u8]) {
        let Some((listener, readers)) = &self.words else {
            return;
        };
        readers.borrow_mut()[stream.index()].take(bytes, |line| {
            if let Some(leads) = listener.leads(line) {
                self.recorder.emit(Observation::LeaderBelief {
                    client: self.client.name.clone(),
                    leads,
                });
            }
            if let Some(ok) = listener.hear(line) {
                self.recorder.emit(Observation::ProgramSaid {
                    client: self.client.name.clone(),
                    ok,
                    line: line.chars().take(LONGEST_SAID).collect(),
                });
            }
        });
    }

    fn heard(&self, heard: Heard<'_>) {
        let client = self.client.name.clone();
        self.recorder.emit(match heard {
            Heard::Started => Observation::ProgramStarted {
                client,
                command: self.program.exec.command.clone(),
            },
            Heard::Exited { code, signal, .. } => Observation::ProgramExited {
                client,
                code,
                signal,
            },
            Heard::Wrote(stream, bytes) => {
                self.probe.wrote();
                return self.listen(stream, bytes);
            }
            Heard::Output(stream, text, dropped) => Observation::ProgramOutput {
                client,
                stream,
                text,
                dropped,
            },
        });
    }
}

/// What a program finds in its environment: nothing of the machine's but PATH, what everyone gets, its `own`, and the
/// scenario's.
fn environment(
    own: impl IntoIterator<Item = (&'static str, String)>,
    told: &[(String, String)],
) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = [
        ("PATH", path.as_str()),
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("SSL_CERT_FILE", CA_FILE),
        ("CURL_CA_BUNDLE", CA_FILE),
        ("REQUESTS_CA_BUNDLE", CA_FILE),
        ("NODE_EXTRA_CA_CERTS", CA_FILE),
        ("HALFOPEN_CA", CA_FILE),
    ];
    let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let own = own.into_iter();
    // The scenario's come last: of two with one name the last is taken.
    all.into_iter()
        .chain(own.map(|(name, value)| (name.to_owned(), value)))
        .chain(told.iter().cloned())
        .collect()
}

/// Where a program looks for others: of two values the last counts.
fn path_of(env: &[(String, String)]) -> &str {
    let paths = env.iter().rev();
    let mut paths = paths.filter(|(name, _)| name == "PATH");
    paths.next().map_or("", |(_, path)| path)
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

/// Why `whose` can't run as another user.
fn one_user(whose: &str, user: Uid) -> String {
    format!(
        "{whose} can't be run as user {user}: on the real clock a lab has one user alone. Leave `user` out, or run it with --clock \
         virtual"
    )
}

/// Whose rights a program has, where they are not the lab process's own.
fn user_of(exec: &Exec) -> Option<(Uid, Gid)> {
    let own = exec.user;
    own.map(|user| (Uid::from_raw(user), Gid::from_raw(user)))
        .or_else(program_user)
}
