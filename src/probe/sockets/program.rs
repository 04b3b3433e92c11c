//! The connections of a program that is not ours: their births from its packets, their deaths from the kernel, which
//! tells of every socket that is no more (sock_diag's destroy groups) and hands over its last TCP_INFO.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use nix::unistd::Pid;
use tokio::sync::Notify;

use super::arrivals::Arrivals;
use super::diag::Shown;
use super::namespace::Sockets;
use super::options::Kept;
use super::tracker::{Death, Tracker};
use super::{LISTENING, options};
use crate::linux::namespace::Namespace;
use crate::linux::{LinuxError, sysctl};
use crate::probe::packets::parse::{FIN, Packet, RST, SYN};
use crate::probe::packets::tap::{Hears, Tap};
use crate::record::{Event, Observation, Recorder};

/// So many sockets are asked for one by one; for more, all that there are.
const FEW: usize = 32;
/// The kernel's default of `net.ipv4.tcp_syn_retries`.
const SYN_RETRIES: u8 = 6;

/// Watches the connections of one program.
pub(crate) struct ProgramProbe {
    tap: Tap,
    arrivals: RefCell<Arrivals>,
    sockets: Sockets,
    tracker: RefCell<Tracker>,
    /// A socket is to be looked at.
    stirred: Notify,
    /// The first process of the program's PID namespace, while there is one.
    init: Cell<Option<Pid>>,
    /// The connections whose sockets' options are in the record.
    noted: RefCell<HashSet<u32>>,
    /// Those that have begun to wait in vain, and whose options are not.
    in_trouble: RefCell<BTreeSet<u32>>,
    /// When the segment was first sent that is about to be sent again, by its sender.
    first_sent: RefCell<HashMap<SocketAddr, Duration>>,
    recorder: Recorder,
}

impl ProgramProbe {
    /// Watches the connections that are opened from `addresses` in `namespace`, from now on. They are recorded as those
    /// of `client`.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this kernel lacks AF_PACKET sockets, [`LinuxError::Kernel`] if it refuses a socket.
    pub(crate) fn open(
        client: &str,
        addresses: Vec<IpAddr>,
        namespace: &Namespace,
        recorder: &Recorder,
    ) -> Result<Rc<Self>, LinuxError> {
        let syn_limit = namespace.visit(syn_limit).unwrap_or(SYN_RETRIES);
        let probe = Rc::new(Self {
            tap: Tap::open(client, namespace, Hears::Turns)?,
            arrivals: RefCell::new(Arrivals::at(addresses.clone())),
            sockets: Sockets::open(client, namespace)?,
            tracker: RefCell::new(Tracker::new(client, addresses, syn_limit)),
            stirred: Notify::new(),
            init: Cell::new(None),
            noted: RefCell::default(),
            in_trouble: RefCell::default(),
            first_sent: RefCell::default(),
            recorder: recorder.clone(),
        });
        let weak = Rc::downgrade(&probe);
        recorder.listen(move |event| heard(&weak, event));
        Ok(probe)
    }

