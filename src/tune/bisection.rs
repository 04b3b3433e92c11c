//! The longest whole number of seconds of which something still holds, by halving.

/// A search between a guess that holds and one that does not; either may be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bisection {
    /// The longest that is known to hold.
    holds: Option<u64>,
    /// The shortest that is known not to.
    fails: Option<u64>,
    low: u64,
    high: u64,
    /// Nothing longer is tried.
    limit: u64,
    /// Whether what lies between what holds and what does not is searched to the second.
    to_the_second: bool,
}

impl Bisection {
    /// Begins with two guesses.
    pub(super) fn new(low: u64, high: u64, limit: u64) -> Self {
        let low = low.min(limit);
        Self {
            // No silence at all is always survived.
            holds: (low == 0).then_some(0),
            fails: None,
            low,
            high: high.clamp(low + 1, limit.max(low + 1)),
            limit,
            to_the_second: true,
        }
    }

    /// The same that is over when the two guesses have been tried, or what takes their place where they are wrong.
    pub(super) fn of_guesses(self) -> Self {
        Self {
            to_the_second: false,
            ..self
        }
    }

    /// What to try next; `None` when it is over.
    pub(super) fn next(&self) -> Option<u64> {
        match (self.holds, self.fails) {
            (None, _) => Some(self.low),
            (Some(holds), _) if holds >= self.limit => None,
            (Some(_), None) => Some(self.high),
            (Some(holds), Some(fails)) if fails <= holds + 1 || !self.to_the_second => None,
            (Some(holds), Some(fails)) => Some(holds + (fails - holds) / 2),
        }
    }

    /// What came of it.
    pub(super) fn tell(&mut self, tried: u64, held: bool) {
        if held {
            let holds = self.holds.map_or(tried, |known| known.max(tried));
            self.holds = Some(holds);
            if self.fails.is_none() && holds >= self.high {
                self.to_the_second = true;
                self.high = (holds * 2 + 1).min(self.limit);
            }
        } else {
            self.fails = Some(self.fails.map_or(tried, |known| known.min(tried)));
            // A guess that is wrong says nothing of what is right.
            self.to_the_second |= tried <= self.low;
            if self.holds.is_none() {
                self.low = tried / 2;
                if self.low == 0 {
                    self.holds = Some(0);
                }
            }
        }
    }

    /// What was found, and whether it is only as long as was tried.
    pub(super) fn found(&self) -> Option<(u64, bool)> {
        let holds = self.holds.filter(|_| self.next().is_none())?;
        // What fails counts, should a longer one hold.
        let least = self.fails.map_or(holds, |fails| holds.min(fails - 1));
        Some((least, self.fails.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(mut of: Bisection, longest: u64) -> (Option<(u64, bool)>, u32) {
        let mut tries = 0;
        while let Some(next) = of.next() {
            of.tell(next, next <= longest);
            tries += 1;
            assert!(tries < 64, "{of:?}");
        }
        (of.found(), tries)
    }

    proptest! {
        /// A grid of one second finds the same.
        #[test]
        fn halving_finds_what_a_grid_finds(
            longest in 0_u64..1200, low in 0_u64..1200, more in 0_u64..400, limit in 1_u64..1200,
        ) {
            let grid = (0..=limit).take_while(|seconds| *seconds <= longest).last();
            let (found, _) = search(Bisection::new(low, low + more, limit), longest);
            prop_assert_eq!(found.map(|(seconds, _)| seconds), grid);
            prop_assert_eq!(found.map(|(_, at_least)| at_least), Some(longest >= limit));
        }
    }

    #[test]
    fn guesses_that_are_right_are_enough_and_wrong_ones_are_not() {
        let guesses = || Bisection::new(200, 260, 1000).of_guesses();
        assert_eq!(search(guesses(), 230), (Some((200, false)), 2));
        assert_eq!(search(guesses(), 30).0, Some((30, false)));
        assert_eq!(search(guesses(), 300).0, Some((300, false)));
    }

    #[test]
    fn a_guess_that_is_right_takes_two_tries() {
        assert_eq!(
            search(Bisection::new(19, 20, 1000), 19),
            (Some((19, false)), 2)
        );
    }
}
