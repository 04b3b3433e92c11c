//! Random scenarios, the same ones for the same seed.

use std::fmt::Write as _;

use halfopen::scenario::{PlanOptions, parse, render};

/// A scenario of one case with one client, `c`, or with another one, `d`, as well.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) yaml: String,
}

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Cut before a request is written: retransmission, or TCP_USER_TIMEOUT.
    Unacknowledged,
    /// Cut at a time, whatever the client is doing.
    AtATime,
    /// Cut while a request is acknowledged and its response awaited: keepalive, or TCP_USER_TIMEOUT with it.
    Waiting,
    /// Cut in a pause that is longer than keepalive takes.
    Idle,
    /// The client's own limits on a request.
    Limits,
    /// HTTP/2's health check.
    Ping,
    /// A service with endpoints that live on: dials that chance sends to the dead one.
    Service,
    /// Dials of a node that is dead already: the kernel's timers of SYNs.
    Dial,
    /// The dead node's link-layer address does not resolve: ICMP undoes back-off, or (IPv6) does not.
    NeighbourDead,
    /// A pool closes what lies idle, a stream's connection too.
    Pool,
    /// A service's entry in conntrack runs out in a pause, or between two retransmissions.
    Conntrack,
    /// A client that dials for each request, with a dead endpoint that stays for some time or for ever.
    EachDials,
    /// Two services over the same servers, a client of each.
    TwoServices,
    /// A path that is dead for a time.
    Healed,
    /// A node whose power is back after a time.
    PowerBack,
    /// A response that goes on: a watch, a download, messages.
    Reading,
    /// Several workloads on one connection of HTTP/2.
    Several,
    /// Several workloads over HTTP/1.1, a connection each.
    SideBySide,
    /// A node's heartbeats, by themselves or beside a watch.
    Heartbeats,
    /// Faults one after the other.
    Sequence,
}

impl Kind {
    /// Those of faults that last.
    pub(crate) const ALL: [Self; 13] = [
        Self::Unacknowledged,
        Self::AtATime,
        Self::Waiting,
        Self::Idle,
        Self::Limits,
        Self::Ping,
        Self::Service,
        Self::Dial,
        Self::NeighbourDead,
        Self::Pool,
        Self::Conntrack,
        Self::EachDials,
        Self::TwoServices,
    ];

    /// Its name in the summary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unacknowledged => "request unacknowledged",
            Self::AtATime => "at a time",
            Self::Waiting => "waiting for the response",
            Self::Idle => "idle, keepalive",
            Self::Limits => "request and read timeouts",
            Self::Ping => "HTTP/2 PING",
            Self::Service => "service with live endpoints",
            Self::Dial => "dials of a dead node",
            Self::NeighbourDead => "neighbour dead",
            Self::Pool => "idle timeout of a pool",
            Self::Conntrack => "conntrack forgets",
            Self::EachDials => "a dial for each request",
            Self::TwoServices => "two services",
            Self::Healed => "a path that heals",
            Self::PowerBack => "power that comes back",
            Self::Reading => "responses that go on",
            Self::Several => "several workloads",
            Self::SideBySide => "several workloads over HTTP/1.1",
            Self::Heartbeats => "heartbeats",
            Self::Sequence => "one fault after the other",
        }
    }

    /// Of all shares together.
    fn share(self) -> u64 {
        match self {
            Self::Unacknowledged => 5,
            Self::AtATime => 4,
            Self::Waiting | Self::Idle | Self::Limits | Self::Ping | Self::Service => 2,
            Self::NeighbourDead => 3,
            Self::Pool | Self::Conntrack | Self::EachDials => 2,
            Self::TwoServices | Self::Dial | Self::Healed | Self::PowerBack | Self::Several => 1,
            Self::Reading => 3,
            Self::SideBySide | Self::Heartbeats | Self::Sequence => 1,
        }
    }
}

