//! A response that goes on; after its end, a pause and the next one.

use std::time::Duration;

use super::Caller;
use crate::contract::stream::StreamQuery;

/// The end of the case ends what is under way: nothing else could be told from a stream that was cut.
pub(super) async fn run(
    caller: &Caller<'_>,
    wanted: &StreamQuery,
    messages: Option<Duration>,
    every: Duration,
) {
    loop {
        let ended = caller.stream(*wanted, messages).await;
        if ended.is_ok() {
            caller.rest();
        }
        if caller.pauses(every).await {
            return;
        }
    }
}
