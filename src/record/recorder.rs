//! The recorder: a lab's one place to leave what it observes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Event, Frames, Observation};

/// Where the lab's parts leave what they observe.
///
/// Cheap to clone; one lab is one thread.
#[derive(Clone)]
pub struct Recorder {
    inner: Rc<RecorderInner>,
}

/// Called with every event.
type Listener = Rc<dyn Fn(&Event)>;

struct RecorderInner {
    start: RefCell<Option<Duration>>,
    sink: RefCell<Box<dyn FnMut(Event)>>,
    listeners: RefCell<Vec<Listener>>,
    frames: RefCell<Option<FrameSink>>,
}

/// Called with packets.
type FrameSink = Box<dyn FnMut(Frames)>;

impl Recorder {
    /// A recorder that gives every event to `sink`. Time stands at 0 until [`Recorder::start_clock`].
    pub fn new(sink: impl FnMut(Event) + 'static) -> Self {
        Self {
            inner: Rc::new(RecorderInner {
                start: RefCell::new(None),
                sink: RefCell::new(Box::new(sink)),
                listeners: RefCell::default(),
                frames: RefCell::default(),
            }),
        }
    }

    /// Gives packets to `sink` from now on. Without one nobody keeps them.
    pub fn keep_frames(&self, sink: impl FnMut(Frames) + 'static) {
        *self.inner.frames.borrow_mut() = Some(Box::new(sink));
    }

    /// Leaves packets to be kept beside the record.
    pub fn leave_frames(&self, frames: Frames) {
        if let Some(sink) = &mut *self.inner.frames.borrow_mut() {
            sink(frames);
        }
    }

    /// Calls `listener` with every event from now on, before it reaches the sink.
    pub fn listen(&self, listener: impl Fn(&Event) + 'static) {
        self.inner.listeners.borrow_mut().push(Rc::new(listener));
    }

    /// Starts the case's clock: now is 0.
    pub fn start_clock(&self) {
        *self.inner.start.borrow_mut() = Some(monotonic());
    }

    /// Time since the case's start; 0 before it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner
            .start
            .borrow()
            .map_or(Duration::ZERO, |start| monotonic().saturating_sub(start))
    }

    /// The case's start by CLOCK_MONOTONIC, once it has started.
    #[must_use]
    pub fn started_at(&self) -> Option<Duration> {
        *self.inner.start.borrow()
    }

    /// Records `what` as observed now.
    pub fn emit(&self, what: Observation) {
        self.emit_at(self.now(), what);
    }

    /// Records `what` as observed at `at`, a time since the case's start.
    pub fn emit_at(&self, at: Duration, what: Observation) {
        let t_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let event = Event { t_ns, what };
        // A listener may make another event: the list must not stay borrowed.
        let listeners = self.inner.listeners.borrow().clone();
        for listener in listeners {
            listener(&event);
        }
        (self.inner.sink.borrow_mut())(event);
    }
}

/// CLOCK_MONOTONIC.
#[must_use]
pub fn monotonic() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(Duration::ZERO, Duration::from)
}
