//! Packets kept beside a record: tshark opens the file, finds what happened where it happened, and counts as the record
//! does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halfopen::record::{Event, Observation, Segment};
use tempfile::TempDir;

use crate::command::{Run, changed, halfopen, kernel_or_skip, outcome, repository, two_seconds};
use crate::{machine, needs};

/// A case that was run, with its record and packets.
struct Kept {
    _folder: TempDir,
    packets: PathBuf,
    events: Vec<Event>,
}

impl Kept {
    /// Runs `scenario`, called `name`, on `clock`.
    fn of(scenario: &Path, name: &str, clock: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8").to_owned();
        let run = Run::of(&[scenario], &["--clock", clock, "--record", &path]);
        run.outcome.assert(0, &[]);
        Self::read(folder, name)
    }

    fn read(folder: TempDir, name: &str) -> Self {
        let record = folder.path().join(format!("{name}--default.ndjson"));
        let record = fs::read_to_string(record).expect("a record");
        let event = |line| serde_json::from_str(line).expect("an event");
        Self {
            packets: folder.path().join(format!("{name}--default.pcapng")),
            events: record.lines().map(event).collect(),
            _folder: folder,
        }
    }

    /// What tshark says of `fields` of the packets that `filter` lets through.
    fn tshark(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut command = needs::program("tshark");
        command.args([
            "-n",
            "-T",
            "fields",
            "-E",
            "separator=|",
            "-E",
            "aggregator=;",
        ]);
        command.args(["-Y", filter]).arg("-r").arg(&self.packets);
        for field in fields {
            command.args(["-e", field]);
        }
        let said = outcome(command.env("HOME", self.packets.parent().expect("a folder")));
        said.assert(0, &[]);
        let lines = said.stdout.lines();
        lines
            .map(|line| line.split('|').map(str::to_owned).collect())
            .collect()
    }

    /// The stamps, in nanoseconds, and source ports of the segments that `filter` lets through.
    fn sent(&self, filter: &str) -> BTreeSet<(u64, u16)> {
        let lines = self.tshark(filter, &["frame.time_epoch", "tcp.srcport"]);
        let sent = lines.iter();
        sent.map(|line| (nanoseconds(&line[0]), line[1].parse().expect("a port")))
            .collect()
    }

    /// The same with one link's packets alone. On several links of one path a segment is seen several times, and tshark
    /// takes that for retransmissions.
    fn only(mut self, link: &str) -> Self {
        let one = self.packets.with_extension(link);
        let mut command = needs::program("tshark");
        command
            .args(["-n", "-F", "pcapng", "-Y"])
            .arg(format!("frame.interface_name == \"{link}\""))
            .arg("-r")
            .arg(&self.packets)
            .arg("-w")
            .arg(&one);
        outcome(&mut command).assert(0, &[]);
        self.packets = one;
        self
    }

    /// Those of the nodes' links: what passes a pod's as well is in the record twice.
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.events.iter().filter_map(|event| match &event.what {
            Observation::Segment(segment) if segment.node.starts_with("node") => Some(segment),
            _ => None,
        })
    }

    fn warnings(&self) -> Vec<&str> {
        let warnings = self.events.iter().filter_map(|event| match &event.what {
            Observation::Warning { text } => Some(text.as_str()),
            _ => None,
        });
        warnings.collect()
    }

    /// The file's bytes, as far as they are text.
    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.packets).expect("packets")).into_owned()
    }
}

/// `3.004066304` s.
fn nanoseconds(seconds: &str) -> u64 {
    let (whole, part) = seconds.split_once('.').expect("a fraction");
    assert_eq!(part.len(), 9, "nanoseconds: {seconds}");
    whole.parse::<u64>().expect("seconds") * 1_000_000_000 + part.parse::<u64>().expect("digits")
}

/// Stamps and source ports of `segments`.
fn recorded<'a>(segments: impl Iterator<Item = &'a Segment>) -> BTreeSet<(u64, u16)> {
    let sent = segments.map(|segment| (segment.stamp_ns, segment.from.port()));
    sent.collect()
}

