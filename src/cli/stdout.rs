//! Standard output, whose reader may have had enough: `halfopen list scenarios | head -1` is no error.

use std::io::{self, ErrorKind, Write};

use super::Exit;

/// Passes on what is written until the reader is gone, and then drops it.
pub(super) struct UntilClosed<W>(pub(super) W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Writes `text` and a line's end to standard output. Ends with `exit`, or with [`Exit::Broken`] where it could not be
/// written.
pub(super) fn say(text: &str, exit: Exit) -> Exit {
    let mut out = UntilClosed(io::stdout().lock());
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => exit,
        Err(error) => Exit::broken(&format!("failed to write to standard output: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_a_reader_that_is_gone_is_no_error() {
        let tried = |kind| {
            let mut out = UntilClosed(Failing(kind));
            let written = out.write_all(b"text").and_then(|()| out.flush());
            written.map_err(|error| error.kind())
        };
        assert_eq!(tried(ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(tried(ErrorKind::StorageFull), Err(ErrorKind::StorageFull));
    }
}
