//! What each problem means, and what is done about it: as a page, and as Markdown.

use std::fmt::Write as _;

use cartgate_policy::problem::ProblemType;
use maud::{Markup, html};
use utoipa::openapi::OpenApi;

use super::page::{self, line};
use super::shape::{Document, Route};
use crate::http::openapi::problems::{Guide, example, guide};

const INTRODUCTION: &str = "What goes wrong is answered as `application/problem+json` (RFC 9457). A program branches \
    on `type`: it is a stable name, not a place to fetch from. `title` is for people and the same each time, \
    `detail` is for people and says what is particular; further members are for programs. 429 and most 503 have \
    `Retry-After`. Every answer has an `x-request-id`, by which an operator finds the request in the logs (of every one with `RUST_LOG=info,cartgate=debug`). What is no HTTP, or has a head of more than 16 KiB, gets 400 or 431 without either.";

/// All problems, each with what is said of it.
fn all() -> impl Iterator<Item = (ProblemType, &'static Guide)> {
    ProblemType::ALL.iter().filter_map(|problem| Some((*problem, guide(*problem)?)))
}

/// The page.
pub(super) fn page(document: &OpenApi) -> Markup {
    let document = Document::new(document);
    let content = html! {
        h1 { "Problems" }
        p { (line(INTRODUCTION)) }
        table {
            tr { th { "type" } th { "status" } th { "title" } th { "from" } }
            @for (problem, guide) in all() {
                tr {
                    td { a href={ "#" (problem.slug()) } { (problem.slug()) } }
                    td { (problem.status()) }
                    td { (problem.title()) }
                    td { (guide.from.join(", ")) }
                }
            }
        }
        @for (problem, guide) in all() { (section(&document, problem, guide)) }
    };
    page::page("cartgate: problems", &content)
}

fn section(document: &Document<'_>, problem: ProblemType, guide: &'static Guide) -> Markup {
    let routes: Vec<_> =
        document.routes().filter(|route| answers(document, *route, problem)).collect();
    html! {
        section id=(problem.slug()) {
            h2 { (problem.slug()) }
            p { code { (problem.uri()) } ", " (problem.status()) ", from: " (guide.from.join(", ")) }
            p { strong { (problem.title()) "." } " " (line(&guide.meaning)) }
            dl {
                dt { "Client" } dd { (line(&guide.client)) }
                dt { "Operator" } dd { (line(&guide.operator)) }
                dt { "Support" } dd { (line(&guide.support)) }
            }
            @if guide.members().next().is_some() {
                table {
                    tr { th { "member" } th { "meaning" } }
                    @for (name, member) in guide.members() {
                        tr { td { code { (name) } } td { (line(&member.meaning)) } }
                    }
                }
            }
            pre { (serde_json::to_string_pretty(&example(problem)).unwrap_or_default()) }
            @if !routes.is_empty() {
                p {
                    "Answered by "
                    @for (index, route) in routes.iter().enumerate() {
                        @if index > 0 { ", " }
                        a href={ "/docs#" (route.anchor()) } { (route.method.to_uppercase()) " " (route.path) }
                    }
                    "."
                }
            }
        }
    }
}

fn answers(document: &Document<'_>, route: Route<'_>, problem: ProblemType) -> bool {
    document
        .responses(route)
        .any(|(_, response)| document.problems(response).any(|slug| slug == problem.slug()))
}

/// The same in Markdown, without routes.
pub fn markdown() -> String {
    let mut text =
        format!("# Problems\n\n<!-- By `make openapi`, from the code. -->\n\n{INTRODUCTION}\n\n");
    text.push_str("| type | status | title | from |\n|---|---|---|---|\n");
    // Writing to a text cannot fail.
    for (problem, guide) in all() {
        let (slug, status, title) = (problem.slug(), problem.status(), problem.title());
        let from = guide.from.join(", ");
        let _ = writeln!(text, "| [`{slug}`](#{slug}) | {status} | {title} | {from} |");
    }
    for (problem, guide) in all() {
        let _ = write!(
            text,
            "\n## {}\n\n`{}`, {}, from: {}\n\n**{}.** {}\n\n- **Client**: {}\n- **Operator**: {}\n- **Support**: {}\n",
            problem.slug(),
            problem.uri(),
            problem.status(),
            guide.from.join(", "),
            problem.title(),
            guide.meaning,
            guide.client,
            guide.operator,
            guide.support,
        );
        for (index, (name, member)) in guide.members().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{gap}- `{name}`: {}", member.meaning);
        }
    }
    text.truncate(text.trim_end().len());
    text
}
