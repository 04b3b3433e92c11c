//! A program that hangs: its work is not polled, as if its threads were not scheduled. Its sockets stay open.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Lets a program go on, or not.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Gate {
    /// From now on the program does nothing.
    pub(super) fn shut(&self) {
        self.shut.set(true);
    }

    /// It goes on.
    pub(super) fn open(&self) {
        self.shut.set(false);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// `work`, while the gate is open.
pub(super) async fn behind<T>(gate: Rc<Gate>, work: impl Future<Output = T>) -> T {
    Behind {
        gate,
        work: Box::pin(work),
    }
    .await
}

struct Behind<F> {
    gate: Rc<Gate>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Behind<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.gate.shut.get() {
            *self.gate.waiting.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // What woke it while it was shut has woken this, and its parts know which of them are ready.
        self.work.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker_ref;

    #[test]
    fn nothing_is_polled_while_it_is_shut_and_it_goes_on_where_it_stood() {
        let gate = Rc::new(Gate::default());
        let polls = Rc::new(Cell::new(0));
        let counter = Rc::clone(&polls);
        let work = std::future::poll_fn(move |_| {
            counter.set(counter.get() + 1);
            match counter.get() {
                3 => Poll::Ready("done"),
                _ => Poll::Pending,
            }
        });
        let mut task = behind(Rc::clone(&gate), work).boxed_local();
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(task.poll_unpin(&mut cx).is_pending());
        gate.shut();
        for _ in 0..5 {
            assert!(task.poll_unpin(&mut cx).is_pending());
        }
        assert_eq!(polls.get(), 1);
        gate.open();
        assert!(task.poll_unpin(&mut cx).is_pending());
        assert_eq!(task.poll_unpin(&mut cx), Poll::Ready("done"));
    }
}