    /// Records what is seen, until reading fails. Safe to cancel at any time.
    ///
    /// # Errors
    /// As `recvmmsg(2)`, `recv(2)` and sock_diag(7).
    pub(crate) async fn run(&self) -> io::Result<()> {
        loop {
            let next = self.tracker.borrow().next_look();
            let wait = next.map(|at| at.saturating_sub(self.recorder.now()));
            tokio::select! {
                readable = self.tap.readable() => readable?,
                ended = self.sockets.readable() => ended?,
                () = self.stirred.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.drain()?;
                    self.look()?;
                }
            }
            self.drain()?;
            self.note_options_of_those_in_trouble();
        }
    }

    /// Records what the sockets of some of its connections are set to: number and own address.
    pub(crate) fn note_options(&self, connections: &[(u32, SocketAddr)]) {
        let Some(init) = self.init.get().filter(|_| !connections.is_empty()) else {
            return;
        };
        let by_address: HashMap<_, _> = connections
            .iter()
            .map(|(id, local)| (*local, *id))
            .collect();
        options::of_processes(
            init,
            options::By::Own,
            &by_address,
            |connection, options| {
                self.noted.borrow_mut().insert(*connection);
                let client = self.tracker.borrow().client().to_owned();
                self.recorder.emit(Observation::SocketOptions {
                    client,
                    connection: *connection,
                    keepalive: options.keepalive,
                    user_timeout: options.user_timeout,
                });
            },
        );
    }

    /// Which timer rules depends on them. Those opened since the last fault were not asked then.
    fn note_options_of_those_in_trouble(&self) {
        let ids = std::mem::take(&mut *self.in_trouble.borrow_mut());
        if !ids.is_empty() {
            let open = self.connections();
            let open = open.into_iter().filter(|(id, _)| ids.contains(id));
            self.note_options(&open.collect::<Vec<_>>());
        }
    }

    /// Looks at the sockets whose time it is.
    fn look(&self) -> io::Result<()> {
        let now = self.recorder.now();
        let due = self.tracker.borrow().due(now);
        let shown = match due.len() {
            0 => return Ok(()),
            1..=FEW => {
                let ends: Vec<_> = due.iter().map(|(_, ends)| *ends).collect();
                self.sockets.look(&ends)?
            }
            _ => vec![None; due.len()],
        };
        // Many at once, and those that know their peer by another address: on a node packets are seen after DNAT.
        let mut all: Option<Table> = None;
        let mut missing = Vec::new();
        for ((id, ends), mut shown) in due.into_iter().zip(shown) {
            let cookie = self.tracker.borrow().cookie(id);
            if shown.is_none() {
                if all.is_none() {
                    all = Some(Table::of(self.sockets.all(!LISTENING)?));
                }
                shown = all.as_ref().and_then(|all| all.find(cookie, ends.0));
            }
            match shown.filter(|shown| cookie.is_none_or(|cookie| cookie == shown.cookie)) {
                Some(shown) => self.record(|tracker| tracker.looked(id, &shown, now)),
                None => missing.push((id, cookie, ends.0)),
            }
        }
        self.missed(&missing)
    }

    /// Connections' sockets are in no table. The kernel may have given them up while the program keeps the descriptors: then
    /// they show still how they ended.
    fn missed(&self, missing: &[(u32, Option<u64>, SocketAddr)]) -> io::Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        // The kernel may have told of the end in the meantime.
        self.drain()?;
        let untold = |(id, ..): &&(u32, _, _)| self.tracker.borrow().has(*id);
        let untold: Vec<_> = missing.iter().filter(untold).collect();
        let init = self.init.get().filter(|_| !untold.is_empty());
        let kept = init.map(Kept::by_processes_with).unwrap_or_default();
        for (id, cookie, local) in untold {
            let info = kept.info(*cookie, *local);
            self.record(|tracker| tracker.vanished(*id, info, self.recorder.now()));
        }
        Ok(())
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)` and `recv(2)`.
    pub(crate) fn drain(&self) -> io::Result<()> {
        // A socket's last packet comes before its death, so it must be seen first: it is read last.
        let (deaths, more) = self.sockets.take_deaths()?;
        let (now, lost) = (self.recorder.now(), self.tap.lost());
        for (packet, stamp) in self.tap.take(&self.recorder)? {
            if let Packet::Tcp(segment) = &packet {
                let arrived = self.arrivals.borrow_mut().see(segment, stamp);
                arrived
                    .into_iter()
                    .for_each(|(ends, stamp)| self.arrived(ends, stamp));
            }
            if is_turn(&packet) {
                self.record(|tracker| tracker.see(&packet, stamp));
            }
        }
        let rest = self.arrivals.borrow_mut().rest();
        rest.into_iter()
            .for_each(|(ends, stamp)| self.arrived(ends, stamp));
        for shown in &deaths {
            let death = Death {
                cookie: shown.cookie,
                local: shown.local,
                remote: shown.peer,
                info: shown.info.unwrap_or_default(),
            };
            self.record(|tracker| tracker.died(&death, now));
        }
        // What could not be told is to be seen.
        if more || self.tap.lost() != lost {
            self.tracker.borrow_mut().look_at_all(now);
            self.stirred.notify_one();
        }
        Ok(())
    }

    fn arrived(&self, (local, remote): (SocketAddr, SocketAddr), stamp: Duration) {
        let client = self.tracker.borrow().client().to_owned();
        let arrived = Observation::PayloadReceived {
            client,
            local,
            remote,
        };
        self.recorder.emit_at(stamp, arrived);
    }

    /// The case is over: connections that are open then end with it.
    ///
    /// # Errors
    /// As [`ProgramProbe::drain`].
    pub(crate) fn finish(&self) -> io::Result<()> {
        let drained = self.drain();
        self.record(|tracker| tracker.finish(self.recorder.now()));
        drained
    }

    /// The program has written something: what it does on the quiet, it does as a rule just before.
    pub(crate) fn wrote(&self) {
        self.tracker.borrow_mut().stirred(self.recorder.now());
        self.stirred.notify_one();
    }

    /// The program's processes are those in the PID namespace of `init` from now on.
    pub(crate) fn follow(&self, init: Option<Pid>) {
        self.init.set(init);
    }

    /// The program is no more, and so are its connections; nothing is recorded of that.
    pub(crate) fn stop(&self) {
        self.tracker.borrow_mut().stop();
    }

    /// The connections the program has, established or being opened: number and own address.
    pub(crate) fn connections(&self) -> Vec<(u32, SocketAddr)> {
        self.tracker.borrow().open()
    }

    fn record(&self, learn: impl FnOnce(&mut Tracker) -> Vec<(Duration, Observation)>) {
        // Not in one: who hears of an event may ask the tracker.
        let observed = learn(&mut self.tracker.borrow_mut());
        for (at, what) in observed {
            self.recorder.emit_at(at, what);
        }
    }
}

/// Whether a packet opens or ends a connection.
fn is_turn(packet: &Packet) -> bool {
    match packet {
        Packet::Tcp(segment) => segment.has(SYN | FIN | RST),
        Packet::Icmp { .. } => true,
    }
}

/// The sockets of a namespace, by what they are looked up by.
struct Table {
    by_cookie: HashMap<u64, Shown>,
    by_local: HashMap<SocketAddr, u64>,
}

impl Table {
    fn of(all: Vec<Shown>) -> Self {
        let mut by_local = HashMap::new();
        for shown in &all {
            by_local.entry(shown.local).or_insert(shown.cookie);
        }
        let by_cookie = all.into_iter().map(|shown| (shown.cookie, shown));
        Self {
            by_cookie: by_cookie.collect(),
            by_local,
        }
    }

    /// The socket of this number, or where that is not known, with this address of its own.
    fn find(&self, cookie: Option<u64>, local: SocketAddr) -> Option<Shown> {
        let cookie = cookie.or_else(|| self.by_local.get(&local).copied())?;
        self.by_cookie.get(&cookie).cloned()
    }
}

/// What others have seen of the program's connections.
fn heard(probe: &Weak<ProgramProbe>, event: &Event) {
    match &event.what {
        Observation::ServerAccepted { peer, protocol, .. } => {
            let Some(probe) = probe.upgrade() else { return };
            // Its SYN may not have been read yet. What can't be read here, the probe's own task will say.
            let _ = probe.drain();
            probe.record(|tracker| tracker.accepted(*peer, *protocol, event.at()));
        }
        // The first sending of what is sent again stands before it.
        Observation::Segment(segment) if segment.len > 0 && segment.retransmission == 0 => {
            let Some(probe) = probe.upgrade() else { return };
            let stamp = Duration::from_nanos(segment.stamp_ns);
            let mut first_sent = probe.first_sent.borrow_mut();
            first_sent.insert(segment.from, stamp);
        }
        Observation::Segment(segment) if segment.retransmission > 0 => {
            let Some(probe) = probe.upgrade() else { return };
            let since = probe.first_sent.borrow_mut().remove(&segment.from);
            let mut tracker = probe.tracker.borrow_mut();
            if let Some(id) = tracker.sent_again(segment.from, since, event.at()) {
                if !probe.noted.borrow().contains(&id) {
                    probe.in_trouble.borrow_mut().insert(id);
                }
                probe.stirred.notify_one();
            }
        }
        Observation::FaultInjected { .. } => {
            let Some(probe) = probe.upgrade() else { return };
            probe.tracker.borrow_mut().look_at_all(event.at());
            probe.stirred.notify_one();
        }
        _ => {}
    }
}

/// SYNs the kernel sends again in the namespace this thread is in.
fn syn_limit() -> u8 {
    let number = |key| sysctl::read(key).ok()?.parse::<u8>().ok();
    let linear = number("net.ipv4.tcp_syn_linear_timeouts").unwrap_or(0);
    number("net.ipv4.tcp_syn_retries")
        .unwrap_or(SYN_RETRIES)
        .saturating_add(linear)
}
