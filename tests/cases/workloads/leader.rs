//! Leader election as a whole: who leads by the lock's store, and who only believes it.

use serde_json::Value;

use super::case::{Played, Scenario, within};

/// The leader asks the server that dies, the standby the other one: the lease passes on, and the leader lives.
fn election(renew_deadline: &str, more: &'static str) -> Scenario {
    let work = |own: &str| {
        format!(
            "profile: bare-h2, workload: {{ leader_election: {{ every: 3s, timeout: 2s{own} }} }}"
        )
    };
    let leader = work(&format!(", renew_deadline: {renew_deadline}"));
    Scenario {
        app: "lock",
        fault: "at: 20s",
        more,
        ..Scenario::new(
            "60s",
            vec![
                ("leader", format!("url: 'http://s1/', {leader}")),
                (
                    "standby",
                    format!("url: 'http://s2/', start: 1s, {}", work("")),
                ),
            ],
        )
    }
}

const NEVER_TWO: &str =
    "expect:\n  standby: { two_leaders: never, leads: { between: [10s, 17s] } }\n";

fn taken_over(played: &Played) -> &Value {
    let standby = played.client("standby");
    // The last renewal at 18 s, its lease until 33 s, and up to 3 s until the standby's next try.
    within(standby, "leads_after_s", 13.0, 16.1);
    standby
}

#[test]
fn a_leader_that_gives_up_before_its_lease_ends_is_never_one_of_two() {
    let Some(played) = election("10s", NEVER_TWO).play(0) else {
        return;
    };
    assert_eq!(taken_over(&played)["two_leaders_after_s"], Value::Null);
}

#[test]
fn a_leader_that_believes_longer_than_its_lease_is_one_of_two() {
    let Some(played) = election("20s", NEVER_TWO).play(1) else {
        return;
    };
    let standby = taken_over(&played);
    // From the moment the standby leads until 38 s.
    assert_eq!(standby["two_leaders_after_s"], standby["leads_after_s"]);
    let leader = played.client("leader");
    assert_eq!(
        leader["two_leaders_after_s"],
        standby["two_leaders_after_s"]
    );
    let told = [
        "standby.two_leaders: never",
        "two_leaders: never",
        "╰── expected",
    ];
    played.run.outcome.assert(1, &told);
}
