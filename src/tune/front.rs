//! Which settings no other one beats.

use std::time::Duration;

/// What is compared of a setting: how long it takes to recover (`None` = for ever), and what it survives.
pub(super) type Pair = (Option<Duration>, Duration);

/// Whether `a` is as good as `b` in both, and better in one.
fn beats(a: Pair, b: Pair) -> bool {
    let time = |pair: Pair| pair.0.unwrap_or(Duration::MAX);
    let as_good = time(a) <= time(b) && a.1 >= b.1;
    as_good && (time(a) < time(b) || a.1 > b.1)
}

/// Which of them are beaten by none.
pub(super) fn front(all: &[Pair]) -> Vec<bool> {
    let beaten = |one: &Pair| all.iter().any(|other| beats(*other, *one));
    all.iter().map(|one| !beaten(one)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair((recovery, survives): (Option<u64>, u64)) -> Pair {
        (
            recovery.map(Duration::from_secs),
            Duration::from_secs(survives),
        )
    }

    #[test]
    fn who_never_recovers_stands_there_only_by_what_is_survived() {
        let all = [(Some(10), 5), (Some(20), 5), (None, 9), (Some(30), 9)].map(pair);
        assert_eq!(front(&all), [true, false, false, true]);
    }

    proptest! {
        #[test]
        fn nobody_on_the_front_is_beaten_and_everybody_else_is_by_one_of_it(
            all in prop::collection::vec((prop::option::of(0_u64..30), 0_u64..30), 1..40),
        ) {
            let all: Vec<Pair> = all.into_iter().map(pair).collect();
            let on = front(&all);
            prop_assert!(on.contains(&true));
            for (one, is_on) in all.iter().zip(&on) {
                let mut members = all.iter().zip(&on).filter(|(_, on)| **on);
                let beaten = members.any(|(member, _)| beats(*member, *one));
                prop_assert_eq!(beaten, !is_on);
            }
        }
    }
}
