use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Tables, and their rows.
type Tables = Vec<(String, std::collections::BTreeMap<Vec<u8>, Vec<u8>>)>;

const HEAD: Head = Head { store_format: 3, commit: 70_000, taken_at: UnixMs(1_700_000_000_000) };

fn written(tables: &Tables) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, &HEAD).unwrap();
    for (name, rows) in tables {
        writer.table(name).unwrap();
        rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
    }
    let summary = writer.end().unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    bytes
}

fn read(bytes: &[u8]) -> Result<(Tables, Summary), ReadError> {
    let mut reader = Reader::begin(bytes)?;
    assert_eq!(*reader.head(), HEAD);
    let mut tables = Vec::new();
    while let Some(name) = reader.next_table()? {
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        tables.push((name, rows.into_iter().collect()));
    }
    Ok((tables, reader.summary()?))
}

fn summary(bytes: &[u8]) -> Result<Summary, ReadError> {
    Reader::begin(bytes)?.summary()
}

fn some_tables() -> impl Strategy<Value = Tables> {
    let rows = btree_map(vec(any::<u8>(), 1..20), vec(any::<u8>(), 0..200), 0..20);
    btree_map("[a-z]{1,9}", rows, 0..5).prop_map(|tables| tables.into_iter().collect())
}

proptest! {
    #[test]
    fn what_was_written_is_read(tables in some_tables()) {
        let bytes = written(&tables);
        let (found, told) = read(&bytes).unwrap();
        prop_assert_eq!(&found, &tables);
        for (name, rows) in &tables {
            prop_assert_eq!(told.rows(name), rows.len() as u64);
        }
        prop_assert_eq!(told, summary(&bytes).unwrap());
    }

    #[test]
    fn whatever_is_cut_off_is_missed(tables in some_tables(), cut in any::<prop::sample::Index>()) {
        let bytes = written(&tables);
        let at = cut.index(bytes.len());
        let error = summary(&bytes[..at]).unwrap_err();
        prop_assert!(matches!(error, ReadError::CutOff { .. } | ReadError::NoBackup), "{error}");
        prop_assert!(read(&bytes[..at]).is_err());
    }

    #[test]
    fn whatever_is_changed_is_noticed(
        tables in some_tables(),
        place in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let mut bytes = written(&tables);
        let at = place.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(summary(&bytes).is_err());
    }

    /// Whatever is read, nothing but an error comes of it.
    #[test]
    fn what_is_no_backup_is_refused(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(summary(&bytes).is_err());
        prop_assert!(summary(&[&MAGIC[..], &[1, 0], &bytes].concat()).is_err());
    }
}

/// Each byte and each length of a small one, and not only some.
#[test]
fn every_bit_counts() {
    let rows = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())];
    let tables = vec![("stock".to_owned(), rows.into()), ("held".to_owned(), [].into())];
    let whole = written(&tables);
    assert_eq!(read(&whole).unwrap().0, tables);
    for at in 0..whole.len() {
        assert!(summary(&whole[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(summary(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    let longer = [&whole[..], b"\n"].concat();
    assert!(matches!(summary(&longer), Err(ReadError::Damaged { .. })));
}

#[test]
fn rows_fill_more_than_one_block() {
    let rows = (0..5_000_u32).map(|n| (n.to_be_bytes().to_vec(), vec![7; 300])).collect();
    let tables = vec![("journal".to_owned(), rows)];
    let bytes = written(&tables);
    assert_eq!(read(&bytes).unwrap().0, tables);
    let blocks = bytes.windows(5).filter(|w| w[0] == Kind::Rows as u8 && w[3] == 4 && w[4] == 0);
    assert!(blocks.count() >= 5);
}

/// Backups that exist would be misread: a change of these bytes is another version.
#[test]
fn it_is_laid_out_as_it_was() {
    let tables = vec![("t".to_owned(), [(b"k".to_vec(), b"v".to_vec())].into())];
    let bytes = written(&tables);
    let (content, digest) = bytes.split_at(bytes.len() - 32);
    let head =
        b"cartgate backup\n\x01\x00\x01\x0a\x00\x00\x00\x03\xf0\xa2\x04\x80\xd0\x95\xff\xbc\x31";
    let rest =
        b"\x02\x01\x00\x00\x00t\x03\x04\x00\x00\x00\x01k\x01v\x04\x04\x00\x00\x00\x01\x01t\x01";
    assert_eq!(content, [&head[..], rest].concat());
    use sha2::Digest as _;
    assert_eq!(digest, &*sha2::Sha256::digest(content));
}

#[test]
fn another_version_is_named() {
    let mut bytes = written(&Vec::new());
    bytes[16] = 2;
    assert!(matches!(summary(&bytes), Err(ReadError::Version { version: 2 })));
}
