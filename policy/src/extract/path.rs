//! Path patterns.

use std::fmt;

use percent_encoding::percent_decode;
use serde::Deserialize;
use thiserror::Error;

/// What a path must look like: `/cart/{sku}/add`.
///
/// A `{name}` stands for one whole segment that is not empty, everything else for itself. Matching
/// is exact: `/cart/` is not `/cart`, an empty segment is a segment, and `;parameters` belong to
/// the segment they are in. Percent-encoded bytes are compared decoded, so that `/c%61rt` is
/// `/cart`, as most servers see it; an encoded slash stays within its segment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = "^(/([^{}%?#*/]*|\\{[A-Za-z0-9_]+\\}))+$")))]
#[serde(try_from = "String")]
pub struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Capture(String),
}

/// The segments that stand where a pattern has a `{name}`, still percent-encoded.
pub(super) type Captures<'p> = Vec<(&'p str, &'p [u8])>;

/// Whether a segment is this text, once it is decoded.
fn is(segment: &[u8], text: &str) -> bool {
    match segment.contains(&b'%') {
        true => percent_decode(segment).eq(text.bytes()),
        false => segment == text.as_bytes(),
    }
}

impl Pattern {
    /// Matches a path without its query; `None` if it does not match.
    pub(super) fn captures<'p>(&'p self, path: &'p [u8]) -> Option<Captures<'p>> {
        let mut found = path.strip_prefix(b"/")?.split(|b| *b == b'/');
        let mut captures = Vec::new();
        for segment in &self.segments {
            let found = found.next()?;
            match segment {
                Segment::Literal(literal) => {
                    if !is(found, literal) {
                        return None;
                    }
                }
                Segment::Capture(_) if found.is_empty() => return None,
                Segment::Capture(name) => captures.push((name.as_str(), found)),
            }
        }
        found.next().is_none().then_some(captures)
    }

    /// Whether the pattern has `{name}`.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// Whether each path that `other` matches matches this pattern, too.
    pub fn covers(&self, other: &Self) -> bool {
        let both = self.segments.iter().zip(&other.segments);
        self.segments.len() == other.segments.len()
            && both.into_iter().all(|pair| match pair {
                (Segment::Literal(a), Segment::Literal(b)) => a == b,
                (Segment::Literal(_), Segment::Capture(_)) => false,
                (Segment::Capture(_), Segment::Literal(literal)) => !literal.is_empty(),
                (Segment::Capture(_), Segment::Capture(_)) => true,
            })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Capture(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(raw: String) -> Result<Self, PatternError> {
        let path = raw.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let segments: Vec<_> = path.split('/').map(segment).collect::<Result<_, _>>()?;
        let pattern = Self { segments };
        let twice = pattern.names().find(|name| pattern.names().filter(|n| n == name).count() > 1);
        match twice {
            Some(name) => Err(PatternError::NameTwice { name: name.to_owned() }),
            None => Ok(pattern),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(literal) => write!(f, "/{literal}"),
            Segment::Capture(name) => write!(f, "/{{{name}}}"),
        })
    }
}

fn segment(raw: &str) -> Result<Segment, PatternError> {
    let name = raw.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match name {
        Some(name) if is_name(name) => Ok(Segment::Capture(name.to_owned())),
        None if !raw.contains(['{', '}', '%', '?', '#', '*']) => {
            Ok(Segment::Literal(raw.to_owned()))
        }
        _ => Err(PatternError::Segment { segment: raw.to_owned() }),
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It does not start with a slash.
    #[error("a path starts with /")]
    NoSlash,
    /// A segment is neither literal nor a whole `{name}`.
    #[error(
        "the segment {segment:?} must be plain text, without {{}}%?#*, or wholly a {{name}} of \
         letters, digits and _"
    )]
    Segment {
        /// The segment.
        segment: String,
    },
    /// Two segments have one name.
    #[error("{{{name}}} is there twice: give each segment a name of its own")]
    NameTwice {
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(raw: &str) -> Result<Pattern, PatternError> {
        Pattern::try_from(raw.to_owned())
    }

    /// `expected`: what stands for `{a}`, then `{b}`; `None` if the path does not match.
    fn check(raw: &str, path: &str, expected: Option<&[&str]>) {
        let pattern = pattern(raw).unwrap();
        let captures = pattern.captures(path.as_bytes());
        let found: Option<Vec<_>> = captures
            .map(|all| all.iter().map(|(_, segment)| str::from_utf8(segment).unwrap()).collect());
        assert_eq!(found.as_deref(), expected, "{raw} {path}");
    }

    #[test]
    fn matching_is_exact() {
        check("/v1/reservations", "/v1/reservations", Some(&[]));
        check("/v1/reservations", "/v1/reservations/", None);
        check("/v1/reservations", "/v1//reservations", None);
        check("/v1/reservations", "//v1/reservations", None);
        check("/v1/reservations", "/v1/reservations;a=b", None);
        check("/v1/reservations", "/v1/Reservations", None);
        check("/v1/reservations", "/v1", None);
        check("/v1/reservations", "v1/reservations", None);
        check("/v1/reservations", "", None);
        check("/v1/reservations", "*", None);
        check("/v1/reservations/", "/v1/reservations/", Some(&[]));
        check("/", "/", Some(&[]));
        check("/", "", None);
        check("/スニーカー", "/%E3%82%B9%E3%83%8B%E3%83%BC%E3%82%AB%E3%83%BC", Some(&[]));
        // The same path in another spelling is the same path.
        check("/v1/reservations", "/v1/reserv%61tions", Some(&[]));
        check("/a/b", "/a%2Fb", None);
        check("/a/b", "/a%2fb/b", None);
    }

    #[test]
    fn captures() {
        check("/cart/{a}/add", "/cart/X-1/add", Some(&["X-1"]));
        check("/cart/{a}/add", "/cart//add", None);
        check("/cart/{a}/add", "/cart/X/Y/add", None);
        check("/cart/{a}", "/cart/", None);
        check("/{a}/{b}", "/1/2", Some(&["1", "2"]));
        // Decoding is left to whoever reads the segment.
        check("/cart/{a}", "/cart/X%2FY;z=1", Some(&["X%2FY;z=1"]));
    }

    #[test]
    fn malformed_patterns() {
        assert_eq!(pattern("cart"), Err(PatternError::NoSlash));
        assert_eq!(pattern("/{a}/{a}"), Err(PatternError::NameTwice { name: "a".to_owned() }));
        for segment in ["{", "{}", "{a", "a}", "x{a}", "{a}x", "{a-b}", "{a}{b}", "*", "a%20b"] {
            let expected = Err(PatternError::Segment { segment: segment.to_owned() });
            assert_eq!(pattern(&format!("/{segment}")), expected);
        }
    }

    #[test]
    fn covers() {
        let covers = |a, b| pattern(a).unwrap().covers(&pattern(b).unwrap());
        assert!(covers("/cart/{a}", "/cart/{b}"));
        assert!(covers("/cart/{a}", "/cart/a"));
        assert!(covers("/{a}/{b}", "/cart/{b}"));
        assert!(!covers("/cart/a", "/cart/{a}"));
        assert!(!covers("/cart/{a}", "/cart/"));
        assert!(!covers("/cart/{a}", "/cart/{a}/add"));
        assert!(!covers("/{a}/b", "/a/{b}"));
        assert_eq!(pattern("/cart/{a}/add").unwrap().to_string(), "/cart/{a}/add");
    }
}
