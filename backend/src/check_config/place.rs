//! Places in a file, and the way from one to the next.

use std::iter;
use std::rc::Rc;

use super::tree::{Node, Scalar, Value};

/// Where something is, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The file, as it was named.
    pub(super) file: Rc<str>,
    /// From 1.
    pub(super) line: usize,
    /// `static_resources.listeners[0].name`.
    pub(super) field: String,
}

impl Spot {
    /// The last part of the field: `name`.
    pub(super) fn name(&self) -> &str {
        self.field.rsplit(['.', ' ']).next().unwrap_or(&self.field)
    }
}

/// How lines of a tree become lines of the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lines {
    /// The tree's first line is this one of the file.
    From(usize),
    /// All of the tree is in one line of the file.
    Only(usize),
}

impl Lines {
    /// The line of the file.
    pub(super) fn of(self, line: usize) -> usize {
        match self {
            Self::From(first) => (first + line).saturating_sub(1),
            Self::Only(line) => line,
        }
    }
}

/// Something in a file.
#[derive(Clone, Debug)]
pub(super) struct Place<'t> {
    pub(super) node: &'t Rc<Node>,
    pub(super) spot: Spot,
    lines: Lines,
}

impl<'t> Place<'t> {
    /// All of a tree.
    pub(super) fn root(node: &'t Rc<Node>, spot: Spot, lines: Lines) -> Self {
        Self { node, spot, lines }
    }

    /// What is at `path` below this one, such as `a.b[0].c`; `None` if there is nothing, or `null`. Names
    /// are those of protobuf: `fail_open`, which a file may also call `failOpen`.
    pub(super) fn at(&self, path: &str) -> Option<Self> {
        let (place, rest) = self.descend(path);
        (rest.is_empty() && !place.is_null()).then_some(place)
    }

    /// Where `path` is below this one, or would be: then with the line of what it is missing in.
    pub(super) fn spot_of(&self, path: &str) -> Spot {
        let (place, rest) = self.descend(path);
        let field = join(&place.spot.field, rest);
        Spot { field, ..place.spot }
    }

