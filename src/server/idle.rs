//! How long a connection has had no open request.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// The open requests of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    number: Cell<usize>,
    changed: Notify,
}

/// One open request, as long as it is kept.
#[derive(Debug)]
pub(super) struct OpenRequest(Rc<OpenRequests>);

impl OpenRequests {
    /// One more.
    pub(super) fn begin(self: &Rc<Self>) -> OpenRequest {
        self.number.set(self.number.get() + 1);
        self.changed.notify_one();
        OpenRequest(Rc::clone(self))
    }

    /// Waits until there has been none for `limit`; for ever if there is no limit.
    pub(super) async fn none_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let changed = self.changed.notified();
            if self.number.get() > 0 {
                changed.await;
            } else if tokio::time::timeout(limit, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let left = self.0.number.get().saturating_sub(1);
        self.0.number.set(left);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_limit_counts_from_the_end_of_the_last_request() {
        let open = Rc::new(OpenRequests::default());
        let asked = async {
            let (first, second) = (open.begin(), open.begin());
            sleep(Duration::from_millis(30)).await;
            drop(first);
            sleep(Duration::from_millis(30)).await;
            drop(second);
            Instant::now()
        };
        let limit = Duration::from_millis(20);
        let idle = async {
            open.none_for(Some(limit)).await;
            Instant::now()
        };
        let (last, over) = tokio::join!(asked, idle);
        assert!(over - last >= limit, "{:?}", over - last);
    }
}
