//! What the kernel counts in each namespace: TCP, IP and ICMP (as `nstat` shows them), and conntrack.
//!
//! The files are opened once, in their namespace, and stay with it; each reading of one from its beginning is made anew.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use crate::linux::LinuxError;
use crate::linux::namespace::Namespace;
use crate::plan::{LabPlan, Location, Place};
use crate::record::{Observation, Recorder, Stage};

/// Groups of `/proc/net/snmp` and `/proc/net/netstat` that are kept.
const GROUPS: [&str; 4] = ["Ip", "Icmp", "Tcp", "TcpExt"];
/// What stands among them and counts nothing: settings, and what rises and falls.
const NO_COUNTERS: [&str; 7] = [
    "Forwarding",
    "DefaultTTL",
    "RtoAlgorithm",
    "RtoMin",
    "RtoMax",
    "MaxConn",
    "CurrEstab",
];
/// How conntrack's counters are called in the record, by the file they stand in.
const CONNTRACK: &str = "nf_conntrack";
/// Room for a whole file at once.
const ROOM: usize = 32 << 10;

/// Reads the counters of a lab's namespaces.
pub struct CounterProbe {
    sites: Vec<Site>,
    room: RefCell<Vec<u8>>,
}

/// A node or pod.
struct Site {
    place: String,
    node: String,
    /// `snmp` and `netstat`.
    network: [File; 2],
    /// None in a pod, which has no rules, and on kernels without that file.
    conntrack: Option<File>,
    last: RefCell<BTreeMap<String, u64>>,
    /// Its node has lost its power.
    dead: Cell<bool>,
}

impl CounterProbe {
    /// Opens the counters of every node and pod of `plan`; `namespace` gives theirs.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if /proc is not there or a namespace can't be entered.
    pub fn open(
        plan: &LabPlan,
        namespace: impl Fn(&Place) -> Rc<Namespace>,
    ) -> Result<Self, LinuxError> {
        let nodes = plan.nodes.iter().map(|node| Place::Node(node.name.clone()));
        let pods = plan.pods.iter().map(|pod| Place::Pod(pod.name.clone()));
        let site = |place: Place| {
            let opened = namespace(&place).enter(|| open(&place));
            let (network, conntrack) =
                opened.map_err(LinuxError::kernel("opening a namespace's counters"))?;
            let node = plan.node_of(&place).unwrap_or_default().to_owned();
            let (Place::Node(name) | Place::Pod(name)) = place;
            Ok(Site {
                place: name,
                node,
                network,
                conntrack,
                last: RefCell::default(),
                dead: Cell::new(false),
            })
        };
        let probe = Self {
            sites: nodes.chain(pods).map(site).collect::<Result<_, _>>()?,
            room: RefCell::new(vec![0; ROOM]),
        };
        probe.has_all(&plan.probes.named_counters)?;
        Ok(probe)
    }

    /// Whether this kernel counts what is asked for by name: what is not there would read as never having grown.
    fn has_all(&self, named: &[(String, Location)]) -> Result<(), LinuxError> {
        if named.is_empty() {
            return Ok(());
        }
        let mut known = HashSet::new();
        for site in &self.sites {
            let read = site.each(&mut self.room.borrow_mut(), |name, _| {
                known.insert(name);
            });
            read.map_err(LinuxError::kernel("reading a namespace's counters"))?;
        }
        match named.iter().find(|(name, _)| !known.contains(name)) {
            None => Ok(()),
            Some((name, location)) => Err(LinuxError::Missing {
                what: format!("a counter {name}"),
                location: Some(location.clone()),
            }),
        }
    }

    /// Records what has been counted since the last look, or, at the first, since the namespaces were made. Of a namespace
    /// where nothing was, nothing is recorded.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub fn look(&self, stage: &Stage, recorder: &Recorder) -> io::Result<()> {
        for site in self.sites.iter().filter(|site| !site.dead.get()) {
            let deltas = site.look(&mut self.room.borrow_mut())?;
            if !deltas.is_empty() {
                recorder.emit(Observation::Counters {
                    place: site.place.clone(),
                    stage: stage.clone(),
                    deltas,
                });
            }
        }
        Ok(())
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
        }
    }
}

