//! A file that is to be imported.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use flate2::bufread::MultiGzDecoder;
use http_body_util::channel::Channel;
use sha2::{Digest as _, Sha256};

use super::StockError;
use crate::http::stock_imports::wanted::Format;
use crate::store::imports::ContentDigest;

/// How many bytes are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// How gzip begins (RFC 1952, section 2.3.1), and no line of text.
const GZ_MAGIC: u8 = 0x1f;

/// A file, looked through.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    pub(super) format: Format,
    pub(super) is_gzip: bool,
    /// Of what it is when it is expanded.
    pub(super) digest: ContentDigest,
    pub(super) lines: u64,
}

impl Content {
    /// Reads a file from its beginning to its end.
    pub(super) fn look_through(path: &Path, format: Option<Format>) -> Result<Self, StockError> {
        let unnamed = || StockError::Format { path: path.to_path_buf() };
        let format = format.or_else(|| named_format(path)).ok_or_else(unnamed)?;
        let failed = |source| StockError::File { path: path.to_path_buf(), source };
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
        let is_gzip = file.fill_buf().map_err(failed)?.first() == Some(&GZ_MAGIC);
        let (digest, lines) = match is_gzip {
            true => digest(MultiGzDecoder::new(file)),
            false => digest(file),
        }
        .map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), format, is_gzip, digest, lines })
    }

    /// The file as a body, read as it is sent. A file that cannot be read any more breaks it off.
    pub(super) fn body(&self) -> Result<Channel<Bytes, io::Error>, StockError> {
        let failed = |source| StockError::File { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(failed)?;
        let (mut sender, body) = Channel::new(1);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            loop {
                let mut chunk = Vec::with_capacity(BUFFER_BYTES);
                match file.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut chunk) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) => return sender.abort(error),
                }
                // Whoever takes no more has said why, or will.
                if runtime.block_on(sender.send_data(chunk.into())).is_err() {
                    return;
                }
            }
        });
        Ok(body)
    }
}

/// The digest of what there is, and how many lines it has.
fn digest(mut from: impl Read) -> io::Result<(ContentDigest, u64)> {
    let (mut sha, mut lines, mut last) = (Sha256::new(), 0, b'\n');
    let mut chunk = vec![0; BUFFER_BYTES];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(read) => &chunk[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(end) = read.last() else { break };
        last = *end;
        sha.update(read);
        lines += memchr::memchr_iter(b'\n', read).count() as u64;
    }
    Ok((ContentDigest(sha.finalize().into()), lines + u64::from(last != b'\n')))
}

fn named_format(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_file_is_the_same_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed) = (dir.path().join("a.csv"), dir.path().join("a.CSV.gz"));
        let content = b"sku,quantity\nA,1\nB,2";
        fs::write(&plain, content).unwrap();
        let mut gz = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        gz.write_all(content).unwrap();
        gz.finish().unwrap();
        let [plain, packed] = [plain, packed].map(|p| Content::look_through(&p, None).unwrap());
        assert_eq!(plain.digest, ContentDigest(Sha256::digest(content).into()));
        assert_eq!((plain.lines, plain.format, plain.is_gzip), (3, Format::Csv, false));
        assert_eq!((packed.digest, packed.lines, packed.is_gzip), (plain.digest, 3, true));
    }

    #[test]
    fn a_name_says_the_format() {
        let named = |name: &str| named_format(Path::new(name));
        assert_eq!(named("stock.ndjson"), Some(Format::Ndjson));
        assert_eq!(named("/tmp/x.y/stock.jsonl.gz"), Some(Format::Ndjson));
        assert_eq!(named("stock.txt"), None);
        assert_eq!(named("csv"), None);
    }
}
