//! Random scenarios, the same ones for the same seed.

use std::fmt::Write as _;

/// A scenario of one case with one client, `c`.
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
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Unacknowledged,
        Self::AtATime,
        Self::Waiting,
        Self::Idle,
        Self::Limits,
        Self::Ping,
        Self::Service,
        Self::Dial,
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
        }
    }

    /// Of 20 cases.
    fn share(self) -> u64 {
        match self {
            Self::Unacknowledged => 5,
            Self::AtATime => 4,
            Self::Waiting | Self::Idle | Self::Limits | Self::Ping | Self::Service => 2,
            Self::Dial => 1,
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
    removal: u64,
    duration: Option<u64>,
}

/// Case number `number` of the sweep. `modern`: the kernel has every sysctl.
pub(crate) fn draw(dice: &mut Dice, number: usize, modern: bool) -> Drawn {
    let mut place = dice.next() % 20;
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| match place.checked_sub(kind.share()) {
            Some(left) => {
                place = left;
                false
            }
            None => true,
        })
        .expect("shares of 20");
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
    }
    let name = format!("sweep-{number:03}");
    let yaml = knobs.yaml(&name);
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
    knobs.removal = dice.from(5, 40);
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
        let _ = writeln!(text, "servers:\n  s: {{ node: n2{}{tls} }}", self.server);
        let mut host = "s".to_owned();
        if self.others > 0 {
            let all: Vec<_> = (0..self.others).map(|n| format!("s{n}")).collect();
            for (n, name) in all.iter().enumerate() {
                let _ = writeln!(text, "  {name}: {{ node: o{n}{tls} }}");
            }
            let port = if self.tls { 443 } else { 80 };
            let _ = writeln!(
                text,
                "service:\n  web: {{ address: '192.168.255.1:{port}', endpoints: [s, {}], pin_first: s, removal: {}s }}",
                all.join(", "),
                self.removal
            );
            host = "web".to_owned();
        }
        let scheme = if self.tls { "https" } else { "http" };
        let _ = writeln!(
            text,
            "clients:\n  c:\n    node: n1\n    url: {scheme}://{host}/\n    profile: {}\n    transport: {{ {} }}\n    \
             start: {}ms\n    workload: {{ poll: {{ every: {}ms }} }}",
            self.profile,
            self.transport.join(", "),
            self.start,
            self.every
        );
        let fault = "fault: { power_loss: { node: n2 } }";
        let _ = writeln!(text, "faults:\n  - {{ {}, {fault} }}", self.fault);
        text
    }
}
