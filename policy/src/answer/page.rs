//! The page that people see whose browsers ask for one.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

/// A page, with places for what is said: `{{title}}`, `{{text}}`, `{{lang}}`, `{{status}}`, and
/// `{{retry_after_s}}`, which is empty if there is nothing to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("maxLength" = Page::LEN_MAX)))]
#[serde(try_from = "String")]
pub struct Page(Cow<'static, str>);

/// What stands in a page's places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) lang: &'a str,
    pub(super) title: &'a str,
    pub(super) text: &'a str,
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u32>,
}

const PLACES: [&str; 5] = ["title", "text", "lang", "status", "retry_after_s"];

impl Page {
    /// The largest page, in bytes.
    pub const LEN_MAX: usize = 16 * 1024;

    pub(super) fn render(&self, said: &Said<'_>) -> String {
        let mut parts = self.0.split("{{");
        let mut page = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (place, rest) = part.split_once("}}").unwrap_or((part, ""));
            page.push_str(&escape(&said.at(place)));
            page.push_str(rest);
        }
        page
    }
}

impl Default for Page {
    fn default() -> Self {
        Self(Cow::Borrowed(include_str!("page.html")))
    }
}

impl<'a> Said<'a> {
    fn at(&self, place: &str) -> Cow<'a, str> {
        match place {
            "title" => self.title.into(),
            "text" => self.text.into(),
            "lang" => self.lang.into(),
            "status" => self.status.to_string().into(),
            "retry_after_s" => self.retry_after_s.map(|s| s.to_string()).unwrap_or_default().into(),
            _ => "".into(),
        }
    }
}

/// Makes text of what could be HTML, in an element or in an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

impl TryFrom<String> for Page {
    type Error = PageError;

    fn try_from(raw: String) -> Result<Self, PageError> {
        if raw.len() > Self::LEN_MAX {
            return Err(PageError::TooLong { len: raw.len() });
        }
        for part in raw.split("{{").skip(1) {
            let (place, _) = part.split_once("}}").ok_or(PageError::Open)?;
            if !PLACES.contains(&place) {
                return Err(PageError::Place { place: place.chars().take(40).collect() });
            }
        }
        if !raw.contains("{{title}}") {
            return Err(PageError::NoTitle);
        }
        Ok(Self(raw.into()))
    }
}

/// Why a text is no page.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PageError {
    /// Longer than [`Page::LEN_MAX`].
    #[error("a page has at most {} bytes, this one has {len}", Page::LEN_MAX)]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// A `{{` without a `}}`.
    #[error("a {{{{ has no }}}}")]
    Open,
    /// A place for something that is never said.
    #[error(
        "there is nothing to say at {{{{{place}}}}}: the places are {{{{title}}}}, {{{{text}}}}, {{{{lang}}}}, {{{{status}}}}, {{{{retry_after_s}}}}"
    )]
    Place {
        /// What stands there.
        place: String,
    },
    /// Nobody could read what has happened.
    #[error("a page needs a place for the {{{{title}}}}")]
    NoTitle,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(raw: &str) -> Result<Page, PageError> {
        Page::try_from(raw.to_owned())
    }

    #[test]
    fn places_are_filled_with_text() {
        let said = Said {
            lang: "en",
            title: "<b>&\"'",
            text: "{{title}}",
            status: 429,
            retry_after_s: Some(7),
        };
        let render = |raw: &str| page(raw).unwrap().render(&said);
        assert_eq!(render("{{title}}"), "&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(
            render("{a}{{lang}} {{status}}-{{retry_after_s}}{{title}}}"),
            "{a}en 429-7&lt;b&gt;&amp;&quot;&#39;}"
        );
        // What is said is no place.
        assert_eq!(render("{{text}}{{title}}"), "{{title}}&lt;b&gt;&amp;&quot;&#39;");
        let page = Page::default().render(&Said { retry_after_s: None, ..said });
        assert!(page.contains("<html lang=\"en\">") && page.contains("&lt;b&gt;"), "{page}");
        assert!(!page.replace("{{title}}", "").contains("{{"), "{page}");
    }

    #[test]
    fn pages_that_are_none() {
        assert_eq!(page("{{title}} {{"), Err(PageError::Open));
        let place = |place: &str| Err(PageError::Place { place: place.to_owned() });
        assert_eq!(page("{{title}} {{sku}}"), place("sku"));
        assert_eq!(page("{{ title }}"), place(" title "));
        assert_eq!(page("<html>"), Err(PageError::NoTitle));
        let long = format!("{{{{title}}}}{}", "x".repeat(Page::LEN_MAX));
        assert_eq!(page(&long), Err(PageError::TooLong { len: Page::LEN_MAX + 9 }));
        assert!(page(include_str!("page.html")).is_ok());
    }
}
