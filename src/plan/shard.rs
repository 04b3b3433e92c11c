//! A run divided among machines that know nothing of each other: each works out alone which cases are its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::Case;
use super::cost::cost;

/// One of the parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub number: u32,
    /// Of how many, at least 1.
    pub of: u32,
}

impl Shard {
    /// A run that is not divided.
    pub const WHOLE: Self = Self { number: 1, of: 1 };
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Why a text names no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// It is not two numbers.
    #[error("write which shard of how many, I/N, e.g. 1/4")]
    Shape,
    /// There are none.
    #[error("there is at least one shard; 1/1 is the whole run")]
    None,
    /// It is 0.
    #[error(
        "shards are numbered from 1 to {of}; where a CI counts from 0, add 1: $((INDEX + 1))/{of}"
    )]
    Zero {
        /// Shards that there are.
        of: u32,
    },
    /// It is beyond the last.
    #[error("shards are numbered from 1 to {of}, so the last is {of}/{of}")]
    Beyond {
        /// Shards that there are.
        of: u32,
    },
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        // A sign is no part of a number here.
        let number = |text: &str| match text.starts_with('+') {
            true => Err(ShardError::Shape),
            false => text.parse::<u32>().map_err(|_| ShardError::Shape),
        };
        let (own, of) = text.split_once('/').ok_or(ShardError::Shape)?;
        match (number(own)?, number(of)?) {
            (_, 0) => Err(ShardError::None),
            (0, of) => Err(ShardError::Zero { of }),
            (own, of) if own > of => Err(ShardError::Beyond { of }),
            (number, of) => Ok(Self { number, of }),
        }
    }
}

/// The cases that are counted as one, each as the range of its repetitions.
///
/// Repetitions stay together, so that what is expected of all of them is judged where they ran, and a shard that ends well
/// has nothing that the whole run would call a failure.
#[must_use]
pub fn whole_cases(cases: &[Case]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for index in 0..cases.len() {
        match all.last_mut() {
            Some(last) if repeats(&cases[index - 1], &cases[index]) => last.end = index + 1,
            _ => all.push(index..index + 1),
        }
    }
    all
}

/// Whether a case is the next repetition of the one before it.
fn repeats(before: &Case, case: &Case) -> bool {
    match (&before.repetition, &case.repetition) {
        (Some(other), Some(own)) => {
            before.scenario == case.scenario && other.case == own.case && other.number < own.number
        }
        _ => false,
    }
}

/// The number of the shard that each case is in, where there are `of` shards.
///
/// The longest first, each to the shard that has the least to do so far: none then takes more than a third longer than it
/// would in the best division (Graham, 1969). Of equal cases the first of the run comes first, of equal shards the first is
/// taken, so that every machine finds the same.
#[must_use]
pub fn divided(cases: &[Case], of: u32) -> Vec<u32> {
    let whole = whole_cases(cases);
    let costs = whole.iter().map(|one| {
        let own = cases[one.clone()].iter().map(cost);
        own.sum::<std::time::Duration>()
    });
    let mut by_cost: Vec<_> = costs.enumerate().collect();
    by_cost.sort_by_key(|(index, cost)| (Reverse(*cost), *index));
    // More shards than cases have nothing to do.
    let busy = of.min(u32::try_from(whole.len()).unwrap_or(u32::MAX));
    let mut least: BinaryHeap<_> = (1..=busy)
        .map(|number| Reverse((std::time::Duration::ZERO, number)))
        .collect();
    let mut shards = vec![1; cases.len()];
    for (index, cost) in by_cost {
        let Some(Reverse((load, number))) = least.pop() else {
            break;
        };
        shards[whole[index].clone()].fill(number);
        least.push(Reverse((load + cost, number)));
    }
    shards
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{PlanOptions, parse};

    /// Cases of as many seconds, each `times` times.
    fn cases(seconds: &[u16], times: u8) -> Vec<Case> {
        let repeat = match times {
            1 => String::new(),
            times => format!("repeat: {times}\n"),
        };
        let of = |(number, seconds): (usize, &u16)| {
            let text = format!(
                "name: t{number}\nduration: {seconds}s\n{repeat}nodes: [n1, n2]\nservers: {{ s: {{ node: n2 }} }}\n\
             faults: [{{ at: 1s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n\
                 clients: {{ c: {{ node: n1, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 1s }} }} }} }}\n"
            );
            parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario")
        };
        seconds.iter().enumerate().flat_map(of).collect()
    }

    #[test]
    fn what_is_wrong_with_a_shard_is_told() {
        let wrong = |text: &str| text.parse::<Shard>().expect_err(text);
        assert_eq!(wrong("0/3"), ShardError::Zero { of: 3 });
        assert_eq!(wrong("4/3"), ShardError::Beyond { of: 3 });
        for text in ["1/0", "0/0"] {
            assert_eq!(wrong(text), ShardError::None, "{text}");
        }
        for text in [
            "a/b",
            "3",
            "",
            "/",
            "1/2/3",
            "-1/3",
            "+1/3",
            "1/99999999999",
            " 1/3",
        ] {
            assert_eq!(wrong(text), ShardError::Shape, "{text:?}");
        }
        assert!(wrong("0/3").to_string().contains("$((INDEX + 1))/3"));
        assert_eq!("2/4".parse(), Ok(Shard { number: 2, of: 4 }));
    }

    #[test]
    fn of_more_shards_than_cases_the_last_have_none() {
        assert_eq!(divided(&cases(&[9, 9], 1), 5), [1, 2]);
        assert_eq!(divided(&cases(&[9, 9], 1), u32::MAX), [1, 2]);
        assert_eq!(divided(&[], 3), [0_u32; 0]);
    }

    #[test]
    fn the_longest_case_is_alone() {
        assert_eq!(divided(&cases(&[5, 36000, 5, 5], 1), 2), [2, 1, 2, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn shards_are_even_and_repetitions_stay_together(
            seconds in proptest::collection::vec(5_u16..2000, 1..30),
            times in 1_u8..4,
            of in 1_u32..9,
        ) {
            let cases = cases(&seconds, times);
            let shards = divided(&cases, of);
            prop_assert!(shards.iter().all(|shard| (1..=of).contains(shard)));
            for same in shards.chunks(times.into()) {
                prop_assert!(same.iter().all(|shard| *shard == same[0]));
            }
            let load = |shard: u32| -> Duration {
                let own = cases.iter().zip(&shards).filter(|(_, own)| **own == shard);
                own.map(|(case, _)| cost(case)).sum()
            };
            let loads: Vec<_> = (1..=of).map(load).collect();
            let longest = cases.chunks(times.into()).map(|one| one.iter().map(cost).sum::<Duration>());
            let even = loads.iter().sum::<Duration>() / of;
            // The last case given to the fullest shard met one that had no more than its even share.
            prop_assert!(loads.iter().max() <= Some(&(even + longest.max().unwrap_or_default())));
        }
    }
}
