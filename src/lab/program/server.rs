//! A server that is a program.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use regex::Regex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::files::{Files, Own};
use super::init::{Again, Orders};
use super::lines::LineReader;
use super::process::{Heard, Process};
use super::room::Room;
use super::{environment, one_user, path_of, user_of};
use crate::contract::tls::Authority;
use crate::contract::{CERTIFICATE_FILE, DATA_FOLDER, KEY_FILE};
use crate::lab::LabError;
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::{self, Ready, ServerProgram};
use crate::probe::sockets::server::ServerProbe;
use crate::record::{Observation, OutputStream, Recorder, how_ended};

/// How often it is looked whether a program is ready.
const EVERY: Duration = Duration::from_millis(20);
/// Lines of output that an error tells.
const LAST_LINES: usize = 8;

/// A server that is a program.
pub(in crate::lab) struct ProgramServer {
    server: plan::Server,
    program: ServerProgram,
    process: Process,
    namespace: Rc<Namespace>,
    files: Rc<Files>,
    own: Own,
    probe: Rc<ServerProbe>,
    recorder: Recorder,
    /// Whether it is ready, and who waits for that.
    ready: Cell<bool>,
    /// It was so once.
    was_ready: Cell<bool>,
    /// It has ended by itself.
    ended: Cell<bool>,
    changed: Notify,
    /// Its first process has started it, once more perhaps.
    started_again: Notify,
    lines: RefCell<Lines>,
}

/// The last lines of a program, and one to wait for.
#[derive(Default)]
struct Lines {
    last: VecDeque<String>,
    /// Of both streams.
    readers: [LineReader; 2],
    wanted: Option<Regex>,
    found: bool,
}

impl ProgramServer {
    /// Watches what `server`, a program, is asked from now on; it is not started yet.
    ///
    /// # Errors
    /// As [`ServerProbe::open`], or if its files can't be written.
    pub(in crate::lab) fn new(
        server: &plan::Server,
        program: &ServerProgram,
        namespace: Rc<Namespace>,
        recorder: &Recorder,
        files: &Rc<Files>,
        authority: &Authority,
    ) -> Result<Rc<Self>, LabError> {
        let pem = authority.server_pem(server);
        let pem = pem.map_err(|error| LabError::Setup(error.to_string()))?;
        let doing = format!("making the files of server {}", server.name);
        let own = files.own(&server.name, pem, user_of(&program.exec));
        Ok(Rc::new(Self {
            process: Process::new(&server.name, &program.exec.location, &namespace),
            probe: ServerProbe::open(server, &namespace, recorder)?,
            own: own.map_err(
                |error| match (error.raw_os_error(), user_of(&program.exec)) {
                    (Some(libc::EINVAL), Some((user, _))) => LabError::Program {
                        why: one_user(&format!("server {}", server.name), user),
                        location: program.exec.location.clone(),
                    },
                    _ => LinuxError::kernel(doing)(error).into(),
                },
            )?,
            server: server.clone(),
            program: program.clone(),
            namespace,
            files: Rc::clone(files),
            recorder: recorder.clone(),
            ready: Cell::new(false),
            was_ready: Cell::new(false),
            ended: Cell::new(false),
            changed: Notify::new(),
            started_again: Notify::new(),
            lines: RefCell::new(Lines::of(&program.ready)),
        }))
    }

    /// Its name.
    pub(in crate::lab) fn name(&self) -> &str {
        &self.server.name
    }

    /// The node it runs on.
    pub(in crate::lab) fn node(&self) -> &str {
        &self.server.node
    }

    /// Starts the program and follows it, for ever.
    ///
    /// # Errors
    /// [`LabError::Program`] if there is no such program, others if it can't be started or watched.
    pub(in crate::lab) async fn run(self: Rc<Self>) -> Result<(), LabError> {
        if self.was_ready.get() && self.program.empty {
            let emptied = self.own.empty();
            emptied.map_err(LinuxError::kernel("emptying a server's folder"))?;
        }
        self.ready.set(false);
        self.ended.set(false);
        *self.lines.borrow_mut() = Lines::of(&self.program.ready);
        let doing = format!("starting server {}", self.name());
        let pipes = self
            .process
            .start(&self.orders(&self.program.exec.command, Again::of(&self.program.exec)));
        let pipes = pipes.map_err(LinuxError::kernel(doing))?;
        let watching = async {
            let read = self.probe.run().await;
            let doing = format!("watching the packets of {}", self.name());
            read.map_err(|error| LabError::from(LinuxError::kernel(doing)(error)))
        };
        let following = async {
            self.process
                .follow(pipes, |heard| self.heard(heard))
                .await?;
            std::future::pending().await
        };
        let readying = async {
            self.becomes_ready().await?;
            std::future::pending().await
        };
        tokio::select! {
            result = following => result,
            result = watching => result,
            result = readying => result,
        }
    }

