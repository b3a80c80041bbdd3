//! Who asks: what a limit per client goes by.
//!
//! A client is told by something that is in its requests. A cookie or a header that nobody in front of
//! the edge has checked is the client's own to invent, and a bot will: only the address it comes from
//! is not. So there may be several such limits, and each must admit the request.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::extract::{CookieName, Head, HeaderName};

/// What tells one client from another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientSource {
    /// The header of this name.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(CookieName),
    /// The address that the request came from, as Envoy sees it (`use_remote_address` and trusted
    /// proxies apply). Of IPv6 the first 64 bits: all else is a household's, or a bot's, to choose.
    SourceAddress,
}

/// A client as one source tells it, without what told it: cookies can be long, and secret. What two
/// sources tell are never the same client, however much a client makes them look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(u128);

impl ClientSource {
    /// Whose request this is. `address` is where it came from, with a port or without; `seed` is
    /// random, and the same for everyone who shares counts. All requests without the header or cookie
    /// count as one client's; all with the header more than once, as another's: what can be read in two
    /// ways is nobody's way out. Of several cookies of one name the first counts, which is the one with
    /// the most specific path (RFC 6265, section 5.4).
    pub fn client(&self, head: &Head<'_>, address: &[u8], seed: &[u8; 16]) -> Client {
        let mut hasher = SipHasher13::new_with_key(seed);
        hasher.write(self.to_string().as_bytes());
        // No source's name has this byte in it.
        hasher.write(&[0]);
        match self {
            Self::Header(name) => match head.single(name.as_str()) {
                Ok(value) => hash_found(&mut hasher, value),
                // No mark of what was found.
                Err(_) => hasher.write(&[2]),
            },
            Self::Cookie(name) => hash_found(&mut hasher, name.all(head).next()),
            Self::SourceAddress => match without_port(address) {
                Some(IpAddr::V4(address)) => hasher.write(&address.octets()),
                Some(IpAddr::V6(address)) => hasher.write(&address.octets()[..8]),
                // Such as a pipe's.
                None => hasher.write(address),
            },
        }
        Client(hasher.finish128().as_u128())
    }
}

/// The source's name, which no other source has: `header/x-device`, `cookie/session`, `source_address`.
impl fmt::Display for ClientSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header/{}", name.as_str()),
            Self::Cookie(name) => write!(f, "cookie/{}", name.as_str()),
            Self::SourceAddress => f.write_str("source_address"),
        }
    }
}

impl Client {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

/// What is absent is not what is empty.
fn hash_found(hasher: &mut SipHasher13, value: Option<&[u8]>) {
    if let Some(value) = value {
        hasher.write(&[1]);
        hasher.write(value);
    }
}

fn without_port(address: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(address).ok()?;
    let address = match text.parse::<SocketAddr>() {
        Ok(with_port) => with_port.ip(),
        Err(_) => text.parse().ok()?,
    };
    match address {
        IpAddr::V6(address) => {
            Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
        }
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SEED: [u8; 16] = [7; 16];

    fn source(json: Value) -> ClientSource {
        serde_json::from_value(json).unwrap()
    }

    /// The client of a request with these headers.
    fn by(source: &ClientSource, headers: &[(&str, &str)]) -> Client {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        source.client(&Head::new(headers.collect()), b"", &SEED)
    }

    fn at(address: &str) -> Client {
        ClientSource::SourceAddress.client(&Head::new(vec![]), address.as_bytes(), &SEED)
    }

    #[test]
    fn addresses() {
        for (one, other, is_same) in [
            ("192.0.2.1:1000", "192.0.2.1:2000", true),
            ("192.0.2.1:1000", "192.0.2.1", true),
            ("192.0.2.1:1000", "192.0.2.2:1000", false),
            ("192.0.2.1:1000", "[::ffff:192.0.2.1]:2000", true),
            ("[2001:db8::1]:1000", "[2001:db8:0:0:ffff::9]:2000", true),
            ("[2001:db8::1]:1000", "[2001:db8:0:1::1]:1000", false),
            ("@pipe", "@pipe", true),
            ("@pipe", "", false),
        ] {
            assert_eq!(at(one) == at(other), is_same, "{one} and {other}");
        }
    }

    #[test]
    fn headers() {
        let source = source(json!({"header": "x-device"}));
        let device = |value| by(&source, &[("x-device", value), ("x-other", "1")]);
        assert_eq!(device("a"), by(&source, &[("x-device", "a")]));
        assert_ne!(device("a"), device("b"));
        assert_ne!(device(""), by(&source, &[]));
        assert_eq!(by(&source, &[("x-other", "1")]), by(&source, &[]));
        let twice = by(&source, &[("x-device", "a"), ("x-device", "b")]);
        assert_eq!(twice, by(&source, &[("x-device", "c"), ("x-device", "c")]));
        assert!(![device("a"), device("b"), device("\u{2}"), by(&source, &[])].contains(&twice));
    }

    #[test]
    fn cookies() {
        let source = source(json!({"cookie": "session"}));
        let cookies = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            by(&source, &lines)
        };
        let a = cookies(&["session=a"]);
        for same in [&["x=1; session=a; y=2"][..], &["x=1", "session=a"], &["session=a;session=b"]]
        {
            assert_eq!(cookies(same), a, "{same:?}");
        }
        for other in [&["session=b"][..], &["Session=a"], &["sessions=a"], &["xsession=a"], &[]] {
            assert_ne!(cookies(other), a, "{other:?}");
        }
    }

    /// A client must not choose to be, by one source, who it is or another is by the next.
    #[test]
    fn what_two_sources_tell_is_never_the_same_client() {
        let sources = [json!({"header": "a"}), json!({"header": "b"}), json!({"cookie": "a"})];
        let sources = sources.map(source);
        let alike = [("a", "x"), ("b", "x"), ("cookie", "a=x")];
        for headers in [&alike[..], &[]] {
            let told = sources.iter().map(|source| by(source, headers)).chain([at("")]);
            let told: Vec<_> = told.collect();
            for (n, client) in told.iter().enumerate() {
                assert!(!told[..n].contains(client), "{headers:?}, source {n}");
            }
        }
        // A mark before what was found, and the bytes of an address.
        let forged = by(&sources[0], &[("a", "\u{2}\u{3}\u{4}")]);
        assert_ne!(forged, at("1.2.3.4"));
    }

    #[test]
    fn names_of_cookies() {
        for wrong in ["", "a b", "a=b", "a;b", "caf\u{e9}"] {
            let error = serde_json::from_value::<ClientSource>(json!({"cookie": wrong}));
            let error = error.unwrap_err().to_string();
            assert!(error.ends_with("use letters, digits, - and _, such as session"), "{error}");
        }
    }
}
