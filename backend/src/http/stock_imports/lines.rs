//! Lines of a text that comes in chunks.

use memchr::memchr;

/// The most bytes of a line that are read, without what ends it. A SKU has 64, a quantity 13.
pub(super) const LINE_BYTES_MAX: usize = 1_024;

/// A line, without what ends it: `\n` or `\r\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// What it says.
    Text(&'a [u8]),
    /// More than is read.
    TooLong,
}

impl<'a> Line<'a> {
    fn of(text: &'a [u8]) -> Self {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > LINE_BYTES_MAX { Self::TooLong } else { Self::Text(text) }
    }
}

/// Makes lines of chunks, whatever the chunks are. Has no more in memory than one line may be long.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line that has not ended yet.
    begun: Vec<u8>,
    is_too_long: bool,
    /// Whether what is in `begun` was given as a line, and goes with the next step.
    is_given: bool,
}

impl Lines {
    /// The first line that ends in a chunk, which it is taken from; `None`: the chunk is used up.
    pub(super) fn next<'l, 'c: 'l>(&'l mut self, chunk: &mut &'c [u8]) -> Option<Line<'l>> {
        self.forget_given();
        let Some(end) = memchr(b'\n', chunk) else {
            self.keep(chunk);
            *chunk = &[];
            return None;
        };
        let (text, rest) = chunk.split_at(end);
        *chunk = rest.get(1..).unwrap_or_default();
        if self.begun.is_empty() && !self.is_too_long {
            return Some(Line::of(text));
        }
        self.keep(text);
        Some(self.give())
    }

    /// What is there after the last line's end.
    pub(super) fn last(&mut self) -> Option<Line<'_>> {
        self.forget_given();
        let is_there = !self.begun.is_empty() || self.is_too_long;
        is_there.then(|| self.give())
    }

    fn give(&mut self) -> Line<'_> {
        self.is_given = true;
        if self.is_too_long { Line::TooLong } else { Line::of(&self.begun) }
    }

    fn forget_given(&mut self) {
        if std::mem::take(&mut self.is_given) {
            self.begun.clear();
            self.is_too_long = false;
        }
    }

    /// Keeps a part of a line, unless it is too long: with room for `\r`.
    fn keep(&mut self, part: &[u8]) {
        if self.is_too_long || self.begun.len() + part.len() > LINE_BYTES_MAX + 1 {
            self.is_too_long = true;
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A line's text; `None`: it is too long.
    type Read = Option<Vec<u8>>;

    fn read<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Read> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let owned = |line: Line<'_>| match line {
            Line::Text(text) => Some(text.to_vec()),
            Line::TooLong => None,
        };
        for mut chunk in chunks {
            while let Some(line) = lines.next(&mut chunk) {
                all.push(owned(line));
            }
            assert!(chunk.is_empty());
            assert!(lines.begun.len() <= LINE_BYTES_MAX + 1);
        }
        all.extend(lines.last().map(owned));
        all
    }

    fn text(line: &str) -> Read {
        Some(line.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(content: &str, expected: &[Read]) {
        assert_eq!(read([content.as_bytes()]), expected, "{content:?}");
    }

    #[test]
    fn lines_end_with_one_byte_or_two() {
        check("", &[]);
        check("A", &[text("A")]);
        check("A\nB\r\nC", &[text("A"), text("B"), text("C")]);
        check("A\n\n\r\n", &[text("A"), text(""), text("")]);
        check("A\rB\n", &[text("A\rB")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line() {
        let (most, more) = ("x".repeat(LINE_BYTES_MAX), "x".repeat(LINE_BYTES_MAX + 1));
        check(&format!("{most}\n{most}\r\nA"), &[text(&most), text(&most), text("A")]);
        check(&format!("{more}\nA\n{more}"), &[None, text("A"), None]);
        check(&format!("{more}{more}{more}\r\nA"), &[None, text("A")]);
    }

    proptest! {
        /// What comes in one chunk and what comes in many is the same.
        #[test]
        fn any_split_gives_the_same_lines(
            parts in vec(prop_oneof![
                "[ab\r]{0,3}",
                Just("\n".to_owned()),
                Just("\r\n".to_owned()),
                (LINE_BYTES_MAX - 2..LINE_BYTES_MAX + 3).prop_map(|n| "y".repeat(n)),
            ], 0..20),
            cuts in vec(0_usize..3_000, 0..20),
        ) {
            let content = parts.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &content[cut[0]..cut[1]]);
            prop_assert_eq!(read(chunks), read([&content[..]]));
        }
    }
}