    /// Waits until the program, which [`ProgramServer::run`] runs, is ready for the first time.
    ///
    /// # Errors
    /// [`LabError::Program`] if it has ended before, or is not in time.
    pub(in crate::lab) async fn first_ready(&self) -> Result<(), LabError> {
        let ready = async {
            while !self.ready.get() && !self.ended.get() {
                self.changed.notified().await;
            }
        };
        let in_time = timeout(self.program.within, ready).await.is_ok();
        if self.ready.get() {
            return Ok(());
        }
        let why = match in_time {
            true => String::from("its program ended before"),
            false => self.not_in_time(),
        };
        Err(LabError::Program {
            why: format!(
                "server {} was never ready: {why}{}",
                self.name(),
                self.lines.borrow().told()
            ),
            location: self.program.exec.location.clone(),
        })
    }

    /// Records what its connections' sockets are set to.
    pub(in crate::lab) fn note_options(&self) {
        if let Some(init) = self.process.init() {
            self.probe.note_options(init);
        }
    }

    /// Its node has lost its power, or it was killed: it is no more.
    pub(in crate::lab) fn end(&self) {
        // What it has answered by now went out before.
        let _ = self.probe.drain();
        self.probe.forget();
        self.process.end(|heard| self.heard(heard));
    }

    /// Nobody runs it any more, or again.
    pub(in crate::lab) fn hang(&self, hangs: bool) {
        self.process.hang(hangs);
    }

    fn orders(&self, command: &[String], again: Again) -> Orders {
        let exec = &self.program.exec;
        let own = [
            ("HALFOPEN_SERVER", self.server.name.clone()),
            ("HALFOPEN_PORT", self.port().to_string()),
            ("HALFOPEN_DATA", DATA_FOLDER.to_owned()),
            ("HALFOPEN_CERT", CERTIFICATE_FILE.to_owned()),
            ("HALFOPEN_KEY", KEY_FILE.to_owned()),
        ];
        let env = environment(own, &exec.env);
        Orders {
            room: Room::new(&self.files, exec, command, path_of(&env)).with(self.own.clone()),
            host: self.server.place.name().to_owned(),
            command: command.to_vec(),
            env,
            cwd: exec.cwd.clone(),
            stdin: exec.stdin.clone(),
            again,
            user: user_of(exec),
            capabilities: exec.capabilities.clone(),
            stop_signal: None,
            tty: exec.tty,
        }
    }

    fn port(&self) -> u16 {
        self.server.listen.first().map_or(0, |at| at.port())
    }

    fn heard(&self, heard: Heard<'_>) {
        let server = self.server.name.clone();
        self.recorder.emit(match heard {
            Heard::Started => {
                self.started_again.notify_one();
                Observation::ServerStarted {
                    server,
                    command: self.program.exec.command.clone(),
                }
            }
            Heard::Exited {
                code,
                signal,
                again,
            } => {
                self.ready.set(false);
                self.ended.set(!again);
                self.changed.notify_one();
                // Nothing of the scenario has ended it.
                if self.was_ready.get() {
                    let then = if again { ", and is started again" } else { "" };
                    self.warn(&format!("{} by itself{then}", how_ended(code, signal)));
                }
                if again {
                    // What it writes from now on is another run's: that may be before it is said to have started.
                    *self.lines.borrow_mut() = Lines::of(&self.program.ready);
                }
                Observation::ServerExited {
                    server,
                    code,
                    signal,
                }
            }
            Heard::Wrote(stream, bytes) => {
                self.lines.borrow_mut().take(stream, bytes);
                return;
            }
            Heard::Output(stream, text, dropped) => Observation::ServerOutput {
                server,
                stream,
                text,
                dropped,
            },
        });
    }

    /// Looks whether the program is ready, until it is, and anew whenever it is started again for having ended. Comes back when
    /// it has ended for good.
    async fn becomes_ready(&self) -> Result<(), LabError> {
        loop {
            self.waits_until_ready().await?;
            while self.ready.get() {
                self.started_again.notified().await;
            }
            if self.ended.get() {
                return Ok(());
            }
        }
    }