impl Site {
    fn look(&self, room: &mut [u8]) -> io::Result<BTreeMap<String, u64>> {
        let mut deltas = BTreeMap::new();
        let mut last = self.last.borrow_mut();
        self.each(room, |name, value| {
            let before = last.insert(name.clone(), value).unwrap_or(0);
            if value > before {
                deltas.insert(name, value - before);
            }
        })?;
        Ok(deltas)
    }

    /// Has `count` see every counter and its value.
    fn each(&self, room: &mut [u8], mut count: impl FnMut(String, u64)) -> io::Result<()> {
        for file in &self.network {
            network_counters(&read(file, room)?, &mut count);
        }
        if let Some(file) = &self.conntrack {
            conntrack_counters(&read(file, room)?, &mut count);
        }
        Ok(())
    }
}

fn open(place: &Place) -> io::Result<([File; 2], Option<File>)> {
    let network = [
        File::open("/proc/thread-self/net/snmp")?,
        File::open("/proc/thread-self/net/netstat")?,
    ];
    let conntrack = match place {
        Place::Node(_) => File::open("/proc/thread-self/net/stat/nf_conntrack").ok(),
        Place::Pod(_) => None,
    };
    Ok((network, conntrack))
}

fn read(file: &File, room: &mut [u8]) -> io::Result<String> {
    let length = file.read_at(room, 0)?;
    Ok(String::from_utf8_lossy(&room[..length]).into_owned())
}

/// Pairs of lines, `Group: name …` and `Group: value …`.
fn network_counters(text: &str, count: &mut impl FnMut(String, u64)) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            return;
        };
        if !GROUPS.contains(&group) {
            continue;
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // Settings may be negative.
            if let (false, Ok(value)) = (NO_COUNTERS.contains(&name), value.parse()) {
                count(format!("{group}.{name}"), value);
            }
        }
    }
}

/// A line of names, and one of hexadecimal values for each processor. `entries` is not a counter.
fn conntrack_counters(text: &str, count: &mut impl FnMut(String, u64)) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut sums = vec![0_u64; names.len()];
    for line in lines {
        for (sum, value) in sums.iter_mut().zip(line.split_whitespace()) {
            *sum += u64::from_str_radix(value, 16).unwrap_or(0);
        }
    }
    for (name, sum) in names.into_iter().zip(sums) {
        if name != "entries" {
            count(format!("{CONNTRACK}.{name}"), sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(read: impl Fn(&mut dyn FnMut(String, u64))) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        read(&mut |name, value| all.push((name, value)));
        all
    }

    #[test]
    fn names_stand_above_their_values() {
        let text = "Tcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab RetransSegs\nTcp: 1 -1 3 4 15\n\
                    IpExt: InOctets\nIpExt: 5\nTcpExt: TCPTimeouts\nTcpExt: 14\nTcpExt: torn";
        assert_eq!(
            counted(|mut count| network_counters(text, &mut count)),
            [
                ("Tcp.ActiveOpens".to_owned(), 3),
                ("Tcp.RetransSegs".to_owned(), 15),
                ("TcpExt.TCPTimeouts".to_owned(), 14)
            ]
        );
    }

    #[test]
    fn conntrack_s_are_hexadecimal_and_one_line_a_processor() {
        let text = "entries  clashres found insert_failed\n00000002  00000000 0000000a 00000001\n\
                    00000002  00000000 00000006 00000000\n";
        assert_eq!(
            counted(|mut count| conntrack_counters(text, &mut count)),
            [
                ("nf_conntrack.clashres".to_owned(), 0),
                ("nf_conntrack.found".to_owned(), 16),
                ("nf_conntrack.insert_failed".to_owned(), 1)
            ]
        );
    }
}
