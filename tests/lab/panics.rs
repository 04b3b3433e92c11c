//! A task of the lab that panics breaks the rig, and is named.

use std::cell::RefCell;
use std::rc::Rc;

use halfopen::lab;
use halfopen::record::{Observation, Recorder};
use halfopen::verdict::{Verdict, judge};

use crate::command::{case, started, two_seconds};
use crate::rig::in_lab;

#[test]
fn a_client_s_panic() {
    in_lab(async || {
        let result = panics_at(|what| matches!(what, Observation::RequestSent { .. })).await;
        assert!(
            result.starts_with("client poller panicked: a test's own (recorded: "),
            "{result}"
        );
    });
}

#[test]
fn a_server_s_panic() {
    in_lab(async || {
        let result = panics_at(|what| matches!(what, Observation::ServerRequest { .. })).await;
        assert!(
            result.starts_with("server echo-1 panicked: a test's own (recorded: "),
            "{result}"
        );
    });
}

/// Plays a case whose recorder panics once, in the task that makes the first such observation. Returns why the case
/// has no verdict.
async fn panics_at(such: impl Fn(&Observation) -> bool + 'static) -> String {
    let case = case(&two_seconds());
    let events = Rc::new(RefCell::new(vec![started(&case)]));
    let kept = Rc::clone(&events);
    let recorder = Recorder::new(move |event| kept.borrow_mut().push(event));
    let done = std::cell::Cell::new(false);
    recorder.listen(move |event| {
        if such(&event.what) && !done.replace(true) {
            std::panic::panic_any("a test's own");
        }
    });
    lab::run(case.lab, recorder, None).await;
    let result = judge(&events.borrow());
    assert_eq!(result.verdict, Verdict::Error);
    result.reason.expect("a reason").text
}
