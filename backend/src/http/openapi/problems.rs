//! What each problem means, and what is done about it: `problems.toml`, read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cartgate_policy::problem::{Problem, ProblemType};
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};

/// All that is said of problems.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Guides {
    /// What a problem may say besides what every problem says.
    members: BTreeMap<String, Member>,
    problems: BTreeMap<String, Guide>,
}

/// An extension member of a problem (RFC 9457, section 3.2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Member {
    kind: Kind,
    /// `None`: it is there in few cases.
    example: Option<Value>,
    /// What it says.
    pub(in crate::http) meaning: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Integer,
    String,
    Strings,
}

/// What a problem means, and what is done about it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Guide {
    /// Who answers it.
    pub(in crate::http) from: Vec<String>,
    /// What has happened.
    pub(in crate::http) meaning: String,
    /// The names of what it says besides.
    #[serde(default)]
    members: Vec<String>,
    /// What a program does that gets it.
    pub(in crate::http) client: String,
    /// What whoever runs the shop does.
    pub(in crate::http) operator: String,
    /// What a customer is told.
    pub(in crate::http) support: String,
}

/// The one list. A test reads it: it cannot be wrong.
static GUIDES: LazyLock<Guides> = LazyLock::new(|| read().unwrap_or_default());

fn read() -> Result<Guides, toml::de::Error> {
    toml::from_str(include_str!("problems.toml"))
}

/// What is said of a problem.
pub(in crate::http) fn guide(of: ProblemType) -> Option<&'static Guide> {
    GUIDES.problems.get(of.slug())
}

impl Guide {
    /// What it says besides what every problem says, by name.
    pub(in crate::http) fn members(&self) -> impl Iterator<Item = (&str, &'static Member)> {
        self.members.iter().filter_map(|name| Some((name.as_str(), GUIDES.members.get(name)?)))
    }
}

/// A problem as it may be answered.
pub(in crate::http) fn example(of: ProblemType) -> Value {
    let members = guide(of).into_iter().flat_map(Guide::members);
    let mut body = serde_json::to_value(Problem::new(of)).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        body.extend(
            members.filter_map(|(name, member)| Some((name.to_owned(), member.example.clone()?))),
        );
    }
    body
}

/// What every problem is.
pub(super) fn schema() -> ObjectBuilder {
    let text =
        |description| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let status = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("The status of the answer."));
    let own = ObjectBuilder::new()
        .description(Some("Why a request did not get what it asked for (RFC 9457)."))
        .property("type", text("Which problem it is: a stable name, not a place to fetch from."))
        .required("type")
        .property("title", text("What it is, for people: the same each time."))
        .required("title")
        .property("status", status)
        .required("status")
        .property("detail", text("What is particular about it, for people."))
        .examples([example(ProblemType::SoldOut)]);
    GUIDES.members.iter().fold(own, |schema, (name, member)| schema.property(name, member.schema()))
}

impl Member {
    fn schema(&self) -> RefOr<Schema> {
        let one = |kind| ObjectBuilder::new().schema_type(kind);
        let described = |one: ObjectBuilder| one.description(Some(&self.meaning)).into();
        match self.kind {
            Kind::Integer => described(one(Type::Integer)),
            Kind::String => described(one(Type::String)),
            Kind::Strings => {
                let array = ArrayBuilder::new().items(one(Type::String));
                array.description(Some(&self.meaning)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_a_guide_and_no_guide_is_of_none() {
        let guides = read().unwrap();
        let mut expected: Vec<_> = ProblemType::ALL.iter().map(|problem| problem.slug()).collect();
        let mut guided: Vec<_> = guides.problems.keys().map(String::as_str).collect();
        expected.sort_unstable();
        guided.sort_unstable();
        assert_eq!(guided, expected);
        for (slug, guide) in &guides.problems {
            for text in [&guide.meaning, &guide.client, &guide.operator, &guide.support] {
                assert!(text.ends_with('.') && text.len() > 5, "{slug}: {text:?}");
            }
            assert!(!guide.from.is_empty(), "{slug}");
            assert!(guide.from.iter().all(|from| ["edge", "service"].contains(&&**from)), "{slug}");
            for member in &guide.members {
                assert!(guides.members.contains_key(member), "{slug}: {member}");
            }
        }
        for member in guides.members.keys() {
            let is_used = guides.problems.values().any(|guide| guide.members.contains(member));
            assert!(is_used, "{member}");
        }
    }
}