#[test]
fn the_quickstart_s_packets_tell_its_story() {
    if kernel_or_skip().is_none() {
        return;
    }
    let scenario = repository("scenarios/quickstart.yaml");
    let kept = Kept::of(&scenario, "quickstart", "virtual");

    let links: BTreeSet<String> = kept
        .tshark("frame", &["frame.interface_name"])
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        links,
        BTreeSet::from(["node1".to_owned()]),
        "where the clients are"
    );
    // The resolution is nanoseconds, and no grid of microseconds.
    assert!(kept.sent("tcp").iter().any(|(stamp, _)| stamp % 1000 != 0));

    let comments = kept.tshark("frame.comment", &["frame.time_epoch", "frame.comment"]);
    let when = |text: &str| {
        let found: Vec<_> = comments
            .iter()
            .filter(|line| line[1].contains(text))
            .collect();
        assert_eq!(found.len(), 1, "`{text}` in {comments:?}");
        Duration::from_nanos(nanoseconds(&found[0][0]))
    };
    let injected = |event: &&Event| matches!(event.what, Observation::FaultInjected { .. });
    let fault = kept.events.iter().find(injected).expect("a fault").at();
    assert!(when("fault: power_loss of node3") >= fault);
    assert!(when("fault: power_loss of node3") < fault + Duration::from_millis(500));
    let removed = |event: &&Event| matches!(event.what, Observation::EndpointRemoved { .. });
    let removal = kept.events.iter().find(removed).expect("a removal").at();
    assert!(when("endpoint removal: web-1 has left the rules of web") >= removal);
    for client in ["h1-no-timeout", "h1-timeout", "h2-timeout", "h2-ping"] {
        let detection = when(&format!("detection: {client} "));
        let recovery = when(&format!("recovery: {client} "));
        assert!(fault < detection && detection <= recovery, "{client}");
    }

    // What tshark finds out by itself of segments sent again is what the record says.
    let again = recorded(kept.segments().filter(|s| s.retransmission > 0));
    assert!(again.len() > 20, "{again:?}");
    assert_eq!(kept.sent("tcp.analysis.retransmission"), again);
    // And every SYN of the record is in the file, at the same time.
    let syns = recorded(kept.segments().filter(|s| s.flags == "S"));
    assert_eq!(kept.sent("tcp.flags.syn == 1 && tcp.flags.ack == 0"), syns);
}

#[test]
fn links_of_all_kinds_and_keepalive_probes() {
    if kernel_or_skip().is_none() {
        return;
    }
    let scenario = repository("fixtures/scenarios/idle-links.yaml");
    let kept = Kept::of(&scenario, "idle-links", "virtual");
    let on = |link: &str, filter: &str| {
        kept.sent(&format!("frame.interface_name == \"{link}\" && {filter}"))
    };
    // A client on its node is seen on the node's uplink, as is the pod's; the pod's own link has the address before DNAT.
    assert!(!on("node1", "ip.dst == 192.168.3.2").is_empty());
    assert!(on("node1", "ip.dst == 192.168.255.220").is_empty());
    assert!(!on("in-pod", "ip.dst == 192.168.255.220").is_empty());
    assert!(!on("web-2", "tcp").is_empty());
    assert!(
        on("in-pod", "ip.src == 10.0.0.1").is_empty(),
        "another's packets"
    );
    // Directions, as the link's own namespace sees them.
    let sent = "frame.packet_flags_direction == 2 && ip.src == 192.168.1.2";
    assert!(!on("in-pod", sent).is_empty());
    assert!(
        on(
            "in-pod",
            "frame.packet_flags_direction == 1 && ip.src == 192.168.1.2"
        )
        .is_empty()
    );

    let probes = recorded(
        kept.segments()
            .filter(|s| s.retransmission > 0 && s.len <= 1),
    );
    assert!(probes.len() >= 6, "{probes:?}");
    let again = recorded(
        kept.segments()
            .filter(|s| s.retransmission > 0 && s.len > 1),
    );
    let kept = kept.only("node1");
    assert_eq!(kept.sent("tcp.analysis.keep_alive"), probes);
    assert_eq!(kept.sent("tcp.analysis.retransmission"), again);
}