/// Steele, Lea and Flood's splitmix64: small, and no library's next version changes it.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`, both included.
    fn from(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// The knobs of one case, as they stand in YAML.
#[derive(Default)]
struct Knobs {
    sysctls: Vec<String>,
    transport: Vec<String>,
    profile: &'static str,
    every: u64,
    start: u64,
    server: String,
    tls: bool,
    rtt: Option<u64>,
    fault: String,
    others: u64,
    /// `None` = the dead endpoint stays.
    removal: Option<u64>,
    pinned: bool,
    host_network: bool,
    ipv6: bool,
    neighbour_dead: bool,
    two: bool,
    duration: Option<u64>,
    /// How long the fault lasts, in milliseconds.
    lasts: Option<u64>,
    /// Where packets vanish; `None` = n2 loses its power.
    loss: Option<String>,
    /// What it does in place of polling.
    work: Option<String>,
    /// In place of the one fault.
    faults: Vec<String>,
    /// How long it takes until a node's endpoints are in the rules again.
    readiness: Option<u64>,
}

/// Case number `number` of the sweep. `modern`: the kernel has every sysctl.
pub(crate) fn draw(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    draw_of(&Kind::ALL, dice, number, modern)
}

/// The same of the sweep of faults that heal.
pub(crate) fn draw_healing(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    draw_of(&[Kind::Healed, Kind::PowerBack], dice, number, modern)
}

/// The same of the sweep of responses that go on.
pub(crate) fn draw_reading(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    draw_of(&[Kind::Reading, Kind::Several], dice, number, modern)
}

/// The same of the sweep of what is done at once.
pub(crate) fn draw_at_once(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    draw_of(&[Kind::SideBySide, Kind::Heartbeats], dice, number, modern)
}

/// The same of the sweep of faults that follow each other.
pub(crate) fn draw_sequence(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    draw_of(&[Kind::Sequence], dice, number, modern)
}

fn draw_of(kinds: &[Kind], dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    let shares: u64 = kinds.iter().map(|kind| kind.share()).sum();
    let mut place = dice.next() % shares;
    let kind = *kinds
        .iter()
        .find(|kind| match place.checked_sub(kind.share()) {
            Some(left) => {
                place = left;
                false
            }
            None => true,
        })
        .expect("a kind");
    let mut knobs = Knobs {
        profile: "bare",
        every: dice.from(900, 9_000),
        ..Knobs::default()
    };
    if dice.one_in(2) {
        knobs.rtt = Some(match dice.one_in(3) {
            true => dice.from(100, 400),
            false => dice.from(1, 100),
        });
    }
    knobs.tls = dice.one_in(4);
    retries(dice, &mut knobs, modern);
    match kind {
        Kind::Unacknowledged => unacknowledged(dice, &mut knobs),
        Kind::AtATime => at_a_time(dice, &mut knobs),
        Kind::Waiting => waiting(dice, &mut knobs),
        Kind::Idle => idle(dice, &mut knobs),
        Kind::Limits => limits(dice, &mut knobs),
        Kind::Ping => ping(dice, &mut knobs),
        Kind::Service => service(dice, &mut knobs),
        Kind::Dial => dial(dice, &mut knobs, modern),
        Kind::NeighbourDead => neighbour_dead(dice, &mut knobs),
        Kind::Pool => pool(dice, &mut knobs),
        Kind::Conntrack => conntrack(dice, &mut knobs),
        Kind::EachDials => each_dials(dice, &mut knobs),
        Kind::TwoServices => two_services(dice, &mut knobs),
        Kind::Healed => healed(dice, &mut knobs, modern),
        Kind::PowerBack => power_back(dice, &mut knobs, modern),
        Kind::Reading => reading(dice, &mut knobs),
        Kind::Several => several(dice, &mut knobs),
        Kind::SideBySide => side_by_side(dice, &mut knobs),
        Kind::Heartbeats => heartbeats(dice, &mut knobs),
        Kind::Sequence => sequence(dice, &mut knobs),
    }
    let at_once = knobs.server.is_empty() && !matches!(kind, Kind::Dial | Kind::Idle);
    if at_once && dice.one_in(4) {
        knobs.server = format!(", response_delay: {}ms", dice.from(50, 1_000));
    }
    let name = format!("sweep-{number:03}");
    let mut yaml = knobs.yaml(&name);
    // Where no request can succeed in its time, nothing is predicted to end.
    if let Err(errors) = parse(&name, &yaml, &PlanOptions::default()) {
        assert!(knobs.duration.is_none(), "{}", render(&errors, false));
        knobs.duration = Some(120);
        yaml = knobs.yaml(&name);
    }
    Drawn { name, kind, yaml }
}

fn retries(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
    let retries = match dice.from(0, 19) {
        0 => 15,
        1 => dice.from(0, 2),
        _ => dice.from(3, 10),
    };
    let sysctl = |name: &str, value: u64| format!("net.ipv4.tcp_{name}: {value}");
    knobs.sysctls.push(sysctl("retries2", retries));
    if modern && dice.one_in(6) {
        knobs
            .sysctls
            .push(sysctl("rto_max_ms", dice.from(1_000, 60_000)));
    }
    if modern && dice.one_in(8) {
        knobs
            .sysctls
            .push(sysctl("rto_min_us", dice.from(5_000, 200_000)));
    }
    if dice.one_in(10) {
        knobs.sysctls.push(sysctl("early_retrans", 0));
    }
}

fn keepalive(dice: &mut Dice, longest: u64) -> String {
    let (idle, interval, count) = (
        dice.from(1, longest),
        dice.from(1, longest),
        dice.from(1, 9),
    );
    format!("keepalive: {{ idle: {idle}s, interval: {interval}s, count: {count} }}")
}

fn user_timeout(dice: &mut Dice, longest_ms: u64) -> String {
    format!("user_timeout: {}ms", dice.from(500, longest_ms))
}

fn when(phase: &str, after: u64) -> String {
    format!("when: {{ client: c, phase: {phase}, after: {after}ms }}")
}

fn unacknowledged(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 90_000));
    }
    if dice.one_in(3) {
        knobs.transport.push(keepalive(dice, 20));
    }
    knobs.fault = when("request_unacknowledged", dice.from(1_000, 20_000));
}

