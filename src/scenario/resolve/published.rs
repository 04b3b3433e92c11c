//! What was published of what a scenario reproduces.

use crate::plan::{Figure, Published};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{FigureSpec, PublishedSpec, Spanned};
use crate::yaml::{Problem, given};

/// What a scenario says was published, by client.
pub(super) fn resolve(cx: &mut Cx<'_>) -> Vec<Published> {
    let all = given(&cx.scenario.published);
    cx.each("what is published of", all, |cx, name, spec| {
        published(cx, name, spec)
    })
}

fn published(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &PublishedSpec) -> Option<Published> {
    let client = cx.existing(Kind::Client, name);
    if spec.figures.is_none() && spec.retransmissions.is_none() {
        let place = given(&cx.scenario.published).and_then(|all| all.find(name.get()?));
        let span = place.map_or(name.span, |place| place.span);
        let problem = Problem::new(span, "`published` is empty");
        cx.push(problem.help("give `figures`, or `retransmissions`"));
    }
    if let (Some(gave_up), None) = (&spec.gave_up, &spec.retransmissions) {
        let problem = Problem::new(gave_up.span, "`gave_up` without `retransmissions`");
        cx.push(problem.help("give the series as `retransmissions`"));
    }
    let series = given(&spec.retransmissions).into_iter().flatten();
    let series = series.filter_map(|time| Some((time.span, time.get()?.0)));
    let series: Vec<_> = series.collect();
    for pair in series.windows(2).filter(|pair| pair[1].1 <= pair[0].1) {
        let message = "a retransmission no later than the one before it";
        let help = "times count from the first sending, so they rise";
        cx.push(Problem::new(pair[1].0, message).help(help));
    }
    let figures = given(&spec.figures).into_iter().flatten();
    let figures = figures.filter_map(Spanned::get).map(figure);
    Some(Published {
        client: client?.to_owned(),
        figures: figures.collect::<Option<_>>()?,
        retransmissions: series.into_iter().map(|(_, time)| time).collect(),
        gave_up: given(&spec.gave_up).map(|t| t.0),
    })
}

fn figure(spec: &FigureSpec) -> Option<Figure> {
    Some(Figure {
        from: *spec.from.get()?,
        until: *spec.until.get()?,
        time: spec.time.get()?.0,
        note: given(&spec.note).cloned(),
    })
}
