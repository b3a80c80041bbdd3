//! The pages as a whole.

use cartgate_policy::problem::ProblemType;

use super::*;

#[test]
fn what_is_checked_in_is_what_the_code_says() {
    let checked_in = include_str!("../../../../docs/problems.md");
    assert!(
        checked_in.trim_end() == problems_markdown(),
        "docs/problems.md is another: `make openapi`"
    );
}

/// The page has every route and every schema that it refers to.
#[test]
fn links_of_a_page_lead_somewhere() {
    for page in [&DOCS.reference, &DOCS.problems] {
        for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let (to, anchor) = link.split_once('#').unwrap_or((link, ""));
            let there = match to {
                "" => page,
                "/docs" => &DOCS.reference,
                "/docs/problems" => &DOCS.problems,
                "/openapi.json" => continue,
                other => panic!("{other}"),
            };
            let is_there = anchor.is_empty() || there.contains(&format!("id=\"{anchor}\""));
            assert!(is_there, "{link}");
        }
    }
}

#[test]
fn each_problem_has_a_section() {
    for problem in ProblemType::ALL {
        assert!(DOCS.problems.contains(&format!("<section id=\"{}\">", problem.slug())));
    }
}

/// No scripts, nothing from elsewhere, and the only style is the one that the policy lets in.
#[test]
fn pages_load_and_run_nothing() {
    for page in [&DOCS.reference, &DOCS.problems] {
        for no in ["<script", "src=", "style=", "<link", "url(", "onclick", "<img", "<form"] {
            assert!(!page.contains(no), "{no}");
        }
        assert_eq!(page.matches("<style>").count(), 1);
    }
    let policy = DOCS.policy.as_ref().unwrap().to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
}
