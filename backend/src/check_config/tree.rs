//! YAML, and so JSON, as a tree in which everything knows its line.
//!
//! What two readers could take for two things is refused: a key that is there twice, of which Envoy takes the
//! last and others the first; and `<<`, which some readers resolve and Envoy does not.

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, options};
use serde_json::{Map, Value as Json};
use thiserror::Error;

/// What a file may have of nodes, aliases followed: some 100 MiB. A small file of aliases to aliases would
/// have billions.
const NODES_MAX: usize = 1_000_000;

/// How deep a file may nest, aliases followed: whoever walks through it does so by recursion.
const DEPTH_MAX: usize = 600;

/// Something in a YAML file.
#[derive(Debug)]
pub(super) struct Node {
    /// The line in which it begins, from 1; of a block, the first line of its text.
    pub(super) line: usize,
    pub(super) value: Value,
    extent: Extent,
}

/// How much a node is, itself and what is below it.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// How many nodes.
    size: usize,
    /// How many, one in the other.
    depth: usize,
}

impl Extent {
    const ONE: Self = Self { size: 1, depth: 1 };

    /// With one more node below it.
    fn with(self, below: Self) -> Self {
        Self { size: self.size + below.size, depth: self.depth.max(below.depth + 1) }
    }
}

/// What it is.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Vec<Member>),
}

/// A text that may be read as a number, a flag or nothing, if it stands there plain.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: ScalarStyle,
}

/// A member of a map.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: String,
    /// The line of its key, from 1.
    pub(super) line: usize,
    pub(super) value: Rc<Node>,
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub(super) struct Unreadable {
    /// From 1.
    pub(super) line: usize,
    pub(super) reason: String,
}

impl Unreadable {
    fn at(span: Span, reason: impl Into<String>) -> Self {
        Self { line: span.start.line(), reason: reason.into() }
    }
}

impl From<ScanError> for Unreadable {
    fn from(error: ScanError) -> Self {
        Self { line: error.marker().line(), reason: error.info() }
    }
}

/// Reads all documents of a file.
pub(super) fn read(text: &str) -> Result<Vec<Rc<Node>>, Unreadable> {
    // Editors on Windows put a mark there that is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events = Parser::new_from_str_with_options(text, options());
    Reader { events, anchors: BTreeMap::new(), size: 0 }.documents()
}

fn options() -> Options {
    options! { emit_comments: false }
}