fn at_a_time(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 60_000));
    }
    if dice.one_in(2) {
        knobs.transport.push(keepalive(dice, 15));
    }
    knobs.fault = format!("at: {}ms", dice.from(2_500, 30_000));
}

fn waiting(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.transport.push(keepalive(dice, 20));
    if dice.one_in(2) {
        knobs.transport.push(user_timeout(dice, 60_000));
    }
    knobs.server = format!(", response_delay: {}ms", dice.from(200, 4_000));
    knobs.fault = when("waiting_for_response", dice.from(1_000, 15_000));
}

fn idle(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.transport.push(keepalive(dice, 12));
    if dice.one_in(2) {
        knobs.transport.push(user_timeout(dice, 40_000));
    }
    knobs.every = dice.from(60_000, 300_000);
    knobs.fault = match dice.one_in(2) {
        true => when("idle", dice.from(1_000, 5_000)),
        false => format!("at: {}ms", dice.from(2_000, 40_000)),
    };
}

fn limits(dice: &mut Dice, knobs: &mut Knobs) {
    let name = ["request_timeout", "read_timeout"][usize::from(dice.one_in(2))];
    knobs
        .transport
        .push(format!("{name}: {}ms", dice.from(1_500, 9_000)));
    knobs.fault = format!("at: {}ms", dice.from(2_500, 30_000));
}

fn ping(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.profile = "bare-h2";
    knobs.transport.push(format!(
        "ping: {{ idle: {}ms, timeout: {}ms, while_idle: {} }}",
        dice.from(1_000, 15_000),
        dice.from(1_000, 9_000),
        dice.one_in(2)
    ));
    knobs.fault = format!("at: {}ms", dice.from(2_500, 30_000));
}

fn service(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.others = dice.from(1, 3);
    knobs.removal = Some(dice.from(5, 40));
    knobs.pinned = true;
    knobs
        .transport
        .push(format!("request_timeout: {}ms", dice.from(1_500, 9_000)));
    knobs.fault = format!("at: {}ms", dice.from(2_500, 20_000));
}

fn dial(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
    let retries = dice.from(1, 5);
    let sysctl = format!("net.ipv4.tcp_syn_retries: {retries}");
    knobs.sysctls.push(sysctl);
    if modern {
        let sysctl = format!("net.ipv4.tcp_syn_linear_timeouts: {}", dice.from(0, 5));
        knobs.sysctls.push(sysctl);
    }
    if dice.one_in(2) {
        knobs.transport.push(user_timeout(dice, 20_000));
    }
    knobs.start = dice.from(3_000, 9_000);
    knobs.fault = "at: 2s".to_owned();
    knobs.duration = Some(150);
}

fn neighbour_dead(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 60_000));
    }
    if dice.one_in(4) {
        knobs.transport.push(keepalive(dice, 15));
    }
    knobs.neighbour_dead = true;
    knobs.host_network = dice.one_in(4);
    knobs.ipv6 = dice.one_in(4);
    knobs.fault = match dice.one_in(2) {
        true => when("request_unacknowledged", dice.from(1_000, 15_000)),
        false => format!("at: {}ms", dice.from(2_500, 30_000)),
    };
}

