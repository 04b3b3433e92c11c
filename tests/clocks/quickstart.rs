//! The quickstart on both clocks.

use crate::command::{Run, kernel_or_skip, on_real_clock_or_skip, repository};

#[test]
fn holds_on_the_real_clock_and_says_the_same_as_on_the_virtual_one() {
    let scenario = repository("scenarios/quickstart.yaml");
    let Some(real) = on_real_clock_or_skip(&[&scenario]) else {
        return;
    };
    real.outcome.assert(0, &["real clock"]);
    if kernel_or_skip().is_none() {
        return;
    }
    let virtual_ = Run::of(&[&scenario], &["--clock", "virtual"]);
    let told = |run: &Run| -> Vec<_> {
        let clients = run.cases()[0]["clients"].as_array().expect("clients");
        clients
            .iter()
            .map(|client| ["name", "cause", "dials"].map(|field| client[field].clone()))
            .collect()
    };
    assert_eq!(told(&real), told(&virtual_));
    assert_eq!(real.verdicts(), virtual_.verdicts());
}
