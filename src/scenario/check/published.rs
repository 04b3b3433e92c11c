//! Published figures: of whom, and whether they say anything.

use super::{Checker, Kind};
use crate::scenario::diagnostic::Problem;
use crate::scenario::value::{Spanned, given};

impl Checker<'_> {
    pub(super) fn published(&mut self) {
        for (name, spec) in given(&self.scenario.published)
            .into_iter()
            .flat_map(|named| &named.0)
        {
            self.must_be(Kind::Client, name);
            let Some(published) = spec.get() else {
                continue;
            };
            if published.figures.is_none() && published.retransmissions.is_none() {
                self.push(
                    Problem::new(spec.span, "nothing published here")
                        .help("give `figures`, or `retransmissions`"),
                );
            }
            if let (Some(gave_up), None) = (&published.gave_up, &published.retransmissions) {
                self.push(
                    Problem::new(gave_up.span, "the end of a series that is not here")
                        .help("give the series as `retransmissions`"),
                );
            }
            self.in_order(given(&published.retransmissions).into_iter().flatten());
        }
    }

    /// A series of times rises.
    fn in_order<'s, T: PartialOrd + 's>(&mut self, series: impl Iterator<Item = &'s Spanned<T>>) {
        let mut last: Option<&Spanned<T>> = None;
        for time in series {
            if let (Some(before), Some(now)) = (last.and_then(Spanned::get), time.get())
                && now <= before
            {
                self.push(
                    Problem::new(
                        time.span,
                        "a retransmission no later than the one before it",
                    )
                    .help("times count from the first sending, so they rise"),
                );
            }
            last = Some(time);
        }
    }
}
