//! Judging beside everything else: a long record keeps its thread busy for seconds, and signals must be heard meanwhile.

use std::cell::OnceCell;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};

use super::record_file::RecordFile;
use crate::explain;
use crate::plan::Case;
use crate::record::ClockName;
use crate::verdict::{CaseResult, judge};

/// How long an interrupted run still waits for verdicts, all together.
const PATIENCE: Duration = Duration::from_millis(400);

/// Since when a run is interrupted, as its first case noticed.
pub(super) type Since = OnceCell<Instant>;

/// Judges a record. One that is not judged when an interrupted run's patience is over has a result that says so.
pub(super) async fn judged(
    case: &Case,
    clock: ClockName,
    record: &RecordFile,
    with_history: bool,
    interrupted: watch::Receiver<bool>,
    since: &Since,
) -> CaseResult {
    let events = record.events();
    let judging = move || {
        let result = judge(&events);
        let history = with_history.then(|| explain::history(&events, &result));
        CaseResult {
            history: history.flatten().map(Box::new),
            ..result
        }
    };
    let done = unless_interrupted(judging, interrupted, since).await;
    match done {
        Some(Ok(result)) => result,
        Some(Err(error)) => {
            let text = format!("its record could not be judged: {error}");
            CaseResult::not_run(case, clock, &text)
        }
        None => {
            let text = match record.is_kept() {
                true => "interrupted before it was judged; `halfopen report` judges its record",
                false => "interrupted before it was judged",
            };
            CaseResult::not_run(case, clock, text)
        }
    }
}

/// Works on a thread of its own. `None` if the work was not done when an interrupted run's patience was over.
async fn unless_interrupted<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    mut interrupted: watch::Receiver<bool>,
    since: &Since,
) -> Option<Result<T, JoinError>> {
    let working = tokio::task::spawn_blocking(work);
    let patience = async {
        // Without a sender nobody interrupts any more.
        if interrupted.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep_until(*since.get_or_init(Instant::now) + PATIENCE).await;
    };
    tokio::select! {
        biased;
        done = working => Some(done),
        () = patience => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_is_heard_while_a_record_is_judged() {
        let (interrupt, interrupted) = watch::channel(false);
        let since = Since::new();
        let begun = std::time::Instant::now();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        // As long as a very long record.
        let long = move || stopped.recv_timeout(Duration::from_secs(60)).is_ok();
        let signal = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            interrupt.send_replace(true);
        };
        let judged = unless_interrupted(long, interrupted.clone(), &since);
        let (done, ()) = tokio::join!(judged, signal);
        assert!(done.is_none());
        // The next one has no patience of its own.
        let long = || std::thread::sleep(Duration::from_secs(2));
        assert!(
            unless_interrupted(long, interrupted, &since)
                .await
                .is_none()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        stop.send(()).expect("it still works");
    }

    #[tokio::test]
    async fn what_is_not_interrupted_is_judged() {
        let (_interrupt, interrupted) = watch::channel(false);
        let done = unless_interrupted(|| 7, interrupted, &Since::new()).await;
        assert_eq!(done.expect("it is done").expect("no panic"), 7);
    }
}
