//! Tasks that live and die with one future.
//!
//! A server or a client on a node that loses power must be gone at one instant: dropping the [`Drive`] of its group
//! drops every task in it, synchronously, sockets and all.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::stream::{FuturesUnordered, Stream};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Where tasks are handed in. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct TaskGroup {
    inbox: Rc<RefCell<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    tasks: Vec<Task>,
    driver: Option<Waker>,
}

impl TaskGroup {
    /// Hands in a task; it runs while [`TaskGroup::drive`] is polled.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.tasks.push(Box::pin(task));
        if let Some(driver) = inbox.driver.take() {
            driver.wake();
        }
    }

    /// Runs the group's tasks; never ends.
    pub(crate) fn drive(&self) -> Drive {
        Drive {
            inbox: Rc::clone(&self.inbox),
            running: FuturesUnordered::new(),
        }
    }
}

/// hyper's HTTP/2 server hands its streams to an executor.
impl<F> hyper::rt::Executor<F> for TaskGroup
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            task.await;
        });
    }
}

/// The future that owns a group's running tasks.
pub(crate) struct Drive {
    inbox: Rc<RefCell<Inbox>>,
    running: FuturesUnordered<Task>,
}

impl Future for Drive {
    type Output = std::convert::Infallible;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let new = std::mem::take(&mut self.inbox.borrow_mut().tasks);
            self.running.extend(new);
            let polled = Pin::new(&mut self.running).poll_next(cx);
            let mut inbox = self.inbox.borrow_mut();
            // A task that ended, or one that handed in another, asks for one more round.
            if matches!(polled, Poll::Ready(Some(()))) || !inbox.tasks.is_empty() {
                continue;
            }
            inbox.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        // Tasks handed in but never begun hold the group themselves; without this they would keep each other alive.
        let tasks = std::mem::take(&mut self.inbox.borrow_mut().tasks);
        drop(tasks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_can_spawn_another() {
        let group = TaskGroup::default();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let inner = group.clone();
        group.spawn(async move {
            inner.spawn(async move {
                let _ = tx.send(7);
            });
        });
        tokio::select! {
            never = group.drive() => match never {},
            got = rx => assert_eq!(got, Ok(7)),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn dropping_the_driver_drops_running_tasks_and_those_not_begun_at_once() {
        let group = TaskGroup::default();
        let (running, waiting) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let flag = Flag(Rc::clone(&running));
        group.spawn(async move {
            let _flag = flag;
            std::future::pending::<()>().await;
        });
        let mut drive = Box::pin(group.drive());
        tokio::select! {
            biased;
            never = &mut drive => match never {},
            () = tokio::task::yield_now() => {}
        }
        let (flag, holds_group) = (Flag(Rc::clone(&waiting)), group.clone());
        group.spawn(async move {
            let (_flag, _group) = (flag, holds_group);
        });
        assert!(!running.get() && !waiting.get());
        drop(drive);
        assert!(running.get() && waiting.get());
    }
}
