//! Tokens of our own: who has one, and for what. Of a token itself only its hash is kept.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cartgate_ledger::UnixMs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::{Client, Denied, Scope};
use crate::random;

/// What every token of ours begins with: scanners for secrets that got out can look for it.
const PREFIX: &str = "cg_";

/// The longest name of a client, in bytes.
const CLIENT_LEN_MAX: usize = 128;

/// The most tokens in a file.
const TOKENS_MAX: usize = 1_000;

/// What a token has been given to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A part of the token itself, by which it is found.
    pub id: String,
    /// Whose it is. Two tokens may be of one client, while one is replaced by the other.
    pub client: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no good; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the token, in base64url. It is of 256 random bits: a slow hash would protect nothing.
    sha256: String,
}

/// A file of tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default)]
    token: Vec<Entry>,
}

/// The tokens that are good.
#[derive(Debug, Default)]
pub struct Tokens(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    hash: [u8; 32],
    client: Client,
    expires_at: Option<UnixMs>,
}

/// Why there are no tokens.
#[derive(Debug, Error)]
pub enum TokensError {
    /// The file cannot be read or written.
    #[error("the file of tokens cannot be used; `cartgate token create` makes one")]
    File(#[from] io::Error),
    /// It is not as `cartgate token` writes it.
    #[error("the file of tokens is not as `cartgate token` writes it: {0}")]
    Format(String),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens, which is the most: revoke some")]
    TooMany,
    /// Nobody could say whose it is.
    #[error(
        "a client has a name of 1 to {CLIENT_LEN_MAX} letters, digits and signs, without line breaks"
    )]
    Client,
    /// It would be no good from the beginning.
    #[error("it would have expired already: give a time to come")]
    Past,
    /// None has this id.
    #[error("there is no token {0}: `cartgate token list` shows all")]
    Unknown(String),
}

/// Whether it could be one of ours.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.starts_with(PREFIX)
}

