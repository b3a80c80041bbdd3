//! What a client would rather read (RFC 9110, section 12).

use crate::extract::Head;

/// Weights in thousandths: 0, not wanted, to 1000.
type Weight = u16;

/// The elements of a list with weights, such as `ja, en;q=0.5`, in their order. What is malformed is left
/// out: nobody is refused for what they would rather read.
fn weighted<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = (&'a [u8], Weight)> {
    /// More than any browser sends: a client cannot make the edge sort for ever.
    const ELEMENTS_MAX: usize = 32;
    let elements = lines.flat_map(|line| line.split(|b| *b == b','));
    elements.take(ELEMENTS_MAX).filter_map(|element| {
        let mut parts = element.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let value = parts.next().filter(|value| !value.is_empty())?;
        let quality = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
        Some((value, quality.map_or(Some(1_000), weight)?))
    })
}

/// `0.5` is 500 (RFC 9110, section 12.4.2).
fn weight(raw: &[u8]) -> Option<Weight> {
    let (whole, fraction) = match raw {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    match (whole, thousandths) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(1_000),
        _ => None,
    }
}

/// The number of the language, of those that there are words in, that a client would rather read, by the lines of
/// its `Accept-Language`; `None`: it does not say, or speaks none of them. A range finds the longest tag that it
/// begins with (RFC 4647, section 3.4): `ja-JP` finds `ja`.
pub fn preferred_language<'a>(
    accept_language: impl Iterator<Item = &'a [u8]>,
    tags: &[impl AsRef<str>],
) -> Option<usize> {
    let mut best: Option<(Weight, usize)> = None;
    for (range, weight) in weighted(accept_language) {
        let is_better = weight > best.map_or(0, |(highest, _)| highest);
        if let Some(tag) = look_up(range, tags).filter(|_| is_better) {
            best = Some((weight, tag));
        }
    }
    best.map(|(_, tag)| tag)
}

fn look_up(range: &[u8], tags: &[impl AsRef<str>]) -> Option<usize> {
    let mut range = range;
    loop {
        let is_it = |tag: &str| tag.as_bytes().eq_ignore_ascii_case(range);
        if let Some(tag) = tags.iter().position(|tag| is_it(tag.as_ref())) {
            return Some(tag);
        }
        let end = range.iter().rposition(|b| *b == b'-')?;
        range = &range[..end];
    }
}

/// Whether a client would rather read HTML than JSON: it names `text/html`, as browsers do when they show
/// what comes, and gives no JSON more weight. `*/*`, which is what programs send, is no wish for HTML.
pub(super) fn wants_html(head: &Head<'_>) -> bool {
    let (mut html, mut json) = (0, 0);
    for (range, weight) in weighted(head.all("accept")) {
        let range = range.to_ascii_lowercase();
        match range.as_slice() {
            b"text/html" | b"application/xhtml+xml" => html = html.max(weight),
            b"application/json" | b"application/problem+json" => json = json.max(weight),
            _ => {}
        }
    }
    html > 0 && html >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(name: &'a str, values: &'a [&'a str]) -> Head<'a> {
        Head::new(values.iter().map(|value| (name.as_bytes(), value.as_bytes())).collect())
    }

    #[test]
    fn languages() {
        let tags = ["en", "ja", "zh-Hant"].map(str::to_owned);
        for (accepted, expected) in [
            (&[][..], None),
            (&["ja"], Some("ja")),
            (&["ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7"], Some("ja")),
            (&["fr-FR, en;q=0.5, ja;q=0.8"], Some("ja")),
            (&["en, ja"], Some("en")),
            (&["JA"], Some("ja")),
            (&["zh-hant-TW"], Some("zh-Hant")),
            (&["zh-Hans, en;q=0.1"], Some("en")),
            (&["fr", "ja;q=0.2"], Some("ja")),
            (&["ja;q=0"], None),
            (&["ja;q=much, en;q=0.001"], Some("en")),
            (&["*"], None),
            (&["-, ;q=1,, ja ; q=0.3"], Some("ja")),
        ] {
            let accepted = accepted.iter().copied();
            let found = preferred_language(accepted.clone().map(str::as_bytes), &tags);
            let accepted: Vec<_> = accepted.collect();
            assert_eq!(found.map(|n| tags[n].as_str()), expected, "{accepted:?}");
        }
    }

    #[test]
    fn html() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        for (accepted, expected) in [
            (&[chrome][..], true),
            (&["text/html"], true),
            (&["Text/HTML;level=1;q=0.5"], true),
            (&["application/json, text/html"], true),
            (&["application/json, text/html;q=0.9"], false),
            (&["application/problem+json"], false),
            (&["text/html;q=0"], false),
            (&["*/*"], false),
            (&["text/*"], false),
            (&[], false),
        ] {
            assert_eq!(wants_html(&head("accept", accepted)), expected, "{accepted:?}");
        }
    }

    #[test]
    fn weights() {
        for (raw, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.5", Some(500)),
            ("0.125", Some(125)),
            ("0.", Some(0)),
            ("1.1", None),
            ("0.1234", None),
            ("2", None),
            ("", None),
            ("-1", None),
            ("0,5", None),
        ] {
            assert_eq!(weight(raw.as_bytes()), expected, "{raw}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        let long = format!("{}ja", "fr,".repeat(100_000));
        let tags = ["ja".to_owned()];
        assert_eq!(preferred_language([long.as_bytes()].into_iter(), &tags), None);
    }
}
