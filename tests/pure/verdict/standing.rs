//! Who leads: by the lock's store, and by what candidates believe meanwhile. Times count from the fault at 10 s.

use halfopen::plan::{Phase, Protocol};
use halfopen::record::Observation;
use halfopen::verdict::judge;

use super::story::Story;

/// What the store and the candidates say, and when.
enum Said {
    Holds(&'static str),
    Believes(&'static str, bool),
}

use Said::{Believes, Holds};

/// Until a client leads, and until it is one of two leaders, in seconds; of `one` and of `two`.
fn standing(said: &[(f64, Said)]) -> [(Option<f64>, Option<f64>); 2] {
    let mut story = Story::new("leaders", 60.0);
    for name in ["one", "two"] {
        story.client(name, 1, Protocol::H1);
    }
    for (n, name) in [(0, "one"), (1, "two")] {
        let t = f64::from(n) * 0.1;
        story.open(1.0 + t, name, 1, "aa-2");
        for number in 1..19 {
            story.exchange(1.0 + t + 3.0 * f64::from(number), name, number, 1, "aa-2");
        }
    }
    story.cut(10.0, &[("one", Phase::Idle), ("two", Phase::Idle)]);
    for (t, said) in said {
        let what = match said {
            Holds(holder) => Observation::LeaderChanged {
                store: "aa".to_owned(),
                holder: Some((*holder).to_owned()),
            },
            Believes(client, leads) => Observation::LeaderBelief {
                client: (*client).to_owned(),
                leads: *leads,
            },
        };
        story.event(*t, what);
    }
    let mut record = story.end();
    record.sort_by_key(|event| event.t_ns);
    let result = judge(&record);
    assert_eq!(result.reason, None, "the case was judged");
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    ["one", "two"].map(|name| {
        let client = result.client(name).expect("a client");
        (
            seconds(client.leads_after),
            seconds(client.two_leaders_after),
        )
    })
}

#[test]
fn who_held_the_lock_at_the_fault_leads_at_once() {
    let [one, two] = standing(&[
        (2.0, Holds("one")),
        (30.0, Holds("two")),
        (45.0, Holds("one")),
    ]);
    assert_eq!((one.0, two.0), (Some(0.0), Some(20.0)));
}

#[test]
fn who_lost_it_before_the_fault_leads_when_it_has_it_again() {
    let [one, two] = standing(&[
        (2.0, Holds("one")),
        (5.0, Holds("two")),
        (25.0, Holds("one")),
    ]);
    assert_eq!((one.0, two.0), (Some(15.0), Some(0.0)));
    let [one, two] = standing(&[(2.0, Holds("one"))]);
    assert_eq!((one.0, two.0), (Some(0.0), None));
}

#[test]
fn two_lead_when_one_believes_it_and_the_store_names_the_other() {
    let handed_over = |stops: f64| {
        let mut said = vec![
            (2.0, Holds("one")),
            (2.1, Believes("one", true)),
            (stops, Believes("one", false)),
            (30.0, Holds("two")),
            (30.1, Believes("two", true)),
        ];
        said.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        standing(&said).map(|(_, two_leaders)| two_leaders)
    };
    assert_eq!(handed_over(20.0), [None, None]);
    assert_eq!(handed_over(35.0), [Some(20.0), Some(20.0)]);
}
