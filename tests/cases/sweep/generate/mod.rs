//! Random scenarios, the same ones for the same seed.

mod healing;
mod kind;
mod works;
mod yaml;

use halfopen::scenario::{PlanOptions, parse, render};
use healing::{healed, power_back, sequence};
pub(crate) use kind::Kind;
use works::{heartbeats, reading, several, side_by_side};

/// A scenario of one case with one client, `c`, or with another one, `d`, as well.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) yaml: String,
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
