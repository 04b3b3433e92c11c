//! Clients that do something else than ask, be answered and pause.

use super::{Dice, Knobs, keepalive, service_of, user_timeout, when};

fn watch(dice: &mut Dice) -> String {
    match dice.one_in(3) {
        true => "watch: {}".to_owned(),
        false => format!("watch: {{ push: {}ms, every: 2s }}", dice.from(500, 60_000)),
    }
}

pub(super) fn reading(dice: &mut Dice, knobs: &mut Knobs) {
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

pub(super) fn several(dice: &mut Dice, knobs: &mut Knobs) {
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

pub(super) fn side_by_side(dice: &mut Dice, knobs: &mut Knobs) {
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

pub(super) fn heartbeats(dice: &mut Dice, knobs: &mut Knobs) {
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
