//! Packets of a link on their way to whoever keeps them.
//!
//! They leave the lab as they are heard, so that a lab which is killed has told them; but not without end, as a case may
//! last for hours and the way out is narrow. What is more than a ring full stays here, in a ring of the same size, and
//! leaves when something happens that a reader looks for: a fault, an endpoint's removal, the case's end.

use std::collections::VecDeque;

use crate::record::{Event, Frame, Frames, Observation, Recorder};

/// Packets of a link that have not left the lab yet.
#[derive(Debug)]
pub(super) struct Capture {
    link: String,
    /// Bytes that may leave at once, and that are held at most.
    limit: u64,
    /// Bytes that have left by themselves.
    left: u64,
    held: VecDeque<Frame>,
    weight: u64,
    lost: u64,
    dropped: u64,
}

impl Capture {
    /// Of `link`, `limit` bytes.
    pub(super) fn new(link: &str, limit: u64) -> Self {
        Self {
            link: link.to_owned(),
            limit,
            left: 0,
            held: VecDeque::new(),
            weight: 0,
            lost: 0,
            dropped: 0,
        }
    }

    /// Takes a packet.
    pub(super) fn hear(&mut self, frame: Frame) {
        self.weight += frame.weight();
        self.held.push_back(frame);
        while self.weight > self.limit
            && let Some(oldest) = self.held.pop_front()
        {
            self.weight -= oldest.weight();
            self.dropped += 1;
        }
    }

    /// The kernel had no room for `packets` more.
    pub(super) fn miss(&mut self, packets: u32) {
        self.lost += u64::from(packets);
    }

    /// Lets go what may leave by itself.
    pub(super) fn pass(&mut self, recorder: &Recorder) {
        if self.left < self.limit {
            self.left += self.weight;
            self.flush(recorder);
        }
    }

    /// Lets everything go.
    pub(super) fn flush(&mut self, recorder: &Recorder) {
        if self.held.is_empty() && self.lost == 0 {
            return;
        }
        let (lost, dropped) = (self.lost, self.dropped);
        recorder.leave_frames(Frames::pack(&self.link, lost, dropped, &self.held));
        self.held.clear();
        (self.weight, self.lost, self.dropped) = (0, 0, 0);
    }
}

/// Whether `event` is one before which everything held has to leave.
pub(super) fn is_mark(event: &Event) -> bool {
    use Observation::{CaseEnded, EndpointRemoved, FaultInjected, RigError};
    matches!(
        event.what,
        FaultInjected { .. } | EndpointRemoved { .. } | RigError { .. } | CaseEnded {}
    )
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::record::LINK_HEADER;

    fn frame(number: u64, length: usize) -> Frame {
        Frame {
            stamp_ns: number,
            outgoing: true,
            length: length as u32,
            link_header: [0; LINK_HEADER],
            bytes: vec![0; length],
        }
    }

    proptest! {
        /// Nothing is lost before the first ring full has left, and never more leaves than two rings full and one for each
        /// mark; what leaves last is the newest; and what is dropped is counted.
        #[test]
        fn what_leaves_is_bounded_and_counted(
            lengths in proptest::collection::vec(20_usize..190, 1..200),
            mark_every in 10_u64..100,
        ) {
            const LIMIT: u64 = 2000;
            let arrived = Rc::new(RefCell::new(Vec::<Frames>::new()));
            let recorder = Recorder::new(|_| {});
            let sink = Rc::clone(&arrived);
            recorder.keep_frames(move |frames| sink.borrow_mut().push(frames));
            let mut capture = Capture::new("node1", LIMIT);
            let mut marks = 0;
            for (number, length) in (0_u64..).zip(&lengths) {
                capture.hear(frame(number, *length));
                capture.pass(&recorder);
                if number % mark_every == 0 {
                    marks += 1;
                    capture.flush(&recorder);
                }
            }
            capture.flush(&recorder);
            let arrived = arrived.borrow();
            let frames: Vec<_> = arrived.iter().flat_map(Frames::unpack).collect();
            let weight: u64 = frames.iter().map(Frame::weight).sum();
            let most = LIMIT * (3 + marks);
            prop_assert!(weight <= most, "{weight} of {most}");
            let dropped: u64 = arrived.iter().map(|f| f.dropped).sum();
            prop_assert_eq!(frames.len() as u64 + dropped, lengths.len() as u64);
            prop_assert!(frames.is_sorted_by_key(|f| f.stamp_ns));
            prop_assert_eq!(frames.last().map(|f| f.stamp_ns), Some(lengths.len() as u64 - 1));
            let all: u64 = lengths.iter().map(|l| frame(0, *l).weight()).sum();
            prop_assert!(all > LIMIT || dropped == 0);
        }
    }
}
