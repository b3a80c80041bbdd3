//! Values with parameters: `text/html; charset=utf-8`, `form-data; name="sku"`.
//!
//! The grammar is that of RFC 9110, section 5.6.6, without its one dark corner: a quoted string with a
//! backslash in it is refused, since servers differ in what they take it for.

use thiserror::Error;

/// A value, and its parameters in order, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameterised<'a> {
    /// What comes before the first semicolon.
    pub(super) value: &'a [u8],
    parameters: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Parameterised<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, ParametersError> {
        let end = raw.iter().position(|b| *b == b';').unwrap_or(raw.len());
        let (value, mut rest) = raw.split_at(end);
        let mut parsed = Self { value: value.trim_ascii(), parameters: Vec::new() };
        while let Some(more) = rest.strip_prefix(b";") {
            let more = more.trim_ascii_start();
            // An empty parameter is allowed, and so is a semicolon at the end.
            if more.is_empty() || more.starts_with(b";") {
                rest = more;
                continue;
            }
            let (name, value, after) = parameter(more).ok_or(ParametersError::Malformed)?;
            if parsed.get_ignoring_case(name).is_some() {
                return Err(ParametersError::Twice);
            }
            parsed.parameters.push((name, value));
            rest = after;
        }
        Ok(parsed)
    }

    /// The parameter of this name, in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.get_ignoring_case(name.as_bytes())
    }

    /// The parameters' names, as they are written.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        self.parameters.iter().map(|(name, _)| *name)
    }

    fn get_ignoring_case(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut named = self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| *value)
    }
}

/// The first parameter's name and value, and what comes behind it: nothing, or a semicolon.
fn parameter(raw: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = token(raw)?;
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(rest) => {
            let end =
                rest.iter().position(|b| matches!(b, b'"' | b'\\') || b.is_ascii_control())?;
            (&rest[..end], rest[end..].strip_prefix(b"\"")?)
        }
        None => token(rest)?,
    };
    let rest = rest.trim_ascii_start();
    (rest.is_empty() || rest.starts_with(b";")).then_some((name, value, rest))
}

/// A token (RFC 9110, section 5.6.2), and what comes behind it.
fn token(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_of_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let end = raw.iter().position(|b| !is_of_token(b)).unwrap_or(raw.len());
    (end > 0).then(|| raw.split_at(end))
}

/// Whether all of it is one token.
pub(super) fn is_token(raw: &[u8]) -> bool {
    token(raw).is_some_and(|(_, behind)| behind.is_empty())
}

/// Why a value's parameters are not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ParametersError {
    /// They are not of the grammar, or have a backslash in a quoted string.
    #[error("a parameter is malformed")]
    Malformed,
    /// One of them is there twice.
    #[error("a parameter is there twice")]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), ParametersError>;

    fn check(raw: &str, expected: Expected<'_>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let parsed = Parameterised::parse(raw.as_bytes()).map(|parsed| {
            let all: Vec<_> = parsed.parameters.iter().map(|(n, v)| (text(n), text(v))).collect();
            (text(parsed.value), all)
        });
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let expected =
            expected.map(|(value, all)| (value.to_owned(), all.iter().map(owned).collect()));
        assert_eq!(parsed, expected, "{raw}");
    }

    #[test]
    fn the_grammar_of_rfc_9110() {
        check("a/b", Ok(("a/b", &[])));
        check(" a/b ; c=d", Ok(("a/b", &[("c", "d")])));
        check("a/b;c=\"d e;f\" ; G=h;", Ok(("a/b", &[("c", "d e;f"), ("G", "h")])));
        check("a;;b=c; ;", Ok(("a", &[("b", "c")])));
        check("a;b=\"\"", Ok(("a", &[("b", "")])));
        check("", Ok(("", &[])));
        for raw in ["a;b", "a;b=", "a;=c", "a;b =c", "a;b= c", "a;b=\"c", "a;b=c d", "a;b=\"c\\d\""]
        {
            check(raw, Err(ParametersError::Malformed));
        }
        check("a;b=c;B=d", Err(ParametersError::Twice));
    }

    #[test]
    fn names_are_found_in_any_case() {
        let parsed = Parameterised::parse(b"a;CharSet=x").unwrap();
        assert_eq!((parsed.get("charset"), parsed.get("char")), (Some(&b"x"[..]), None));
    }
}
