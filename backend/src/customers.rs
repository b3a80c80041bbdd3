//! Customers, as the store knows them: by the ids that the shop gives, or by pseudonyms.
//!
//! A pseudonym is made from an id under a key that the store does not have (HMAC, RFC 2104): whoever gets
//! the store alone, or a backup of it, cannot tell whose holds these are, not even by trying all ids. The
//! same customer always has the same one, so that caps and repeats hold. With another key everybody is
//! somebody else: caps count anew, and repeats are new orders.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

use crate::store::StoreError;
use crate::store::redis::Api;

/// The least bytes of a key. Fewer could be guessed.
const KEY_BYTES_MIN: usize = 32;

/// The most bytes of a file that is taken for a key.
const KEY_BYTES_MAX: usize = 4_096;

/// Where an embedded store says which key it began with.
const MARK_FILE: &str = "customers.mark";

/// How many bytes of the HMAC make a pseudonym: enough that no two of all customers share one.
const PSEUDONYM_BYTES: usize = 16;

/// How customers are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CustomersConfig {
    /// A file with a key, of 32 bytes or more that nobody can guess (`head -c 32 /dev/urandom >customers.key`):
    /// the store has pseudonyms of customers then, and answers show these. Left out: their ids. Every process on
    /// a shared store needs the same. What is in the store under ids before stays there, and belongs to nobody
    /// who comes later.
    pub pseudonym_key: Option<PathBuf>,
}

/// How customers are called in the store.
pub struct Customers(Option<Hmac<Sha256>>);

/// Why there are no pseudonyms.
#[derive(Debug, Error)]
pub enum CustomersError {
    /// The key cannot be read.
    #[error(
        "customers.pseudonym_key: {} cannot be read: make one with `head -c 32 /dev/urandom`, and keep it where \
         the store is not",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store has pseudonyms, and nobody says which.
    #[error(
        "customers.pseudonym_key: this store has pseudonyms of customers: name the key that they were made with"
    )]
    KeyMissing,
    /// It is not the one that the store began with.
    #[error(
        "customers.pseudonym_key: this is not the key that this store's pseudonyms were made with: give that one. \
         To begin with another, by which every customer is a new one, take the mark away first: \
         {MARK_FILE} in `data`, or `HDEL cg:store customers` in Redis"
    )]
    OtherKey,
    /// Which one that is cannot be told.
    #[error("customers.pseudonym_key: {} cannot be used", path.display())]
    Mark {
        /// The file that says it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nor can the store say.
    #[error("customers.pseudonym_key: the store does not say which key it began with")]
    Store(#[source] StoreError),
    /// It is none.
    #[error(
        "customers.pseudonym_key: {} has {bytes} bytes, and a key {KEY_BYTES_MIN} to {KEY_BYTES_MAX} that nobody can \
         guess: make one with `head -c 32 /dev/urandom`",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// How many it has.
        bytes: usize,
    },
}

impl Customers {
    /// As the configuration says.
    ///
    /// # Errors
    /// The key cannot be read, or is none.
    pub fn new(config: &CustomersConfig) -> Result<Self, CustomersError> {
        config.pseudonym_key.as_deref().map(read_key).transpose().map(Self)
    }

    /// Sees to it that a store goes on with the key that it began with: `data` is where the embedded one is.
    ///
    /// # Errors
    /// It began with another, or that cannot be told.
    pub(crate) async fn agree_with(
        &self,
        store: Option<&Api>,
        data: &Path,
    ) -> Result<(), CustomersError> {
        let file = data.join(MARK_FILE);
        let before = match store {
            Some(api) => api.customers_mark().await.map_err(CustomersError::Store)?,
            None => read_mark(&file)?,
        };
        let Some(own) = self.mark() else {
            return if before.is_none() { Ok(()) } else { Err(CustomersError::KeyMissing) };
        };
        match before {
            Some(before) if before == own => Ok(()),
            Some(_) => Err(CustomersError::OtherKey),
            None => {
                tracing::info!("customers have pseudonyms in this store from now on");
                match store {
                    Some(api) => api.mark_customers(&own).await.map_err(CustomersError::Store),
                    None => leave_mark(&file, &own),
                }
            }
        }
    }