fn pool(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.profile = ["bare", "bare-h2"][usize::from(dice.one_in(2))];
    knobs.every = dice.from(5_000, 60_000);
    let limits = [
        format!("idle_timeout: {}ms", dice.from(2_000, 70_000)),
        format!("request_timeout: {}ms", dice.from(2_000, 9_000)),
    ];
    knobs.transport.extend(limits);
    knobs.fault = format!("at: {}ms", dice.from(2_500, 60_000));
}

fn conntrack(dice: &mut Dice, knobs: &mut Knobs) {
    let sysctl = |name: &str, value: u64| format!("net.netfilter.nf_conntrack_tcp_{name}: {value}");
    knobs.sysctls.extend([
        sysctl("timeout_established", dice.from(10, 90)),
        sysctl("loose", dice.from(0, 1)),
    ]);
    if dice.one_in(4) {
        knobs.transport.push(user_timeout(dice, 60_000));
    }
    if dice.one_in(4) {
        knobs.transport.push(keepalive(dice, 20));
    }
    service_of(dice, knobs);
    knobs.every = dice.from(3_000, 150_000);
    knobs.fault = format!("at: {}ms", dice.from(2_500, 20_000));
}

/// With endpoints that live on.
fn service_of(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.others = dice.from(1, 3);
    knobs.removal = Some(dice.from(2, 60));
    knobs.pinned = true;
}

fn each_dials(dice: &mut Dice, knobs: &mut Knobs) {
    service_of(dice, knobs);
    knobs.pinned = dice.one_in(2);
    knobs.every = dice.from(3_000, 20_000);
    knobs.transport.extend([
        format!("idle_timeout: {}ms", dice.from(200, 2_500)),
        format!("dial_timeout: {}ms", dice.from(1_000, 9_000)),
    ]);
    if dice.one_in(3) {
        knobs.removal = None;
        knobs.duration = Some(dice.from(300, 1_800));
    }
    knobs.fault = format!("at: {}ms", dice.from(2_500, 60_000));
}

fn two_services(dice: &mut Dice, knobs: &mut Knobs) {
    service(dice, knobs);
    knobs.two = true;
}

fn healed(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
    healing(dice, knobs, modern);
    knobs.loss = Some(match dice.from(0, 3) {
        0 => "between: [n1, n2]".to_owned(),
        1 => "node: n2".to_owned(),
        2 => "client: c".to_owned(),
        _ => "server: s".to_owned(),
    });
    if dice.one_in(5) {
        service_of(dice, knobs);
    }
}

fn power_back(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
    healing(dice, knobs, modern);
    if dice.one_in(2) {
        service_of(dice, knobs);
    }
}

/// A client of any kind, and a fault that lasts between 0.3 s and 300 s.
fn healing(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
    let sysctl = |name: &str, value: u64| format!("net.ipv4.tcp_{name}: {value}");
    if dice.one_in(5) {
        knobs.sysctls.push(sysctl("thin_linear_timeouts", 1));
    }
    if dice.one_in(4) {
        knobs.sysctls.push(sysctl("syn_retries", dice.from(1, 6)));
    }
    if modern && dice.one_in(4) {
        let linear = dice.from(0, 5);
        knobs.sysctls.push(sysctl("syn_linear_timeouts", linear));
    }
    if dice.one_in(3) {
        // Up to the kernel's own.
        knobs.sysctls.push(sysctl("retries2", dice.from(10, 15)));
        knobs.sysctls.remove(0);
    }
    if dice.one_in(2) {
        knobs.profile = "bare-h2";
    }
    if dice.one_in(3) {
        knobs.transport.push(keepalive(dice, 20));
    }
    if dice.one_in(4) {
        knobs.transport.push(user_timeout(dice, 60_000));
    }
    if dice.one_in(3) {
        let name = ["request_timeout", "read_timeout"][usize::from(dice.one_in(3))];
        let limit = format!("{name}: {}ms", dice.from(1_500, 12_000));
        knobs.transport.push(limit);
    }
    if dice.one_in(3) {
        let limit = format!("dial_timeout: {}ms", dice.from(1_000, 10_000));
        knobs.transport.push(limit);
    }
    if knobs.profile == "bare-h2" && dice.one_in(3) {
        let (idle, timeout) = (dice.from(1_000, 15_000), dice.from(1_000, 9_000));
        let while_idle = dice.one_in(2);
        knobs.transport.push(format!(
            "ping: {{ idle: {idle}ms, timeout: {timeout}ms, while_idle: {while_idle} }}"
        ));
    }
    knobs.every = match dice.from(0, 5) {
        0 => dice.from(200, 900),
        1 => dice.from(20_000, 200_000),
        _ => knobs.every,
    };
    knobs.fault = match dice.from(0, 5) {
        0 => when("request_unacknowledged", dice.from(1_000, 20_000)),
        1 => when("idle", dice.from(1_000, 20_000)),
        2 => {
            knobs.server = format!(", response_delay: {}ms", dice.from(200, 1_000));
            when("waiting_for_response", dice.from(1_000, 20_000))
        }
        _ => format!("at: {}ms", dice.from(2_500, 30_000)),
    };
    // As many short ones as long ones: 0.3 s · 1000^x.
    let exponent = dice.from(0, 1_000_000) as f64 / 1_000_000.0;
    let lasts = (300.0 * 1_000f64.powf(exponent)) as u64;
    knobs.lasts = Some(lasts);
    let pauses = (knobs.every * 4).div_ceil(1_000);
    knobs.duration = Some(100 + pauses + lasts.div_ceil(1_000) * 3);
}