    /// Goes as far as `path` leads, and says what is left of it.
    fn descend<'p>(&self, path: &'p str) -> (Self, &'p str) {
        let (mut place, mut rest) = (self.clone(), path);
        while !rest.is_empty()
            && let Some((next, behind)) = place.step(rest)
        {
            (place, rest) = (next, behind);
        }
        (place, rest)
    }

    fn step<'p>(&self, path: &'p str) -> Option<(Self, &'p str)> {
        match &self.node.value {
            Value::Scalar(_) => None,
            Value::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let index = index.parse().ok()?;
                Some((self.item(index, items.get(index)?), behind_dot(rest)))
            }
            Value::Map(members) => {
                // A key may have dots: of `a` and `a.b`, the longer one is meant.
                let exact = members.iter().filter_map(|member| {
                    let rest = path.strip_prefix(member.key.as_str())?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then_some((member, rest))
                });
                let (name, behind) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
                let camel = members.iter().find(|member| is_camel_of(&member.key, name));
                let longest = exact.max_by_key(|(member, _)| member.key.len());
                let (member, rest) = longest.or(camel.map(|member| (member, behind)))?;
                Some((self.member(&member.key, member.line, &member.value), behind_dot(rest)))
            }
        }
    }

    /// The items of a list; none, if it is something else.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => {
                items.iter().enumerate().map(|(n, node)| self.item(n, node)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The items of the list at `path`.
    pub(super) fn items_at(&self, path: &str) -> Vec<Self> {
        self.at(path).map(|list| list.items()).unwrap_or_default()
    }

    /// The members of a map, by key; none, if it is something else.
    pub(super) fn members(&self) -> Vec<(&'t str, Self)> {
        match &self.node.value {
            Value::Map(members) => {
                let place = |m: &'t super::tree::Member| self.member(&m.key, m.line, &m.value);
                members.iter().map(|m| (m.key.as_str(), place(m))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn item(&self, index: usize, node: &'t Rc<Node>) -> Self {
        self.below(join(&self.spot.field, &format!("[{index}]")), node.line, node)
    }

    fn member(&self, key: &str, line: usize, node: &'t Rc<Node>) -> Self {
        self.below(join(&self.spot.field, key), line, node)
    }

    fn below(&self, field: String, line: usize, node: &'t Rc<Node>) -> Self {
        let spot = Spot { file: Rc::clone(&self.spot.file), line: self.lines.of(line), field };
        Self { node, spot, lines: self.lines }
    }

    fn scalar(&self) -> Option<&'t Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// Its text, plain or in quotes; `None` if it is a list or a map.
    pub(super) fn text(&self) -> Option<&'t str> {
        self.scalar().map(|scalar| scalar.text.as_str())
    }

    /// The text at `path`.
    pub(super) fn text_at(&self, path: &str) -> Option<&'t str> {
        self.at(path)?.text()
    }

    /// Whether it says yes; `None` if it says neither yes nor no.
    pub(super) fn flag(&self) -> Option<bool> {
        self.scalar()?.flag()
    }

    /// Its whole number, which protobuf also takes in quotes.
    pub(super) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// How the lines of its text become lines of the file: in a literal block each has its own.
    pub(super) fn lines_of_text(&self) -> Lines {
        match self.scalar() {
            Some(scalar) if scalar.is_literal() => Lines::From(self.lines.of(self.node.line)),
            _ => Lines::Only(self.spot.line),
        }
    }

    /// What it is, for a message.
    pub(super) fn shown(&self) -> String {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_plain() => scalar.text.clone(),
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Of what stands for any message of protobuf: its type, and the message. Istio's users often write it
    /// as a `TypedStruct`.
    pub(super) fn typed(&self) -> Option<(&'t str, Self)> {
        let kind = last_part(self.text_at("@type")?);
        if !kind.ends_with(".TypedStruct") {
            return Some((kind, self.clone()));
        }
        Some((last_part(self.text_at("type_url")?), self.at("value")?))
    }

    /// It and what is below it, each together with what is above it.
    pub(super) fn walk(&self, see: &mut impl FnMut(&[Self])) {
        let mut way = vec![self.clone()];
        visit(&mut way, see);
    }
}

fn visit<'t>(way: &mut Vec<Place<'t>>, see: &mut impl FnMut(&[Place<'t>])) {
    see(way);
    let Some(place) = way.last() else { return };
    let members = place.members().into_iter().map(|(_, member)| member);
    let below: Vec<Place<'t>> = members.chain(place.items()).collect();
    for next in below {
        way.push(next);
        visit(way, see);
        way.pop();
    }
}

/// `envoy...Wasm` of `type.googleapis.com/envoy...Wasm`.
fn last_part(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn behind_dot(rest: &str) -> &str {
    rest.strip_prefix('.').unwrap_or(rest)
}

fn join(field: &str, below: &str) -> String {
    match () {
        () if below.is_empty() => field.trim_end_matches(": ").to_owned(),
        () if field.is_empty() || field.ends_with(": ") || below.starts_with('[') => {
            format!("{field}{below}")
        }
        () => format!("{field}.{below}"),
    }
}

/// Whether `key` is the name that JSON has for protobuf's `name`: `failOpen` for `fail_open`.
fn is_camel_of(key: &str, name: &str) -> bool {
    let mut key = key.chars();
    let mut name = name.chars();
    let mut wanted = iter::from_fn(|| match name.next()? {
        '_' => name.next().map(|letter| letter.to_ascii_uppercase()),
        letter => Some(letter),
    });
    key.by_ref().eq(wanted.by_ref())
}

#[cfg(test)]
mod tests {
    use super::super::tree::read;
    use super::*;

    const YAML: &str = "\
a:
  fail_open: true
  vmId: x
  list:
    - one
    - b.c: {d: 'true'}
  none: ~
  any:
    '@type': type.googleapis.com/udpa.type.v1.TypedStruct
    type_url: type.googleapis.com/x.Wasm
    value: {config: 1}
";

    fn root(node: &Rc<Node>, lines: Lines) -> Place<'_> {
        let spot = Spot { file: "f".into(), line: 1, field: String::new() };
        Place::root(node, spot, lines)
    }

    fn check(path: &str, expected: Option<&str>, line: usize) {
        let documents = read(YAML).unwrap();
        let place = root(&documents[0], Lines::From(1));
        assert_eq!(place.at(path).map(|found| found.shown()).as_deref(), expected, "{path}");
        let spot = place.spot_of(path);
        assert_eq!((spot.field.as_str(), spot.line), (path, line), "{path}");
    }

    #[test]
    fn a_path_leads_to_a_place_or_to_what_it_is_missing_in() {
        check("a", Some("a map"), 1);
        check("a.fail_open", Some("true"), 2);
        check("a.list", Some("a list"), 4);
        check("a.list[0]", Some("one"), 5);
        check("a.list[1].b.c.d", Some("\"true\""), 6);
        check("a.list[2]", None, 4);
        check("a.none", None, 7);
        check("a.gone.far", None, 1);
        check("gone", None, 1);
    }

    #[test]
    fn names_of_protobuf_are_found_in_both_spellings() {
        let documents = read(YAML).unwrap();
        let place = root(&documents[0], Lines::Only(7));
        let found = place.at("a.vm_id").unwrap();
        assert_eq!((found.text(), found.spot.field.as_str()), (Some("x"), "a.vmId"));
        assert_eq!(found.spot.line, 7);
        let later = root(&documents[0], Lines::From(101)).spot_of("a.vm_id.x");
        assert_eq!((later.field.as_str(), later.line), ("a.vmId.x", 103));
        assert!(place.at("a.failOpen").is_none());
        assert_eq!(place.at("a.list[1].b.c.d").unwrap().flag(), None);
    }

    #[test]
    fn a_message_may_be_wrapped() {
        let documents = read(YAML).unwrap();
        let (kind, message) =
            root(&documents[0], Lines::From(1)).at("a.any").unwrap().typed().unwrap();
        assert_eq!((kind, message.spot.field.as_str()), ("x.Wasm", "a.any.value"));
    }
}
