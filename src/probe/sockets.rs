//! TCP sockets through time, as the kernel shows them (sock_diag), of every client and server of a lab.
//!
//! On a silent wire nothing of a socket changes but its timer's running down, so nobody looks by the clock: a socket is
//! looked at when a packet of its connection was seen on an uplink (a retransmission is one, and right after it the timer
//! shows what it was set to anew), when a client or server says something of the connection, and at each stage of the case.
//! A connection on which both ends have sent data since the last fault is left alone, until something is sent again.
//! That a socket is no more the kernel tells by itself, with its last TCP_INFO.

mod arrivals;
mod chatter;
mod diag;
mod history;
mod namespace;
pub(crate) mod options;
pub(crate) mod program;
pub(crate) mod server;
mod tracker;
mod turns;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use self::diag::{Ends, Shown};
use self::history::{History, Observed};
use self::namespace::Sockets;
use super::packets::parse::{ACK, FIN, RST, SYN, TcpSegment};
use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::{LabPlan, Place};
use crate::record::{Event, Observation, Recorder, TcpState};

/// A tick of the slowest kernel (HZ=100), in which a timer fires that has run out.
const A_TICK: Duration = Duration::from_millis(10);
/// The bit of LISTEN in a question for sockets by their state.
const LISTENING: u32 = 1 << 10;

/// Watches the sockets of a lab's clients and servers.
pub struct SocketProbe {
    sites: Vec<Site>,
    /// Which site has an address.
    by_address: BTreeMap<IpAddr, usize>,
    /// Addresses that servers listen on.
    listening: BTreeSet<SocketAddr>,
    /// The sockets of clients' connections, by client and number.
    connections: RefCell<BTreeMap<(String, u32), (usize, Ends)>>,
    /// Which ends of a connection have sent data since the last fault: 1 the lower address, 2 the higher.
    spoken: RefCell<BTreeMap<(SocketAddr, SocketAddr), u8>>,
    /// What has moved since the last look.
    marked: RefCell<BTreeSet<(usize, Ends)>>,
    stirred: Notify,
    /// When the timers run out of sockets of whose end the kernel does not tell, where anybody asks for it.
    ends_by: Option<RefCell<BTreeMap<(usize, Ends), Duration>>>,
    recorder: Recorder,
}

/// A namespace with clients or servers in it.
struct Site {
    node: String,
    /// It is a node's own namespace: its clients' packets are seen after DNAT.
    is_node: bool,
    /// Its clients' and servers' names.
    inhabitants: Vec<String>,
    sockets: Sockets,
    history: RefCell<History>,
    /// Its node has lost its power.
    dead: Cell<bool>,
}

impl SocketProbe {
    /// Watches from now on; `namespace` gives those of the plan's nodes and pods. `None`, and a warning in the record, if
    /// this kernel was built without sock_diag.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if the kernel refuses a socket.
    pub fn open(
        plan: &LabPlan,
        namespace: impl Fn(&Place) -> Rc<Namespace>,
        recorder: &Recorder,
    ) -> Result<Option<Rc<Self>>, LinuxError> {
        let clients = plan.clients.iter().map(|c| (&c.name, &c.place, &c.node));
        let servers = plan.servers.iter().map(|s| (&s.name, &s.place, &s.node));
        let mut places: Vec<&Place> = Vec::new();
        let mut sites: Vec<Site> = Vec::new();
        let mut by_address = BTreeMap::new();
        for (name, place, node) in clients.chain(servers) {
            if let Some(index) = places.iter().position(|known| *known == place) {
                sites[index].inhabitants.push(name.clone());
                continue;
            }
            let (Place::Node(place_name) | Place::Pod(place_name)) = place;
            let addresses = plan.addresses(place).into_iter().flatten();
            by_address.extend(addresses.map(|address| (address, sites.len())));
            places.push(place);
            sites.push(Site {
                node: node.clone(),
                is_node: matches!(place, Place::Node(_)),
                inhabitants: vec![name.clone()],
                sockets: Sockets::open(place_name, &namespace(place))?,
                history: RefCell::new(
                    History::new(place_name).of_program(has_program(plan, place)),
                ),
                dead: Cell::new(false),
            });
        }
        if !has_sock_diag(&sites, recorder)? {
            return Ok(None);
        }
        let listening = plan.servers.iter().flat_map(|server| server.listen.iter());
        let probe = Rc::new(Self {
            sites,
            by_address,
            listening: listening.copied().collect(),
            connections: RefCell::default(),
            spoken: RefCell::default(),
            marked: RefCell::default(),
            stirred: Notify::new(),
            ends_by: (!plan.probes.servers.is_empty()).then(RefCell::default),
            recorder: recorder.clone(),
        });
        let weak = Rc::downgrade(&probe);
        recorder.listen(move |event| {
            if let Some(probe) = weak.upgrade() {
                probe.heard(event);
            }
        });
        Ok(Some(probe))
    }