fn watch(dice: &mut Dice) -> String {
    match dice.one_in(3) {
        true => "watch: {}".to_owned(),
        false => format!("watch: {{ push: {}ms, every: 2s }}", dice.from(500, 60_000)),
    }
}

fn reading(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(2) {
        knobs.profile = "bare-h2";
    }
    let limit = match dice.one_in(4) {
        true => format!(", timeout: {}ms", dice.from(20_000, 120_000)),
        false => String::new(),
    };
    knobs.work = Some(match dice.from(0, 3) {
        0 if knobs.profile == "bare-h2" => {
            let interval = dice.from(500, 20_000);
            format!("workload: {{ stream: {{ messages: {{ interval: {interval}ms }} }} }}")
        }
        1 => format!(
            "workload: {{ stream: {{ download: {{ rate: 1KiB, duration: {}s, every: 3s{limit} }} }} }}",
            dice.from(20, 300)
        ),
        _ => format!("workload: {{ {} }}", watch(dice)),
    });
    around_reading(dice, knobs);
    if dice.one_in(4) {
        let limit = dice.from(1_500, 90_000);
        knobs.transport.push(format!("read_timeout: {limit}ms"));
    }
}

fn several(dice: &mut Dice, knobs: &mut Knobs) {
    knobs.profile = "bare-h2";
    let every = dice.from(900, 30_000);
    let other = match dice.from(0, 2) {
        0 => format!("poll: {{ every: {every}ms }}"),
        1 => format!("resync: {{ every: {every}ms, retry_after: 500ms }}"),
        _ => format!("stream: {{ messages: {{ interval: {every}ms }} }}"),
    };
    knobs.work = Some(format!("workloads: [{{ {} }}, {{ {other} }}]", watch(dice)));
    around_reading(dice, knobs);
}

fn side_by_side(dice: &mut Dice, knobs: &mut Knobs) {
    let watched = watch(dice);
    let limit = |dice: &mut Dice| match dice.one_in(2) {
        true => format!(", timeout: {}ms", dice.from(2_000, 40_000)),
        false => String::new(),
    };
    let every = dice.from(900, 30_000);
    let asks = match dice.one_in(2) {
        true => format!("poll: {{ every: {every}ms{} }}", limit(dice)),
        false => {
            let retry = dice.from(5, 5_000);
            format!(
                "resync: {{ every: {every}ms, retry_after: {retry}ms{} }}",
                limit(dice)
            )
        }
    };
    let others = match dice.from(0, 3) {
        0 => {
            let every = dice.from(900, 30_000);
            format!(
                "{{ poll: {{ name: other, every: {every}ms{} }} }}",
                limit(dice)
            )
        }
        1 => format!("{{ {watched} }}, {{ poll: {{ name: same, every: {every}ms }} }}"),
        _ => format!("{{ {watched} }}"),
    };
    knobs.work = Some(format!("workloads: [{{ {asks} }}, {others}]"));
    around_asking(dice, knobs);
}

