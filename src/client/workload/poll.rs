//! GET, then a pause, for ever.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;

use crate::client::stopped_within;
use crate::client::transport::Transport;

pub(super) async fn run(
    transport: &Transport,
    path: &str,
    every: Duration,
    stop: &mut watch::Receiver<bool>,
) {
    loop {
        if transport
            .request(Method::GET, path, Bytes::new())
            .await
            .is_ok()
        {
            transport.rest();
        }
        if stopped_within(stop, every).await {
            return;
        }
    }
}
