//! How the edge says no: to programs, and to people in their language.
//!
//! Programs get problem details (RFC 9457), whose `type` is stable and whose `title` is in the client's
//! language; browsers that show what comes get a page. Which, and in what language, a request's head says.

mod negotiate;
mod page;
mod rate_limit;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::extract::Head;
use crate::object::Object;
use crate::problem::{self, Problem, ProblemType};

pub use negotiate::preferred_language;
pub use page::{Page, PageError};
pub use rate_limit::RateLimitFields;
pub use words::{SAID, Words};

use page::Said;
use words::Vocabulary;

/// What the edge says, and in which languages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawAnswers")]
pub struct Answers {
    /// English and Japanese first, whatever else there is.
    tags: Vec<String>,
    vocabularies: Vec<Vocabulary>,
    /// The number of the language for who asks for none of them.
    fallback: usize,
    page: Page,
}

/// How answers are worded.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Answers"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAnswers {
    /// The language for who asks for none that there are words in: `en`, `ja`, or one of `words`.
    language: Option<String>,
    /// Other words, by language and the last part of the problem's `type`. In English and Japanese there are
    /// words for everything already; another language needs them all.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, BTreeMap<String, Words>>"))]
    words: BTreeMap<String, BTreeMap<String, Object<Words>>>,
    /// The page for browsers: HTML of at most 16 KiB, with places for what is said.
    page: Option<Page>,
}

/// How one client is to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    language: usize,
    html: bool,
}

/// An answer's body, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Language`: a tag (BCP 47).
    pub language: String,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Answers {
    /// The most languages, English and Japanese among them.
    pub const LANGUAGES_MAX: usize = 16;

    /// How a client is to be spoken to, by what its request's head says.
    pub fn voice(&self, head: &Head<'_>) -> Voice {
        let asked = head.all("accept-language");
        let language = preferred_language(asked, &self.tags).unwrap_or(self.fallback);
        Voice { language, html: negotiate::wants_html(head) }
    }

    /// How a client is to be spoken to of whose request nothing is known.
    pub fn default_voice(&self) -> Voice {
        Voice { language: self.fallback, html: false }
    }

    /// The answer.
    pub fn body(&self, problem: &Problem, voice: Voice) -> Body {
        let language = self.tags.get(voice.language).cloned().unwrap_or_default();
        let words = self.vocabularies.get(voice.language);
        let words = words.and_then(|words| words.get(problem.problem_type.slug()));
        let (title, text) = match words {
            Some(Words { title, text }) => (title.as_str(), text.as_str()),
            None => (problem.problem_type.title(), ""),
        };
        if voice.html {
            let status = problem.problem_type.status();
            let retry_after_s = problem.retry_after_s;
            let said = Said { lang: &language, title, text, status, retry_after_s };
            let bytes = self.page.render(&said).into_bytes();
            return Body { content_type: "text/html; charset=utf-8", language, bytes };
        }
        let bytes = problem.clone().in_words(title, text).body();
        Body { content_type: problem::CONTENT_TYPE, language, bytes }
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            tags: vec!["en".to_owned(), "ja".to_owned()],
            vocabularies: vec![words::english(), words::japanese()],
            fallback: 0,
            page: Page::default(),
        }
    }
}

impl TryFrom<RawAnswers> for Answers {
    type Error = AnswersError;

    fn try_from(raw: RawAnswers) -> Result<Self, AnswersError> {
        let mut answers = Self { page: raw.page.unwrap_or_default(), ..Self::default() };
        for (tag, words) in raw.words {
            answers.add(tag, words)?;
        }
        if let Some(tag) = raw.language {
            let known = answers.tags.iter().position(|known| known.eq_ignore_ascii_case(&tag));
            answers.fallback = known.ok_or(AnswersError::NoWords { tag })?;
        }
        Ok(answers)
    }
}

impl Answers {
    fn add(
        &mut self,
        tag: String,
        words: BTreeMap<String, Object<Words>>,
    ) -> Result<(), AnswersError> {
        if !is_tag(&tag) {
            return Err(AnswersError::Tag { tag });
        }
        let known = self.tags.iter().position(|known| known.eq_ignore_ascii_case(&tag));
        let mut vocabulary =
            known.and_then(|n| self.vocabularies.get(n)).cloned().unwrap_or_default();
        for (slug, Object(words)) in words {
            let problem = SAID.iter().find(|problem| problem.slug() == slug);
            let Some(problem) = problem else { return Err(AnswersError::Problem { slug }) };
            if !words.is_moderate() {
                return Err(AnswersError::Length { tag, slug });
            }
            vocabulary.insert(problem.slug(), words);
        }
        let is_missing = |problem: &&ProblemType| !vocabulary.contains_key(problem.slug());
        if let Some(missing) = SAID.iter().find(is_missing) {
            return Err(AnswersError::Missing { tag, slug: missing.slug() });
        }
        match known {
            Some(n) => self.vocabularies.splice(n..=n, [vocabulary]).for_each(drop),
            None if self.tags.len() == Self::LANGUAGES_MAX => return Err(AnswersError::TooMany),
            None => {
                self.tags.push(tag);
                self.vocabularies.push(vocabulary);
            }
        }
        Ok(())
    }
}

/// Whether it has the form of a language tag (BCP 47).
fn is_tag(tag: &str) -> bool {
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    tag.len() <= 35 && tag.split('-').all(is_part)
}

/// Why answers cannot be worded so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswersError {
    /// No language tag.
    #[error("words: {tag:?} is no language tag, such as ja or zh-Hant")]
    Tag {
        /// The text.
        tag: String,
    },
    /// The edge never says this.
    #[error("words: the edge never answers {slug:?}: there are {}", slugs())]
    Problem {
        /// What was named.
        slug: String,
    },
    /// A language of which a part is missing.
    #[error("words.{tag}: {slug} is missing: give words for each of {}", slugs())]
    Missing {
        /// The language.
        tag: String,
        /// What there are no words for.
        slug: &'static str,
    },
    /// Words that are too long, or none.
    #[error(
        "words.{tag}.{slug}: a title has 1 to {} bytes, a text 1 to {}",
        words::TITLE_LEN_MAX,
        words::TEXT_LEN_MAX
    )]
    Length {
        /// The language.
        tag: String,
        /// Of which problem.
        slug: String,
    },
    /// Too many languages.
    #[error("words: at most {} languages, en and ja among them", Answers::LANGUAGES_MAX)]
    TooMany,
    /// A language in which there are no words.
    #[error("language: there are no words in {tag:?}: add them to words")]
    NoWords {
        /// The language.
        tag: String,
    },
}

fn slugs() -> String {
    SAID.map(ProblemType::slug).join(", ")
}

#[cfg(test)]
mod tests;