fn heartbeats(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(2) {
        knobs.profile = "bare-h2";
    }
    let (every, attempts) = (dice.from(2, 15), dice.from(1, 5));
    let lease = match dice.from(0, 3) {
        0 | 1 => "off".to_owned(),
        2 => format!("{}s", every * 4),
        _ => format!("{}s", dice.from(20, 80)),
    };
    let closes = match dice.one_in(3) && attempts > 1 {
        true => ["idle", "all"][usize::from(dice.one_in(3))],
        false => "off",
    };
    let beats = format!(
        "heartbeat: {{ every: {every}s, lease: {lease}, attempts: {attempts}, close_on_failure: {closes}, timeout: {}ms, grace: {}s }}",
        dice.from(1_500, 20_000),
        dice.from(20, 60),
    );
    knobs.work = Some(match dice.one_in(3) {
        true => format!("workloads: [{{ {beats} }}, {{ {} }}]", watch(dice)),
        false => format!("workload: {{ {beats} }}"),
    });
    // Only such a server judges nodes.
    knobs.server = ", app: nodes".to_owned();
    around_asking(dice, knobs);
    if knobs.profile == "bare-h2" && dice.one_in(3) {
        let (idle, timeout) = (dice.from(1_000, 20_000), dice.from(1_000, 9_000));
        knobs
            .transport
            .push(format!("ping: {{ idle: {idle}ms, timeout: {timeout}ms }}"));
    }
}

/// Up to four faults, far enough apart for most to be over before the next one.
fn sequence(dice: &mut Dice, knobs: &mut Knobs) {
    service_of(dice, knobs);
    knobs.others = 3;
    knobs.removal = Some(dice.from(2, 15));
    knobs.readiness = dice.one_in(2).then(|| dice.from(1, 10));
    if dice.one_in(2) {
        knobs.profile = "bare-h2";
        let (idle, timeout) = (dice.from(1_000, 15_000), dice.from(1_000, 9_000));
        knobs
            .transport
            .push(format!("ping: {{ idle: {idle}ms, timeout: {timeout}ms }}"));
    } else {
        let name = ["request_timeout", "read_timeout"][usize::from(dice.one_in(3))];
        knobs
            .transport
            .push(format!("{name}: {}ms", dice.from(1_500, 9_000)));
    }
    knobs
        .transport
        .push(format!("dial_timeout: {}ms", dice.from(1_000, 6_000)));
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 30_000));
    }
    if dice.one_in(3) {
        knobs.transport.push(keepalive(dice, 10));
    }
    let mut at = dice.from(5_000, 30_000);
    // Two nodes stay well.
    let mut dead = 0;
    for node in ["n2", "o0", "o1", "o2"]
        .iter()
        .take(dice.from(2, 4) as usize)
    {
        let lasts = dice.from(1_000, 90_000);
        let fault = match dice.from(0, 3) {
            0 if dead < 2 => {
                dead += 1;
                format!("fault: {{ power_loss: {{ node: {node} }} }}")
            }
            0 | 1 => format!("for: {lasts}ms, fault: {{ power_loss: {{ node: {node} }} }}"),
            2 => format!("for: {lasts}ms, fault: {{ loss: {{ node: {node}, percent: 100 }} }}"),
            _ => format!("for: {lasts}ms, fault: {{ loss: {{ node: n1, percent: 100 }} }}"),
        };
        knobs.faults.push(format!(
            "name: f{}, at: {at}ms, {fault}",
            knobs.faults.len()
        ));
        at += lasts + dice.from(5_000, 200_000);
    }
    knobs.duration = Some(at.div_ceil(1_000) + 300);
}

/// Limits of the connections of a client that does several things at once, and when its server dies.
fn around_asking(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(3) {
        knobs.transport.push(keepalive(dice, 30));
    }
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 90_000));
    }
    if dice.one_in(6) {
        knobs
            .transport
            .push(format!("read_timeout: {}ms", dice.from(2_000, 60_000)));
    }
    if dice.one_in(2) {
        service_of(dice, knobs);
        knobs
            .transport
            .push(format!("dial_timeout: {}ms", dice.from(1_000, 9_000)));
    }
    knobs.fault = format!("at: {}ms", dice.from(2_500, 90_000));
    knobs.duration = Some(1_500);
}

