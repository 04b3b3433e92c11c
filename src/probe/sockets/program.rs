//! The connections of a program that is not ours: their births from its packets, their deaths from the kernel, which
//! tells of every socket that is no more (sock_diag's destroy groups) and hands over its last TCP_INFO.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::closing;
use super::namespace::Sockets;
use super::tracker::{Death, Tracker};
use crate::lab::namespace::Namespace;
use crate::lab::{LabError, sysctl};
use crate::probe::packets::tap::{Hears, Tap};
use crate::record::{Event, Observation, Recorder};

/// The kernel's default of `net.ipv4.tcp_syn_retries`.
const SYN_RETRIES: u8 = 6;

/// Watches the connections of one program.
pub(crate) struct ProgramProbe {
    tap: Tap,
    sockets: Sockets,
    tracker: RefCell<Tracker>,
    /// Data has begun to be sent again.
    stirred: Notify,
    recorder: Recorder,
}

impl ProgramProbe {
    /// Watches the connections that are opened from `addresses` in `namespace`, from now on. They are recorded as those
    /// of `client`.
    ///
    /// # Errors
    /// [`LabError::Missing`] if this kernel lacks AF_PACKET sockets, [`LabError::Kernel`] if it refuses a socket.
    pub(crate) fn open(
        client: &str,
        addresses: Vec<IpAddr>,
        namespace: &Namespace,
        recorder: &Recorder,
    ) -> Result<Rc<Self>, LabError> {
        let syn_limit = namespace.visit(syn_limit).unwrap_or(SYN_RETRIES);
        let probe = Rc::new(Self {
            tap: Tap::open(client, namespace, Hears::Turns)?,
            sockets: Sockets::open(client, namespace)?,
            tracker: RefCell::new(Tracker::new(client, addresses, syn_limit)),
            stirred: Notify::new(),
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
        let mut looked = Duration::ZERO;
        loop {
            let busy = self.tracker.borrow().busy_since();
            let next =
                busy.map(|since| looked.max(since) + closing::pause(looked.saturating_sub(since)));
            let wait = next.map(|at| at.saturating_sub(self.recorder.now()));
            tokio::select! {
                readable = self.tap.readable() => readable?,
                ended = self.sockets.readable() => ended?,
                () = self.stirred.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    looked = self.recorder.now();
                    self.look_for_closing()?;
                }
            }
            self.drain()?;
        }
    }

    fn look_for_closing(&self) -> io::Result<()> {
        self.drain()?;
        let closing = closing::closing(&self.sockets)?;
        self.record(|tracker| tracker.closing(&closing, self.recorder.now()));
        Ok(())
    }

    /// Records all that has been seen up to now, without waiting.
    ///
    /// # Errors
    /// As `recvmmsg(2)` and `recv(2)`.
    pub(crate) fn drain(&self) -> io::Result<()> {
        // A socket's last packet comes before its death, so it must be seen first: it is read last.
        let deaths = self.sockets.take_deaths(&self.recorder)?;
        let now = self.recorder.now();
        for (packet, stamp) in self.tap.take(&self.recorder)? {
            self.record(|tracker| tracker.see(&packet, stamp));
        }
        for shown in &deaths {
            let death = Death {
                local: shown.local,
                remote: shown.peer,
                info: shown.info.unwrap_or_default(),
            };
            self.record(|tracker| tracker.died(&death, now));
        }
        Ok(())
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

/// What others have seen of the program's connections.
fn heard(probe: &Weak<ProgramProbe>, event: &Event) {
    match &event.what {
        Observation::ServerAccepted { peer, protocol, .. } => {
            let Some(probe) = probe.upgrade() else { return };
            // Its SYN may not have been read yet. What can't be read here, the probe's own task will say.
            let _ = probe.drain();
            probe.record(|tracker| tracker.accepted(*peer, *protocol, event.at()));
        }
        Observation::Segment(segment) if segment.retransmission > 0 && segment.len > 0 => {
            let Some(probe) = probe.upgrade() else { return };
            if probe
                .tracker
                .borrow_mut()
                .sent_again(segment.from, event.at())
            {
                probe.stirred.notify_one();
            }
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