    async fn waits_until_ready(&self) -> Result<(), LabError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let is = match &self.program.ready {
                Ready::Listens => !self.listens()?.is_empty(),
                Ready::Line(_) => self.lines.borrow().found,
                Ready::Command(command) => self.succeeds(command).await?,
            };
            // One that has ended will never be.
            if self.ended.get() {
                return Ok(());
            }
            if is {
                break;
            }
            // The first time it is the case's error.
            if self.was_ready.get() && !told && begun.elapsed() >= self.program.within {
                told = true;
                self.warn(&format!("was not ready again: {}", self.not_in_time()));
            }
            sleep(EVERY).await;
        }
        self.ready.set(true);
        self.was_ready.set(true);
        self.changed.notify_one();
        self.recorder.emit(Observation::ServerReady {
            server: self.server.name.clone(),
        });
        for address in self.listens()? {
            self.recorder.emit(Observation::ServerListening {
                server: self.server.name.clone(),
                address,
            });
        }
        Ok(())
    }

    /// The server's addresses on which a socket listens.
    fn listens(&self) -> Result<Vec<SocketAddr>, LabError> {
        let listens = self.probe.listens();
        let doing = format!("asking whether server {} listens", self.name());
        listens.map_err(|error| LinuxError::kernel(doing)(error).into())
    }

    fn not_in_time(&self) -> String {
        format!(
            "{} within {}",
            self.program.ready,
            humantime::format_duration(self.program.within)
        )
    }

    fn warn(&self, what: &str) {
        let (name, last) = (self.name(), self.lines.borrow().told());
        let text = format!("the program of server {name} {what}{last}");
        self.recorder.emit(Observation::Warning { text });
    }

    /// Whether a command beside the program succeeds.
    async fn succeeds(&self, command: &[String]) -> Result<bool, LabError> {
        let name = format!("{}, the command that says whether it is ready", self.name());
        let process = Process::new(&name, &self.program.exec.location, &self.namespace);
        let pipes = process.start(&self.orders(command, Again::Never));
        let pipes = pipes.map_err(LinuxError::kernel(format!("starting {name}")))?;
        let succeeded = Cell::new(false);
        let follow = process.follow(pipes, |heard| {
            if let Heard::Exited { code: Some(0), .. } = heard {
                succeeded.set(true);
            }
        });
        follow.await?;
        process.end(|_| ());
        Ok(succeeded.get())
    }
}

impl Lines {
    fn of(ready: &Ready) -> Self {
        let wanted = match ready {
            // It was read before.
            Ready::Line(expression) => Regex::new(expression).ok(),
            Ready::Listens | Ready::Command(_) => None,
        };
        Self {
            wanted,
            ..Self::default()
        }
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        let Self {
            last,
            readers,
            wanted,
            found,
        } = self;
        readers[stream.index()].take(bytes, |line| {
            *found |= wanted.as_ref().is_some_and(|w| w.is_match(line));
            last.push_back(line.to_owned());
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        });
    }

    /// What it wrote last, for an error.
    fn told(&self) -> String {
        let open = self.readers.iter().map(LineReader::open);
        let open = open.filter(|line| !line.is_empty());
        let lines = self.last.iter().cloned().chain(open);
        let lines: Vec<_> = lines.map(|line| format!("\"{line}\"")).collect();
        match lines.is_empty() {
            true => String::from("; it wrote nothing"),
            false => format!("; it wrote last: {}", lines.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(wanted: &str, pieces: &[&str]) -> Lines {
        let mut lines = Lines::of(&Ready::Line(wanted.to_owned()));
        let out = OutputStream::Stdout;
        pieces
            .iter()
            .for_each(|piece| lines.take(out, piece.as_bytes()));
        lines
    }

    #[test]
    fn a_line_is_found_when_it_is_whole_however_it_comes() {
        let wanted = "ready to accept (connections|requests)$";
        assert!(lines(wanted, &["LOG: ready to acc", "ept connections\n"]).found);
        assert!(!lines(wanted, &["LOG: ready to accept connections"]).found);
        assert!(!lines(wanted, &["not ready to accept anything\n"]).found);
    }

    #[test]
    fn an_error_tells_the_last_lines() {
        assert_eq!(lines("x", &[]).told(), "; it wrote nothing");
        let all: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let told = lines("x", &[&all, "no end"]).told();
        let last: String = (13..=20).map(|n| format!("\"line {n}\", ")).collect();
        assert_eq!(told, format!("; it wrote last: {last}\"no end\""));
    }
}