    /// What tells a key from others, and nothing of it.
    fn mark(&self) -> Option<String> {
        self.0.as_ref()?;
        Some(self.stored("cartgate: which key is this?").to_string())
    }

    /// As the store is to know a customer.
    pub fn stored(&self, id: &str) -> Arc<str> {
        let Some(mac) = &self.0 else { return id.into() };
        let mac = mac.clone().chain_update(id).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(&mac[..PSEUDONYM_BYTES]).into()
    }
}

fn read_mark(file: &Path) -> Result<Option<String>, CustomersError> {
    match fs::read_to_string(file) {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CustomersError::Mark { path: file.to_owned(), source }),
    }
}

fn leave_mark(file: &Path, mark: &str) -> Result<(), CustomersError> {
    // All of it or nothing: half of one would be another's.
    let part = file.with_extension("part");
    let written = fs::write(&part, mark).and_then(|()| File::open(&part)?.sync_all());
    let left = written.and_then(|()| fs::rename(&part, file));
    left.map_err(|source| CustomersError::Mark { path: file.to_owned(), source })
}

fn read_key(path: &Path) -> Result<Hmac<Sha256>, CustomersError> {
    let path = path.to_owned();
    let key = match std::fs::read(&path) {
        Ok(key) => key,
        Err(source) => return Err(CustomersError::Read { path, source }),
    };
    let bytes = key.len();
    let mac = Hmac::new_from_slice(&key).ok();
    let mac = mac.filter(|_| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes));
    mac.ok_or(CustomersError::Length { path, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &[u8]) -> Result<Customers, CustomersError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("customers.key");
        fs::write(&file, key).unwrap();
        Customers::new(&CustomersConfig { pseudonym_key: Some(file) })
    }

    #[test]
    fn a_customer_has_one_pseudonym_for_each_key() {
        let plain = Customers::new(&CustomersConfig::default()).unwrap();
        assert_eq!(&*plain.stored("ann@shop.example"), "ann@shop.example");
        let [one, same, other] = [1, 1, 2].map(|byte| of(&[byte; 32]).unwrap());
        let pseudonym = one.stored("ann@shop.example");
        assert_eq!((pseudonym.len(), &pseudonym), (22, &same.stored("ann@shop.example")));
        assert_ne!(pseudonym, one.stored("bob@shop.example"));
        assert_ne!(pseudonym, other.stored("ann@shop.example"));
        // openssl dgst -sha256 -mac HMAC -macopt hexkey:0101..
        assert_eq!(&*one.stored("ann"), "1rT-T7WlVure3nDGZ0Dzhw");
    }

    #[tokio::test]
    async fn a_store_goes_on_with_the_key_that_it_began_with() {
        let dir = tempfile::tempdir().unwrap();
        let none = Customers::new(&CustomersConfig::default()).unwrap();
        let [one, same, other] = [1, 1, 2].map(|byte| of(&[byte; 32]).unwrap());
        let agree = async |customers: &Customers| customers.agree_with(None, dir.path()).await;
        assert!(agree(&none).await.is_ok(), "a store of ids");
        assert!(agree(&one).await.is_ok(), "it begins");
        assert!(agree(&same).await.is_ok());
        assert!(matches!(agree(&other).await, Err(CustomersError::OtherKey)));
        assert!(matches!(agree(&none).await, Err(CustomersError::KeyMissing)));
        fs::remove_file(dir.path().join(MARK_FILE)).unwrap();
        assert!(agree(&other).await.is_ok(), "it begins anew");
    }

    #[test]
    fn what_could_be_guessed_is_no_key() {
        for (bytes, expected) in [(0, "0 bytes"), (31, "31 bytes"), (4_097, "4097 bytes")] {
            let error = of(&vec![1; bytes]).err().unwrap().to_string();
            assert!(error.contains(expected) && error.contains("/dev/urandom"), "{error}");
        }
        let config = CustomersConfig { pseudonym_key: Some("/nowhere".into()) };
        let error = Customers::new(&config).err().unwrap().to_string();
        assert!(error.contains("/nowhere cannot be read"), "{error}");
    }
}
