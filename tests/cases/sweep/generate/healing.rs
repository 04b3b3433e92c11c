//! Faults that heal, and faults that follow each other.

use super::{Dice, Knobs, keepalive, service_of, user_timeout, when};

pub(super) fn healed(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
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

pub(super) fn power_back(dice: &mut Dice, knobs: &mut Knobs, modern: bool) {
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

/// Up to four faults, far enough apart for most to be over before the next one.
pub(super) fn sequence(dice: &mut Dice, knobs: &mut Knobs) {
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