impl Node {
    /// The JSON that it is to whoever reads YAML as Envoy and Istio do.
    pub(super) fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => scalar.to_json(),
            Value::List(items) => Json::Array(items.iter().map(|item| item.to_json()).collect()),
            Value::Map(members) => {
                let members = members.iter().map(|m| (m.key.clone(), m.value.to_json()));
                Json::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl Value {
    /// The blank lines with which a literal block begins: they are part of it, and the parser's place is
    /// behind them.
    fn blank_lines(&self) -> usize {
        match self {
            Self::Scalar(Scalar { text, style: ScalarStyle::Literal }) => {
                text.bytes().take_while(|b| *b == b'\n').count()
            }
            _ => 0,
        }
    }
}

impl Scalar {
    pub(super) fn is_plain(&self) -> bool {
        self.style == ScalarStyle::Plain
    }

    pub(super) fn is_literal(&self) -> bool {
        self.style == ScalarStyle::Literal
    }

    pub(super) fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// What is in quotes is a text, whatever it says.
    pub(super) fn flag(&self) -> Option<bool> {
        let is_mixed = |text: &str| text.bytes().skip(1).any(|b| b.is_ascii_uppercase());
        let text = match self.text.as_str() {
            // `true`, `True` and `TRUE` are one; `tRUE` is a text.
            text if is_mixed(text) && text != text.to_ascii_uppercase() => return None,
            text => text.to_ascii_lowercase(),
        };
        match text.as_str() {
            "true" | "yes" | "on" | "y" if self.is_plain() => Some(true),
            "false" | "no" | "off" | "n" if self.is_plain() => Some(false),
            _ => None,
        }
    }

    fn to_json(&self) -> Json {
        if self.is_null() {
            return Json::Null;
        }
        if let Some(flag) = self.flag() {
            return Json::Bool(flag);
        }
        let number = || serde_json::from_str(&self.text).ok().map(Json::Number);
        let number = if self.is_plain() { number() } else { None };
        number.unwrap_or_else(|| Json::String(self.text.clone()))
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// What aliases may name, by the parser's number.
    anchors: BTreeMap<usize, Rc<Node>>,
    size: usize,
}

impl<'t> Reader<'t> {
    fn documents(mut self) -> Result<Vec<Rc<Node>>, Unreadable> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event.is_node() {
                documents.push(self.node(event, span)?);
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Unreadable> {
        Ok(self.events.next_event().transpose()?)
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Rc<Node>, Unreadable> {
        let anchor = event.anchor_id();
        let (value, extent) = match event {
            Event::Alias(anchor) => return self.aliased(anchor, span),
            Event::Scalar(text, style, ..) => {
                (Value::Scalar(Scalar { text: text.into_owned(), style }), Extent::ONE)
            }
            Event::SequenceStart(..) => self.list()?,
            Event::MappingStart(..) => self.map()?,
            other => return Err(Unreadable::at(span, format!("unexpected: {other:?}"))),
        };
        self.count(1, span)?;
        if extent.depth > DEPTH_MAX {
            return Err(Unreadable::at(
                span,
                format!("more than {DEPTH_MAX} levels, one in the other"),
            ));
        }
        let line = span.start.line() - value.blank_lines().min(span.start.line());
        let node = Rc::new(Node { line, value, extent });
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<(Value, Extent), Unreadable> {
        let (mut items, mut extent) = (Vec::new(), Extent::ONE);
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            let item = self.node(event, span)?;
            extent = extent.with(item.extent);
            items.push(item);
        }
        Ok((Value::List(items), extent))
    }

    fn map(&mut self) -> Result<(Value, Extent), Unreadable> {
        let (mut members, mut extent) = (Vec::new(), Extent::ONE);
        // By key, for its line: a list of ten thousand limits has to be read, too.
        let mut lines = BTreeMap::<String, usize>::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            // Envoy leaves out such a member, which is there for its anchors.
            let is_ignored = event.tag().is_some_and(|tag| tag.original() == "!ignore");
            let member = self.member(event, span)?;
            if let Some(before) = lines.insert(member.key.clone(), member.line) {
                let reason = format!("the key {:?} was there before, in line {before}", member.key);
                return Err(Unreadable::at(span, reason));
            }
            extent = extent.with(member.value.extent);
            if !is_ignored {
                members.push(member);
            }
        }
        Ok((Value::Map(members), extent))
    }

    fn member(&mut self, key: Event<'t>, span: Span) -> Result<Member, Unreadable> {
        let key = match key {
            Event::Scalar(key, ..) if key != "<<" => key.into_owned(),
            Event::Scalar(..) => {
                let reason = "<< is not resolved by Envoy: write the members themselves";
                return Err(Unreadable::at(span, reason));
            }
            _ => return Err(Unreadable::at(span, "a key must be a text")),
        };
        let Some((event, at)) = self.next()? else {
            return Err(Unreadable::at(span, format!("the key {key:?} has no value")));
        };
        Ok(Member { key, line: span.start.line(), value: self.node(event, at)? })
    }

    fn aliased(&mut self, anchor: usize, span: Span) -> Result<Rc<Node>, Unreadable> {
        let Some(node) = self.anchors.get(&anchor).map(Rc::clone) else {
            return Err(Unreadable::at(span, "an alias within what it stands for"));
        };
        self.count(node.extent.size, span)?;
        Ok(node)
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Unreadable> {
        self.size = self.size.saturating_add(more);
        if self.size > NODES_MAX {
            return Err(Unreadable::at(span, format!("more than {NODES_MAX} values")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(yaml: &str, expected: Result<Vec<Json>, (usize, &str)>) {
        match (read(yaml), expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<Json> = found.iter().map(|node| node.to_json()).collect();
                assert_eq!(found, expected, "{yaml}");
            }
            (Err(error), Err((line, part))) => {
                assert_eq!(error.line, line, "{error}");
                assert!(error.reason.contains(part), "{error}");
            }
            (found, expected) => panic!("{yaml}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn yaml_is_read_as_envoy_reads_it() {
        check(
            "a: 1\nb: [x, true, 'true', ~, 1.5]",
            Ok(vec![json!({"a": 1, "b": ["x", true, "true", null, 1.5]})]),
        );
        check(
            "{\"a\": {\"b\": \"c\\n\"},\n\t\"d\": -1}",
            Ok(vec![json!({"a": {"b": "c\n"}, "d": -1})]),
        );
        check("a: 1\n---\n- b\n---\n", Ok(vec![json!({"a": 1}), json!(["b"]), Json::Null]));
        check("a: &x {b: 1}\nc: *x", Ok(vec![json!({"a": {"b": 1}, "c": {"b": 1}})]));
        check("!ignore a: &x {b: 1}\nc: *x", Ok(vec![json!({"c": {"b": 1}})]));
        check("a: |\n  b\n   c\n", Ok(vec![json!({"a": "b\n c\n"})]));
        check(
            "\u{feff}a: yes\nb: On\nc: oN\nd: NO",
            Ok(vec![json!({"a": true, "b": true, "c": "oN", "d": false})]),
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_its_line() {
        check("a: 1\nb: 2\na: 3", Err((3, "\"a\" was there before, in line 1")));
        check("a: {b: 1, \"b\": 2}", Err((1, "\"b\"")));
        check("a: &x {b: 1}\nc:\n  <<: *x", Err((3, "write the members")));
        check("[a]: 1", Err((1, "a key must be a text")));
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        check("a: 1\nb: [1,\nc: }", Err((2, "'['")));
        check("a: *x", Err((1, "")));
        check("a: &x [*x]", Err((1, "alias")));
    }

    #[test]
    fn a_small_text_cannot_be_a_large_tree() {
        let level =
            |n: usize| format!("l{}: &l{} [{}]\n", n + 1, n + 1, format!("*l{n},").repeat(10));
        let bomb: String = (0..9).map(level).collect();
        check(&format!("l0: &l0 x\n{bomb}"), Err((7, "more than 1000000 values")));
        let deep = "[".repeat(100_000);
        check(&deep, Err((1, "")));
        // Each line is as deep as it may be, with the line before at its bottom.
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let level = |n: usize| format!("l{}: &l{} {open}*l{n}{close}\n", n + 1, n + 1);
        let tower: String = (0..4).map(level).collect();
        check(&format!("l0: &l0 x\n{tower}"), Err((4, "more than 600 levels")));
    }

    fn check_block(yaml: &str, line: usize) {
        let documents = read(yaml).unwrap();
        let Value::Map(members) = &documents[0].value else { panic!() };
        assert_eq!(members[0].value.line, line, "{yaml}");
    }

    #[test]
    fn everything_knows_its_line() {
        let documents = read("a:\n  - 1\n  -\n    b: |\n      x\n      y\n").unwrap();
        let Value::Map(members) = &documents[0].value else { panic!() };
        assert_eq!((members[0].line, members[0].value.line), (1, 2));
        let Value::List(items) = &members[0].value.value else { panic!() };
        assert_eq!((items[0].line, items[1].line), (2, 4));
        let Value::Map(members) = &items[1].value else { panic!() };
        // A block begins with its first line, not where its `|` is.
        assert_eq!((members[0].line, members[0].value.line), (4, 5));
        check_block("a: | # b\n  x\n", 2);
        check_block("a:\n  |\n  x\n", 3);
        check_block("a: |\n\n\n  x\n", 2);
    }
}
