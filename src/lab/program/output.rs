//! What a program writes, bounded: its beginning as it comes, its end when it is over.

use std::collections::VecDeque;

/// Bytes kept of the beginning, and of the end.
const KEPT: usize = 32 << 10;
/// A line longer than this is recorded in pieces.
const LINE: usize = 4 << 10;

/// A text to be recorded, and the bytes before it that were not kept.
pub(super) type Piece = (String, u64);

/// The output on one stream.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Bytes of the beginning that are recorded, or wait in `line`.
    begun: usize,
    /// The last line of the beginning, as long as it has no end.
    line: Vec<u8>,
    end: VecDeque<u8>,
    dropped: u64,
}

impl Output {
    /// Takes what the program wrote. Returns what is to be recorded now, in whole lines where they are not too long.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Piece> {
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT - self.begun));
        self.begun += head.len();
        self.line.extend_from_slice(head);
        self.end.extend(rest);
        let over = self.end.len().saturating_sub(KEPT);
        self.end.drain(..over);
        self.dropped += over as u64;
        let whole = match self.line.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if self.line.len() >= LINE || self.begun == KEPT => self.line.len(),
            None => 0,
        };
        let piece: Vec<u8> = self.line.drain(..whole).collect();
        (!piece.is_empty()).then(|| (text(&piece), 0))
    }

    /// What is to be recorded when the program is over.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let line = std::mem::take(&mut self.line);
        let end: Vec<u8> = self.end.drain(..).collect();
        let pieces = [(line, 0), (end, std::mem::take(&mut self.dropped))];
        pieces
            .into_iter()
            .filter(|(bytes, _)| !bytes.is_empty())
            .map(|(bytes, dropped)| (text(&bytes), dropped))
            .collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_whole_and_what_has_no_end_comes_last() {
        let mut output = Output::default();
        assert_eq!(output.take(b"one\ntw"), Some(("one\n".to_owned(), 0)));
        assert_eq!(output.take(b"o"), None);
        assert_eq!(output.take(b"\nthree"), Some(("two\n".to_owned(), 0)));
        assert_eq!(output.finish(), [("three".to_owned(), 0)]);
        assert_eq!(output.finish(), []);
    }

    proptest! {
        #[test]
        fn beginning_and_end_are_kept_and_the_rest_is_counted(
            chunks in proptest::collection::vec(proptest::collection::vec(b'a'..=b'z', 0..9000), 0..20)
        ) {
            let all = chunks.concat();
            let mut output = Output::default();
            let mut pieces: Vec<Piece> = chunks.iter().filter_map(|chunk| output.take(chunk)).collect();
            pieces.extend(output.finish());
            let dropped: u64 = pieces.iter().map(|(_, dropped)| dropped).sum();
            let kept = pieces.into_iter().map(|(text, _)| text).collect::<String>().into_bytes();
            let begin = all.len().min(KEPT);
            let end = all.len().saturating_sub(KEPT).min(KEPT);
            prop_assert_eq!(&kept[..begin], &all[..begin]);
            prop_assert_eq!(&kept[begin..], &all[all.len() - end..]);
            prop_assert_eq!(dropped as usize + kept.len(), all.len());
        }
    }
}