    /// Records what is seen, until looking fails. Safe to cancel at any time.
    ///
    /// # Errors
    /// As sock_diag(7).
    pub async fn run(&self) -> io::Result<()> {
        let looking = async {
            loop {
                self.stirred_or_ended().await;
                // Who was woken by the same packets does its part first.
                tokio::task::yield_now().await;
                self.look_at_marked()?;
            }
        };
        let listening = self.sites.iter().map(|site| async move {
            loop {
                site.sockets.readable().await?;
                self.take_deaths(site)?;
            }
        });
        let listening = futures_util::future::try_join_all(listening);
        let all: io::Result<(std::convert::Infallible, Vec<std::convert::Infallible>)> =
            futures_util::future::try_join(looking, listening).await;
        all.map(drop)
    }

    /// Waits until something has moved, or a timer has run out.
    async fn stirred_or_ended(&self) {
        let next = self.ends_by.as_ref();
        let next = next.and_then(|by| by.borrow().values().min().copied());
        let Some(next) = next else {
            return self.stirred.notified().await;
        };
        let left = next.saturating_sub(self.recorder.now());
        tokio::select! {
            () = self.stirred.notified() => {}
            () = tokio::time::sleep(left) => {
                let now = self.recorder.now();
                if let Some(by) = &self.ends_by {
                    let over = |(_, at): &(&(usize, Ends), &Duration)| **at <= now;
                    let over: Vec<_> = by.borrow().iter().filter(over).map(|(one, _)| *one).collect();
                    let mut by = by.borrow_mut();
                    for one in &over {
                        by.remove(one);
                    }
                    self.marked.borrow_mut().extend(over);
                }
            }
        }
    }

    /// Of a request socket that is dropped the kernel says nothing: it is looked at when its timer has run out.
    fn note_end_of(&self, site: usize, ends: Ends, shown: Option<&Shown>, now: Duration) {
        let Some(ends_by) = &self.ends_by else { return };
        let request = shown.filter(|shown| shown.state == TcpState::SynReceived);
        let timer = request.and_then(|shown| shown.timer);
        match timer {
            Some(timer) => {
                let left = Duration::from_millis(timer.left_ms.into());
                ends_by
                    .borrow_mut()
                    .insert((site, ends), now + left + A_TICK);
            }
            None => drop(ends_by.borrow_mut().remove(&(site, ends))),
        }
    }

    /// Looks at every socket, now, and records all that is not in the record yet.
    ///
    /// # Errors
    /// As sock_diag(7).
    pub fn look(&self) -> io::Result<()> {
        for (index, site) in self.living() {
            self.take_deaths(site)?;
            let all = site.history.borrow().all();
            let all = all.into_iter().map(|ends| (index, ends));
            self.marked.borrow_mut().extend(all);
        }
        self.look_at_marked()?;
        for (_, site) in self.living() {
            self.record(|| site.history.borrow_mut().flush());
        }
        Ok(())
    }

    /// Something was broken: no connection is known to be well any more.
    pub fn doubt(&self) {
        self.spoken.borrow_mut().clear();
    }

    /// `node` has its power back: what is there now is seen.
    pub fn node_is_back(&self, node: &str) {
        for site in self.sites.iter().filter(|site| site.node == node) {
            site.dead.set(false);
        }
    }

    /// `node` has lost its power: of what was there nothing more is seen.
    pub fn end_node(&self, node: &str) {
        for site in self.sites.iter().filter(|site| site.node == node) {
            site.dead.set(true);
            site.history.borrow_mut().clear();
        }
    }