impl Tokens {
    pub(super) fn parse(text: &str) -> Result<Self, TokensError> {
        let entries = parse(text)?.into_iter();
        let known = |entry: Entry| {
            let hash = URL_SAFE_NO_PAD.decode(&entry.sha256).ok();
            let hash = hash.and_then(|hash| hash.try_into().ok());
            let wrong = || TokensError::Format(format!("{}: sha256 is no hash", entry.id));
            let hash = hash.ok_or_else(wrong)?;
            let name: Arc<str> = entry.client.as_str().into();
            let client = Client { name, scopes: entry.scopes.iter().copied().collect() };
            let expires_at = entry.expires_at.map(unix_ms);
            Ok((entry.id, Known { hash, client, expires_at }))
        };
        entries.map(known).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token this is.
    pub(super) fn client(&self, token: &str, now: UnixMs) -> Result<Client, Denied> {
        let id = token.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
        let known = id.and_then(|id| self.0.get(id)).ok_or(Denied::Unknown)?;
        // What a token's hash has in common with another's says nothing of the token; still, no time is
        // to tell how much that is.
        if !bool::from(hash_of(token).ct_eq(&known.hash)) {
            return Err(Denied::Unknown);
        }
        match known.expires_at {
            Some(expires_at) if expires_at <= now => Err(Denied::Expired),
            _ => Ok(known.client.clone()),
        }
    }
}

fn parse(text: &str) -> Result<Vec<Entry>, TokensError> {
    let TokenFile { token } =
        toml::from_str(text).map_err(|error| TokensError::Format(error.to_string()))?;
    if token.len() > TOKENS_MAX {
        return Err(TokensError::TooMany);
    }
    Ok(token)
}

fn hash_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn unix_ms(at: Timestamp) -> UnixMs {
    UnixMs(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

/// The file, for whoever gives tokens out. A service that reads it sees each change within a second or so.
pub struct Keeper(PathBuf);

impl Keeper {
    /// Of this file; it need not be there.
    pub fn of(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// All that were given out and not revoked.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, TokensError> {
        parse(&fs::read_to_string(&self.0)?)
    }

    /// Makes a token. It is told here, and never again.
    ///
    /// # Errors
    /// The file cannot be written, or has as many as it may; the client has no name, or the time is past.
    pub fn create(
        &self,
        client: &str,
        scopes: &[Scope],
        expires_at: Option<Timestamp>,
    ) -> Result<String, TokensError> {
        let is_plain = client.chars().all(|sign| !sign.is_control()) && !client.trim().is_empty();
        if !is_plain || client.len() > CLIENT_LEN_MAX {
            return Err(TokensError::Client);
        }
        if expires_at.is_some_and(|expires_at| expires_at <= Timestamp::now()) {
            return Err(TokensError::Past);
        }
        let mut entries = match self.list() {
            Err(TokensError::File(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?,
        };
        if entries.len() >= TOKENS_MAX {
            return Err(TokensError::TooMany);
        }
        let id = format!("{:012x}", u64::from_be_bytes(random::bytes()) >> 16);
        let secret = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
        let token = format!("{PREFIX}{id}_{secret}");
        entries.push(Entry {
            id,
            client: client.to_owned(),
            scopes: scopes.to_vec(),
            created_at: Timestamp::now(),
            expires_at,
            sha256: URL_SAFE_NO_PAD.encode(hash_of(&token)),
        });
        self.write(entries)?;
        Ok(token)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// There is none of this id, or the file cannot be written.
    pub fn revoke(&self, id: &str) -> Result<Entry, TokensError> {
        let mut entries = self.list()?;
        let at = entries.iter().position(|entry| entry.id == id);
        let revoked = entries.remove(at.ok_or_else(|| TokensError::Unknown(id.to_owned()))?);
        self.write(entries)?;
        Ok(revoked)
    }

    /// Whole or not at all, and for nobody else to read.
    fn write(&self, token: Vec<Entry>) -> Result<(), TokensError> {
        let text = toml::to_string(&TokenFile { token });
        let text = text.map_err(|error| TokensError::Format(error.to_string()))?;
        let mut name = self.0.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Scopes;
    use super::*;

    const NOW: UnixMs = UnixMs(1_900_000_000_000);

    fn read(keeper: &Keeper) -> Tokens {
        Tokens::parse(&fs::read_to_string(&keeper.0).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_made_found_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::of(&dir.path().join("tokens.toml"));
        let token = keeper.create("legacy-cart", &[Scope::Reserve], None).unwrap();
        let other = keeper.create("shop", &[Scope::Stock, Scope::Read], None).unwrap();
        let text = fs::read_to_string(&keeper.0).unwrap();
        assert!(!text.contains(&token) && !text.contains(token.rsplit('_').next().unwrap()));
        assert_eq!(fs::metadata(&keeper.0).unwrap().permissions().mode() & 0o777, 0o600);

        let scopes = [Scope::Reserve].into_iter().collect::<Scopes>();
        let client = Client { name: "legacy-cart".into(), scopes };
        assert_eq!(read(&keeper).client(&token, NOW), Ok(client));
        // One that differs in a sign, is cut, or has another's id.
        let id = keeper.list().unwrap()[0].id.clone();
        let others = other.rsplit('_').next().unwrap();
        for wrong in [&token[..token.len() - 1], &format!("cg_{id}_{others}"), "cg_", "cg_x_y"] {
            assert_eq!(read(&keeper).client(wrong, NOW), Err(Denied::Unknown), "{wrong}");
        }

        for nobody in ["", " ", "a\nb", &"x".repeat(129)] {
            assert!(matches!(keeper.create(nobody, &[], None), Err(TokensError::Client)));
        }
        let past = Timestamp::now();
        assert!(matches!(keeper.create("a", &[], Some(past)), Err(TokensError::Past)));

        assert_eq!(keeper.revoke(&id).unwrap().client, "legacy-cart");
        assert_eq!(read(&keeper).client(&token, NOW), Err(Denied::Unknown));
        assert!(read(&keeper).client(&other, NOW).is_ok());
        assert!(matches!(keeper.revoke(&id), Err(TokensError::Unknown(_))));
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::of(&dir.path().join("tokens.toml"));
        let until = Timestamp::from_millisecond(NOW.0 as i64).unwrap();
        let token = keeper.create("shop", &[Scope::Read], Some(until)).unwrap();
        assert!(read(&keeper).client(&token, UnixMs(NOW.0 - 1)).is_ok());
        assert_eq!(read(&keeper).client(&token, NOW), Err(Denied::Expired));
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_with_what_is_wrong() {
        let check = |text: &str, part: &str| {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let entry = "[[token]]\nid = \"a\"\nclient = \"b\"\nscopes = [\"read\"]\n\
                     created_at = \"2030-01-01T00:00:00Z\"\nsha256 = \"c\"\n";
        check(entry, "a: sha256 is no hash");
        check(&entry.replace("\"read\"", "\"all\""), "unknown variant `all`");
        check(&entry.replace("client", "name"), "unknown field `name`");
        check("tokens = []", "unknown field `tokens`");
        assert!(Tokens::parse("").unwrap().0.is_empty());
        check(&entry.repeat(TOKENS_MAX + 1), "revoke some");
    }
}
