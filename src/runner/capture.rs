//! The packets of a case's links while they come, and the file they are in when it is over.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::marks::{Mark, marks};
use super::pcapng::{self, Interface, Packet, Statistics};
use crate::plan::{Case, LabPlan};
use crate::record::{ClockName, Event, Frame, Frames, Observation, SNAP_LENGTH};
use crate::verdict::CaseResult;

/// The packets of a case.
pub(super) struct Capture {
    /// Where there is a place for them.
    path: Option<PathBuf>,
    about: String,
    links: Vec<Link>,
}

/// A link, and its newest packets.
struct Link {
    name: String,
    description: String,
    limit: u64,
    ring: VecDeque<Frame>,
    weight: u64,
    heard: u64,
    lost: u64,
}

impl Capture {
    /// The packets that `case` asks for, to be written to `path`; `None` if it asks for none.
    pub(super) fn new(case: &Case, clock: ClockName, path: Option<PathBuf>) -> Option<Self> {
        let probes = &case.lab.probes;
        if probes.packets.is_empty() {
            return None;
        }
        let link = |name: &String| Link::new(name, &case.lab, probes.packet_limit);
        Some(Self {
            path,
            about: format!("{}/{} on the {clock} clock", case.scenario, case.name),
            links: probes.packets.iter().map(link).collect(),
        })
    }

    /// The file that they are written to.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Takes packets of one of its links.
    pub(super) fn hear(&mut self, frames: &Frames) {
        let Some(link) = self.links.iter_mut().find(|l| l.name == frames.link) else {
            return;
        };
        link.lost += frames.lost;
        link.heard += frames.dropped;
        frames
            .unpack()
            .into_iter()
            .for_each(|frame| link.push(frame));
    }

    /// What is missing, one sentence a link.
    pub(super) fn warnings(&self) -> Vec<String> {
        let lossy = self
            .links
            .iter()
            .filter(|l| l.statistics().dropped() + l.lost > 0);
        lossy
            .map(|link| {
                let statistics = link.statistics();
                format!(
                    "the packets of {} are not all kept: of {} heard the oldest {} had no room within `packet_limit`, and \
                     {} were never heard",
                    link.name,
                    statistics.heard,
                    statistics.dropped(),
                    statistics.lost
                )
            })
            .collect()
    }

    /// Writes the file, with what `events` and `result` tell of the case at the packets where it happened. There is none of
    /// a case that was never played.
    pub(super) fn write(&self, events: &[Event], result: &CaseResult) -> io::Result<()> {
        let is_ready = |event: &Event| matches!(event.what, Observation::LabReady { .. });
        let Some(path) = self.path.as_ref().filter(|_| events.iter().any(is_ready)) else {
            return Ok(());
        };
        let mut packets: Vec<Packet> = Vec::new();
        for (interface, link) in (0..).zip(&self.links) {
            packets.extend(link.ring.iter().map(|frame| Packet {
                interface,
                frame,
                comments: Vec::new(),
            }));
        }
        packets.sort_by_key(|packet| packet.frame.stamp_ns);
        let mut comments = vec![
            self.about.clone(),
            format!(
                "Stamps are the kernel's own, as time from the case's start (1970-01-01 00:00:00 UTC here): the record's \
                 t_ns. Packets are cut to {SNAP_LENGTH} bytes from the IP header on."
            ),
        ];
        if self.links.len() > 1 {
            comments.push(
                "Links of one path carry the same segments, which an analysis of all of them together takes for \
                 retransmissions: look at one link, by frame.interface_name, in a file of its own."
                    .to_owned(),
            );
        }
        for mark in marks(events, result) {
            match self.packet_for(&mark, &packets) {
                Some(place) => packets[place].comments.push(mark.text),
                None => comments.push(mark.text),
            }
        }
        let interfaces: Vec<_> = self.links.iter().map(Link::interface).collect();
        fs::write(path, pcapng::file(&comments, &interfaces, &packets))
    }

    /// The packet that carries a mark: the first at or after it, else the last before it; on a link of its own if there
    /// is one with packets.
    fn packet_for(&self, mark: &Mark, packets: &[Packet]) -> Option<usize> {
        let own = |packet: &&Packet| {
            let link = &self.links[packet.interface as usize];
            mark.links.contains(&link.name)
        };
        let any_own = packets.iter().any(|packet| own(&packet));
        let mut fitting = packets
            .iter()
            .enumerate()
            .filter(|(_, packet)| !any_own || own(packet));
        let last = fitting.clone().next_back();
        fitting
            .find(|(_, packet)| packet.frame.stamp_ns >= mark.at_ns)
            .or(last)
            .map(|(place, _)| place)
    }
}

impl Link {
    fn new(name: &str, plan: &LabPlan, limit: u64) -> Self {
        let description = match plan.node(name) {
            Some(_) => format!("eth0 of node {name}, its uplink: addresses after DNAT"),
            None => format!("eth0 of pod {name}: addresses before DNAT"),
        };
        Self {
            name: name.to_owned(),
            description,
            limit,
            ring: VecDeque::new(),
            weight: 0,
            heard: 0,
            lost: 0,
        }
    }

    fn push(&mut self, frame: Frame) {
        self.heard += 1;
        self.weight += frame.weight();
        self.ring.push_back(frame);
        while self.weight > self.limit
            && let Some(oldest) = self.ring.pop_front()
        {
            self.weight -= oldest.weight();
        }
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            heard: self.heard,
            lost: self.lost,
            kept: self.ring.len() as u64,
        }
    }

    fn interface(&self) -> Interface {
        Interface {
            name: self.name.clone(),
            description: self.description.clone(),
            statistics: self.statistics(),
        }
    }
}