    /// A TCP segment was seen on an uplink at `stamp`. `telling` if it is one that belongs in the record.
    pub(crate) fn heard_segment(&self, segment: &TcpSegment, stamp: Duration, telling: bool) {
        let opens = segment.has(SYN) && !segment.has(ACK);
        if opens
            && self.listening.contains(&segment.to)
            && let Some(site) = self.site_with(segment.to.ip())
        {
            let ends = (segment.to, segment.from);
            let mut history = self.sites[site].history.borrow_mut();
            history.expect(ends, TcpState::SynReceived, stamp);
        }
        let news = self.is_exchange_news(segment);
        let moves = news || telling || segment.has(SYN | FIN | RST);
        self.mark_end((segment.from, segment.to), moves);
        self.mark_end((segment.to, segment.from), moves);
        if segment.len > 0
            && let Some(site) = self.site_with(segment.from.ip())
        {
            let history = self.sites[site].history.borrow();
            history.in_vain().for_each(|ends| self.mark(site, ends));
        }
    }

    /// Whether a segment's data is worth a look: not where both ends have spoken since the last fault. All is well there, or
    /// something will have to be sent again.
    fn is_exchange_news(&self, segment: &TcpSegment) -> bool {
        let (from, to) = (segment.from, segment.to);
        let key = (from.min(to), from.max(to));
        let mut spoken = self.spoken.borrow_mut();
        if segment.has(SYN | FIN | RST) {
            spoken.remove(&key);
        }
        if segment.len == 0 {
            return false;
        }
        let ends = spoken.entry(key).or_default();
        let both_had = *ends == 3;
        *ends |= if from < to { 1 } else { 2 };
        !both_had
    }

    /// Marks the socket at one end of a segment on the wire. One that does not move more than an acknowledgement is of no
    /// interest to a socket that waits for none.
    fn mark_end(&self, ends: Ends, moves: bool) {
        let Some(index) = self.site_with(ends.0.ip()) else {
            return;
        };
        let history = self.sites[index].history.borrow();
        // The wire shows a client's peer after DNAT, its socket shows it before: its port is enough.
        let found = if history.has(&ends) || self.listening.contains(&ends.0) {
            vec![ends]
        } else {
            history.with(ends.0)
        };
        for ends in found {
            if moves || !history.is_settled(&ends) {
                self.mark(index, ends);
            }
        }
    }

    /// What clients and servers say of their connections.
    fn heard(&self, event: &Event) {
        match &event.what {
            Observation::DialStarted {
                client,
                connection,
                target,
                local: Some(local),
            } => {
                let Some(site) = self.site_with(local.ip()) else {
                    return;
                };
                let ends = (*local, *target);
                let mut history = self.sites[site].history.borrow_mut();
                history.expect(ends, TcpState::SynSent, event.at());
                let connection = (client.clone(), *connection);
                self.connections
                    .borrow_mut()
                    .insert(connection, (site, ends));
                self.mark(site, ends);
            }
            Observation::ConnectionOpened {
                client, connection, ..
            } => self.mark_connection(client, *connection),
            Observation::DialFailed {
                client, connection, ..
            }
            | Observation::ConnectionClosed {
                client, connection, ..
            } => {
                self.mark_connection(client, *connection);
                let connection = (client.clone(), *connection);
                self.connections.borrow_mut().remove(&connection);
            }
            Observation::ServerAccepted { server, peer, .. }
            | Observation::ServerClosed { server, peer, .. } => self.mark_server(server, *peer),
            Observation::ServerListening { server, .. } => {
                let lives = |site: &&Site| site.inhabitants.contains(server);
                if let Some(site) = self.sites.iter().find(lives) {
                    site.dead.set(false);
                }
            }
            Observation::ProgramExited { client, .. } => self.mark_site_of(client),
            _ => {}
        }
    }

    fn mark_connection(&self, client: &str, number: u32) {
        let connection = (client.to_owned(), number);
        let found = self.connections.borrow().get(&connection).copied();
        if let Some((site, (local, _))) = found {
            let all = self.sites[site].history.borrow().with(local);
            all.into_iter().for_each(|ends| self.mark(site, ends));
        }
    }

    fn mark_server(&self, server: &str, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let lives = |site: &Site| site.inhabitants.iter().any(|name| name == server);
        let Some(index) = self.sites.iter().position(lives) else {
            return;
        };
        let own = |address: &&SocketAddr| {
            address.is_ipv4() == peer.is_ipv4() && self.site_with(address.ip()) == Some(index)
        };
        for local in self.listening.iter().filter(own) {
            self.mark(index, (*local, peer));
        }
    }

