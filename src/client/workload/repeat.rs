//! One request, then a pause, for ever.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::Caller;

/// What a resync writes: any body that is not empty.
const WRITTEN: &[u8] = b"{\"resync\":true}";

pub(super) async fn poll(caller: &Caller<'_>, every: Duration) {
    again_and_again(caller, Method::GET, &Bytes::new(), every, every).await;
}

pub(super) async fn resync(caller: &Caller<'_>, every: Duration, retry_after: Duration) {
    let body = Bytes::from_static(WRITTEN);
    again_and_again(caller, Method::POST, &body, every, retry_after).await;
}

async fn again_and_again(
    caller: &Caller<'_>,
    method: Method,
    body: &Bytes,
    every: Duration,
    retry_after: Duration,
) {
    loop {
        let answered = caller.request(method.clone(), body.clone()).await;
        let pause = match answered {
            Ok(_) => {
                caller.rest();
                every
            }
            Err(_) => retry_after,
        };
        if caller.pauses(pause).await {
            return;
        }
    }
}