#[test]
fn a_long_case_keeps_the_newest_and_says_what_it_dropped() {
    if kernel_or_skip().is_none() {
        return;
    }
    let (_folder, scenario) = changed(
        &two_seconds(),
        &[(
            "duration: 2s",
            "duration: 300s\nprobes: { packets: [node1, poller], packet_limit: 16KiB }",
        )],
    );
    let kept = Kept::of(&scenario, "two-seconds", "virtual");
    let size = fs::metadata(&kept.packets).expect("packets").len();
    // Two links of 16 KiB, blocks and options around each packet, and a head.
    assert!((24 << 10..64 << 10).contains(&size), "{size} bytes");
    let dropped = |link: &str| {
        let start = format!("the packets of {link} are not all kept: of ");
        let warnings = kept.warnings();
        let warning = warnings.iter().find_map(|text| text.strip_prefix(&start));
        let warning = warning.unwrap_or_else(|| panic!("{start} in {warnings:?}"));
        let numbers = warning.split(' ').filter_map(|word| word.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        (numbers[0], numbers[1])
    };
    let text = kept.text();
    for link in ["node1", "poller"] {
        let (heard, dropped) = dropped(link);
        assert!(
            heard > 5000 && dropped > heard - 200 && dropped < heard,
            "{link}: {heard} {dropped}"
        );
        assert!(text.contains(&format!(
            "the oldest {dropped} packets are not in this file"
        )));
    }
    // The fault was long ago: it is told on the oldest packet there is.
    assert!(text.contains("fault: power_loss of node3"));
    let (heard, dropped) = dropped("node1");
    let packets = kept.tshark("frame.interface_name == \"node1\"", &["frame.time_epoch"]);
    let stamps: Vec<u64> = packets.iter().map(|line| nanoseconds(&line[0])).collect();
    assert_eq!(stamps.len() as u64, heard - dropped);
    let (first, last) = (stamps.first().expect("one"), stamps.last().expect("one"));
    assert!(
        *first > 280_000_000_000 && *last > 299_000_000_000,
        "{first} to {last}"
    );
}

#[test]
fn on_the_real_clock_as_well() {
    let kept = Kept::of(&two_seconds(), "two-seconds", "real");
    let comments = kept.tshark("frame.comment", &["frame.comment"]);
    let comments: Vec<String> = comments.into_iter().flatten().collect();
    for text in [
        "fault: power_loss of node3",
        "endpoint removal: echo-1",
        "recovery: poller",
    ] {
        assert!(
            comments.iter().any(|c| c.contains(text)),
            "{text}: {comments:?}"
        );
    }
    let again = recorded(kept.segments().filter(|s| s.retransmission > 0));
    assert!(!again.is_empty());
    assert_eq!(kept.sent("tcp.analysis.retransmission"), again);
}

#[test]
fn without_a_record_no_packets_and_switched_off_no_file() {
    if kernel_or_skip().is_none() {
        return;
    }
    let (_folder, off) = changed(
        &two_seconds(),
        &[("duration: 2s", "duration: 2s\nprobes: { packets: off }")],
    );
    let kept = Kept::of(&off, "two-seconds", "virtual");
    assert!(!kept.packets.exists());
    let empty = tempfile::tempdir().expect("a folder");
    let mut command = halfopen(["run", "--clock", "virtual"]);
    let ended = outcome(command.arg(two_seconds()).current_dir(empty.path()));
    ended.assert(0, &[]);
    assert_eq!(fs::read_dir(empty.path()).expect("a folder").count(), 0);
}

/// What was heard until then is in the file.
#[test]
fn a_lab_that_is_killed_leaves_its_packets() {
    let _turn = machine::beside_others();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = halfopen(["run", "--clock", "real", "--record"]);
    command
        .arg(folder.path())
        .arg(repository("fixtures/scenarios/hundred-seconds.yaml"));
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut running = command.spawn().expect("started");
    let record = folder.path().join("hundred-seconds--default.ndjson");
    let begun = Instant::now();
    let fault = || fs::read_to_string(&record).is_ok_and(|r| r.contains("\"fault_injected\""));
    while !fault() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the fault comes after 3 s"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // Segments sent in vain.
    std::thread::sleep(Duration::from_secs(2));
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let children = fs::read_to_string(children).expect("/proc");
    let lab: i32 = children
        .split_whitespace()
        .next()
        .expect("a lab")
        .parse()
        .expect("a number");
    let lab = nix::unistd::Pid::from_raw(lab);
    nix::sys::signal::kill(lab, nix::sys::signal::Signal::SIGKILL).expect("killed");
    let code = running.wait().expect("it ends").code();
    assert_eq!(code, Some(3), "the rig is broken");
    let kept = Kept::read(folder, "hundred-seconds");
    let text = kept.text();
    assert!(text.contains("fault: power_loss of node3") && text.contains("the rig broke: "));
    let again = recorded(kept.segments().filter(|s| s.retransmission > 0));
    assert!(!again.is_empty());
    assert_eq!(kept.sent("tcp.analysis.retransmission"), again);
}

/// Faults strike packets as they are on a wire, not the 64 KiB that a kernel would pass as one.
#[test]
fn no_packet_is_longer_than_a_wire_takes() {
    let scenario = r#"
name: bulk
nodes: [node1, node2]
servers: { web: { node: node2 } }
clients:
  reader: { node: node1, url: http://web/, profile: bare, workload: { stream: { download: { rate: 400kB, duration: 2s } } } }
faults:
  - { at: 2500ms, fault: { power_loss: { node: node2 } } }
probes: { packets: [reader, node2], packet_limit: 4MiB }
duration: 3s
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bulk.yaml");
    fs::write(&file, scenario).expect("written");
    let clocks = ["real"]
        .into_iter()
        .chain(kernel_or_skip().map(|_| "virtual"));
    for clock in clocks {
        let kept = Kept::of(&file, "bulk", clock);
        let mut sent = std::collections::BTreeMap::<String, u64>::new();
        for line in kept.tshark("tcp", &["frame.interface_name", "ip.len"]) {
            let length: u64 = line[1].parse().expect("a length");
            assert!(length <= 1500, "{clock}: {length} bytes on {}", line[0]);
            *sent.entry(line[0].clone()).or_default() += length;
        }
        assert_eq!(sent.len(), 2, "{clock}: {sent:?}");
        for (link, sent) in sent {
            assert!(sent > 800_000, "{clock}: {sent} bytes on {link}");
        }
    }
}
