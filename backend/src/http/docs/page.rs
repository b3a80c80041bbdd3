//! What pages have in common: their frame, their style, and the little of Markdown that comments use.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style of every page. Its hash is in the policy, so it is put there as it stands.
pub(super) const STYLE: &str = include_str!("style.css");

/// A page.
pub(super) fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    }
}

/// Paragraphs, of text with `code` in it.
pub(super) fn paragraphs(text: &str) -> Markup {
    html! { @for paragraph in text.split("\n\n") { p { (line(paragraph)) } } }
}

/// Text with `code` in it.
pub(super) fn line(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_shown_as_code_and_nothing_as_html() {
        assert_eq!(line("a `b<c` d").into_string(), "a <code>b&lt;c</code> d");
        assert_eq!(paragraphs("a\nb\n\nc").into_string(), "<p>a\nb</p><p>c</p>");
    }
}
