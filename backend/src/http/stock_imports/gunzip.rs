//! Content that comes compressed, a little at a time: however much it becomes, little of it is in memory.

use std::io::{self, Write as _};

use axum::body::Bytes;
use flate2::write::MultiGzDecoder;

use super::ended::Ended;

/// So many bytes are taken at a time. They can become a thousand times as many, 1 MiB.
const STEP: usize = 1_024;

/// How many times as long what is compressed may become: a list of stock becomes 10 to 30 times as long.
const EXPANDS_MAX: u64 = 200;

/// What may become of the first bytes anyway.
const FREE: u64 = 1 << 20;

/// Expands gzip (RFC 1952), of one member or several.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    waiting: Bytes,
    taken: u64,
    given: u64,
    is_finished: bool,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        let decoder = MultiGzDecoder::new(Vec::new());
        Self { decoder, waiting: Bytes::new(), taken: 0, given: 0, is_finished: false }
    }

    /// Adds what has come, once there is no more to [be had](Self::next).
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.waiting = chunk;
    }

    /// Some of what has come, expanded; `None`: more has to come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Ended> {
        while !self.waiting.is_empty() {
            let step = self.waiting.split_to(STEP.min(self.waiting.len()));
            // Flushed, so that what is whole is there before what is not.
            let written = self.decoder.write_all(&step).and_then(|()| self.decoder.flush());
            written.map_err(Ended::Gzip)?;
            self.taken += step.len() as u64;
            if let Some(expanded) = self.take()? {
                return Ok(Some(expanded));
            }
        }
        Ok(None)
    }

    /// What is left when no more comes.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, Ended> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(None);
        }
        if self.taken == 0 {
            return Err(Ended::Gzip(io::ErrorKind::UnexpectedEof.into()));
        }
        self.decoder.try_finish().map_err(Ended::Gzip)?;
        self.take()
    }

    fn take(&mut self) -> Result<Option<Bytes>, Ended> {
        let expanded = std::mem::take(self.decoder.get_mut());
        self.given += expanded.len() as u64;
        if self.given > FREE.max(self.taken.saturating_mul(EXPANDS_MAX)) {
            return Err(Ended::Expands { times: EXPANDS_MAX });
        }
        Ok((!expanded.is_empty()).then(|| expanded.into()))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What becomes of a body, and the most that was in memory at once.
    fn expand(body: &[u8]) -> Result<(Vec<u8>, usize), Ended> {
        let (mut gunzip, mut all, mut most) = (Gunzip::new(), Vec::new(), 0);
        for chunk in body.chunks(60_000) {
            gunzip.push(Bytes::copy_from_slice(chunk));
            while let Some(expanded) = gunzip.next()? {
                most = most.max(expanded.len());
                all.extend_from_slice(&expanded);
            }
        }
        all.extend(gunzip.finish()?.into_iter().flatten());
        Ok((all, most))
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let content: Vec<u8> =
            (0..50_000).flat_map(|n| format!("SKU-{n},{n}\n").into_bytes()).collect();
        assert_eq!(expand(&gzip(&content)).unwrap().0, content);
        let members = [gzip(b"A,1\n"), gzip(b"B,2\n")].concat();
        assert_eq!(expand(&members).unwrap().0, b"A,1\nB,2\n");
        assert_eq!(expand(&gzip(b"")).unwrap().0, b"");
    }

    #[test]
    fn what_is_cut_short_or_no_gzip_is_none() {
        let whole = gzip(b"A,1\n");
        for broken in [&whole[..whole.len() - 1], &whole[..5], b"A,1\n", b""] {
            assert!(matches!(expand(broken), Err(Ended::Gzip(_))), "{broken:?}");
        }
    }

    #[test]
    fn what_becomes_too_much_is_not_expanded() {
        let bomb = gzip(&vec![b'x'; 16 << 20]);
        assert!(bomb.len() < 20_000);
        assert!(matches!(expand(&bomb), Err(Ended::Expands { .. })));
        let dense = gzip(&vec![b'x'; 1 << 20]);
        let (content, most) = expand(&dense).unwrap();
        assert!(content.len() == 1 << 20 && most <= 1_100_000, "{most}");
    }
}