    fn mark_site_of(&self, inhabitant: &str) {
        for (index, site) in self.living() {
            if site.inhabitants.iter().any(|name| name == inhabitant) {
                let all = site.history.borrow().all();
                all.into_iter().for_each(|ends| self.mark(index, ends));
            }
        }
    }

    fn mark(&self, site: usize, ends: Ends) {
        if self.marked.borrow_mut().insert((site, ends)) {
            self.stirred.notify_one();
        }
    }

    fn site_with(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    fn living(&self) -> impl Iterator<Item = (usize, &Site)> {
        let sites = self.sites.iter().enumerate();
        sites.filter(|(_, site)| !site.dead.get())
    }

    fn look_at_marked(&self) -> io::Result<()> {
        let mut by_site: BTreeMap<usize, Vec<Ends>> = BTreeMap::new();
        for (site, ends) in std::mem::take(&mut *self.marked.borrow_mut()) {
            by_site.entry(site).or_default().push(ends);
        }
        for (index, wanted) in by_site {
            let site = &self.sites[index];
            if site.dead.get() {
                continue;
            }
            let mut found = site.sockets.look(&wanted)?;
            self.look_behind_dnat(site, &wanted, &mut found)?;
            let now = self.recorder.now();
            for (ends, shown) in wanted.iter().zip(found) {
                self.note_end_of(index, *ends, shown.as_ref(), now);
                self.record(|| {
                    let mut history = site.history.borrow_mut();
                    match shown {
                        Some(shown) => history.saw(shown, now),
                        None => history.missed(ends, now),
                    }
                });
            }
        }
        Ok(())
    }

    /// Looks by their own address alone for those sockets on a node of which only the address after DNAT is known.
    fn look_behind_dnat(
        &self,
        site: &Site,
        wanted: &[Ends],
        found: &mut [Option<Shown>],
    ) -> io::Result<()> {
        let history = site.history.borrow();
        let hidden = |(ends, shown): (&Ends, &Option<Shown>)| {
            site.is_node && shown.is_none() && history.expects_client(ends)
        };
        if !wanted.iter().zip(&*found).any(hidden) {
            return Ok(());
        }
        let all = site.sockets.all(!LISTENING)?;
        for (ends, shown) in wanted.iter().zip(found) {
            if hidden((ends, shown)) {
                *shown = all.iter().find(|shown| shown.local == ends.0).cloned();
            }
        }
        Ok(())
    }

    fn take_deaths(&self, site: &Site) -> io::Result<()> {
        let (deaths, more) = site.sockets.take_deaths()?;
        if site.dead.get() {
            return Ok(());
        }
        if more
            && let Some(index) = self
                .sites
                .iter()
                .position(|other| std::ptr::eq(other, site))
        {
            // Who was not told of is found to be missing.
            let all = site.history.borrow().all();
            all.into_iter().for_each(|ends| self.mark(index, ends));
        }
        if deaths.is_empty() {
            return Ok(());
        }
        let ends: Vec<Ends> = deaths.iter().map(Shown::ends).collect();
        let memories = site.sockets.look(&ends)?;
        let now = self.recorder.now();
        for (shown, memory) in deaths.into_iter().zip(memories) {
            self.record(|| site.history.borrow_mut().died(shown, memory, now));
        }
        Ok(())
    }

    fn record(&self, learn: impl FnOnce() -> Observed) {
        // Nothing is borrowed any more: who hears of an event may ask for more.
        for (at, what) in learn() {
            self.recorder.emit_at(at, what);
        }
    }
}

/// Whether a client that is a program lives there.
fn has_program(plan: &LabPlan, place: &Place) -> bool {
    let mut clients = plan.clients.iter();
    clients.any(|client| client.place == *place && client.program().is_some())
}

/// Whether the kernel can be asked at all; if not, a warning says so.
fn has_sock_diag(sites: &[Site], recorder: &Recorder) -> Result<bool, LinuxError> {
    let Some(first) = sites.first() else {
        return Ok(true);
    };
    match first.sockets.all(LISTENING) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            let text = "this kernel was built without sock_diag (CONFIG_INET_DIAG): no sockets are in the record";
            recorder.emit(Observation::Warning {
                text: text.to_owned(),
            });
            Ok(false)
        }
        Err(source) => Err(LinuxError::kernel("asking for sockets")(source)),
    }
}