/// Limits of a connection on which a response goes on, and when its server dies.
fn around_reading(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(2) {
        knobs.transport.push(keepalive(dice, 30));
    }
    if dice.one_in(3) {
        knobs.transport.push(user_timeout(dice, 90_000));
    }
    if knobs.profile == "bare-h2" && dice.one_in(2) {
        let (idle, timeout) = (dice.from(1_000, 30_000), dice.from(1_000, 20_000));
        knobs.transport.push(format!(
            "ping: {{ idle: {idle}ms, timeout: {timeout}ms, while_idle: {} }}",
            dice.one_in(2)
        ));
    }
    if dice.one_in(3) {
        service_of(dice, knobs);
        knobs.pinned = true;
    }
    knobs.fault = match dice.one_in(4) {
        true => when("streaming", dice.from(1_000, 60_000)),
        false => format!("at: {}ms", dice.from(2_500, 150_000)),
    };
    knobs.duration = Some(1_500);
}

impl Knobs {
    fn yaml(&self, name: &str) -> String {
        let mut text = format!("name: {name}\n");
        if let Some(duration) = self.duration {
            let _ = writeln!(text, "duration: {duration}s");
        }
        if let Some(rtt) = self.rtt {
            let _ = writeln!(text, "rtt: {rtt}ms");
        }
        let nodes: Vec<_> = (0..self.others).map(|n| format!(", o{n}")).collect();
        let _ = writeln!(text, "nodes: [n1, n2{}]", nodes.concat());
        let _ = writeln!(text, "sysctls: {{ {} }}", self.sysctls.join(", "));
        let tls = if self.tls { ", tls: true" } else { "" };
        let server = &self.server;
        let _ = writeln!(text, "servers:\n  s: {{ node: n2{server}{tls} }}");
        for n in 0..self.others {
            let _ = writeln!(text, "  s{n}: {{ node: o{n}{server}{tls} }}");
        }
        let hosts = self.services(&mut text);
        let scheme = if self.tls { "https" } else { "http" };
        text.push_str("clients:\n");
        let poll = || format!("workload: {{ poll: {{ every: {}ms }} }}", self.every);
        let work = self.work.clone().unwrap_or_else(poll);
        for (client, host) in ["c", "d"].iter().zip(hosts) {
            let place = if self.host_network {
                ", host_network: true"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  {client}: {{ node: n1{place}, url: '{scheme}://{host}/', profile: {}, transport: {{ {} }}, start: {}ms, {work} }}",
                self.profile,
                self.transport.join(", "),
                self.start,
            );
        }
        let dead = if self.neighbour_dead {
            ", neighbour: dead"
        } else {
            ""
        };
        let fault = match &self.loss {
            Some(place) => format!("fault: {{ loss: {{ {place}, percent: 100 }} }}"),
            None => format!("fault: {{ power_loss: {{ node: n2{dead} }} }}"),
        };
        let lasts = self.lasts.map(|ms| format!(", for: {ms}ms"));
        let lasts = lasts.unwrap_or_default();
        text.push_str("faults:\n");
        let own = format!("{}{lasts}, {fault}", self.fault);
        let none = self.faults.is_empty().then_some(&own);
        for fault in self.faults.iter().chain(none) {
            let _ = writeln!(text, "  - {{ {fault} }}");
        }
        text
    }

    /// Writes the services, and gives what clients ask.
    fn services(&self, text: &mut String) -> Vec<&'static str> {
        if self.others == 0 {
            return vec![if self.ipv6 {
                "[fd00:192:168:2::2]"
            } else {
                "s"
            }];
        }
        let names: &[&str] = if self.two { &["web", "api"] } else { &["web"] };
        let all: Vec<_> = (0..self.others).map(|n| format!(", s{n}")).collect();
        let port = if self.tls { 443 } else { 80 };
        let removal = self.removal.map_or("off".to_owned(), |s| format!("{s}s"));
        let pin = if self.pinned { ", pin_first: s" } else { "" };
        let readiness = self.readiness.map(|s| format!(", readiness: {s}s"));
        let readiness = readiness.unwrap_or_default();
        text.push_str("service:\n");
        for (n, name) in names.iter().enumerate() {
            let _ = writeln!(
                text,
                "  {name}: {{ address: '192.168.255.{}:{port}', endpoints: [s{}]{pin}, removal: {removal}{readiness} }}",
                n + 1,
                all.concat(),
            );
        }
        names.to_vec()
    }
}
