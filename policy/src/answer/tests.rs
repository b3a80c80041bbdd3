//! What is said to whom.

use serde_json::{Map, Value, json};

use super::*;

fn answers(json: Value) -> Result<Answers, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

fn head<'a>(language: &'a str, accept: &'a str) -> Head<'a> {
    Head::new(vec![(b"accept-language", language.as_bytes()), (b"accept", accept.as_bytes())])
}

/// The answer to a client that sends these headers.
fn said(answers: &Answers, language: &str, accept: &str) -> (Body, String) {
    let problem = Problem::new(ProblemType::SoldOut).with("sku", "A-1").retry_after_s(3);
    let body = answers.body(&problem, answers.voice(&head(language, accept)));
    let text = String::from_utf8(body.bytes.clone()).unwrap();
    (body, text)
}

#[test]
fn programs_get_a_problem_in_their_language() {
    let answers = Answers::default();
    for (language, expected, title, detail) in [
        (
            "",
            "en",
            "Not enough of this product is left",
            "It may become available again if somebody else gives theirs back.",
        ),
        (
            "ja-JP,en;q=0.5",
            "ja",
            "申し訳ございません。在庫がなくなりました",
            "キャンセルにより、再び購入できるようになる場合があります。",
        ),
    ] {
        let (body, text) = said(&answers, language, "*/*");
        assert_eq!(
            (body.content_type, body.language.as_str()),
            ("application/problem+json", expected)
        );
        let json: Value = serde_json::from_str(&text).unwrap();
        let problem = json!({
            "type": "urn:cartgate:problem:sold-out", "status": 409, "title": title, "detail": detail, "sku": "A-1",
        });
        assert_eq!(json, problem);
    }
}

#[test]
fn what_is_particular_is_not_overwritten() {
    let answers = Answers::default();
    let problem = Problem::new(ProblemType::InvalidRequest).detail("the header x-sku is not UTF-8");
    let body = answers.body(&problem, answers.voice(&head("ja", "")));
    let json: Value = serde_json::from_slice(&body.bytes).unwrap();
    assert_eq!(json["detail"], "the header x-sku is not UTF-8");
    assert_eq!(json["title"], "送信された内容を処理できませんでした");
}

#[test]
fn browsers_get_a_page() {
    let (body, page) = said(&Answers::default(), "ja", "text/html,*/*;q=0.8");
    assert_eq!((body.content_type, body.language.as_str()), ("text/html; charset=utf-8", "ja"));
    assert!(
        page.contains("<html lang=\"ja\">") && page.contains("<h1>申し訳ございません"),
        "{page}"
    );
}

#[test]
fn other_words_and_another_page() {
    let sold_out = json!({"title": "Gone", "text": "Next time."});
    let answers = answers(json!({
        "language": "JA", "words": {"en": {"sold-out": sold_out}}, "page": "{{status}} {{title}} {{retry_after_s}}",
    }))
    .unwrap();
    assert_eq!(said(&answers, "en", "text/html").1, "409 Gone 3");
    // The rest of English is as it was, and who speaks neither reads Japanese.
    assert_eq!(
        said(&answers, "fr", "text/html").1,
        "409 申し訳ございません。在庫がなくなりました 3"
    );
    let over = Problem::new(ProblemType::OverLimit);
    let body = answers.body(&over, answers.voice(&head("en", "")));
    assert!(String::from_utf8(body.bytes).unwrap().contains("Too many people"));
    assert_eq!(answers.default_voice(), answers.voice(&head("", "")));
}

#[test]
fn a_language_of_ones_own() {
    let words = || json!({"title": "t", "text": "t"});
    let mut all: Map<_, _> = SAID.iter().map(|p| (p.slug().to_owned(), words())).collect();
    let whole = answers(json!({"words": {"zh-Hant": all.clone()}, "language": "zh-hant"})).unwrap();
    assert_eq!(said(&whole, "zh-Hant-TW", "").0.language, "zh-Hant");
    all.remove("paused");
    let error = answers(json!({"words": {"zh-Hant": all}})).unwrap_err();
    assert!(error.starts_with("words.zh-Hant: paused is missing"), "{error}");
}

#[test]
fn words_that_cannot_be_said() {
    let refused = |json: Value, expected: &str| {
        let error = answers(json).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    };
    let words = json!({"title": "t", "text": "t"});
    refused(json!({"words": {"e n": {}}}), "words: \"e n\" is no language tag");
    refused(json!({"words": {"en": {"gone": words}}}), "words: the edge never answers \"gone\"");
    let long = json!({"title": "t".repeat(201), "text": "t"});
    refused(json!({"words": {"en": {"paused": long}}}), "words.en.paused: a title has");
    refused(json!({"language": "fr"}), "language: there are no words in \"fr\"");
    refused(json!({"page": "{{sku}}"}), "there is nothing to say at {{sku}}");
    refused(json!({"languages": "fr"}), "unknown field");
    let all: Map<_, _> = SAID.iter().map(|p| (p.slug().to_owned(), words.clone())).collect();
    let many: Map<_, _> = (0..15).map(|n| (format!("x{n}"), Value::from(all.clone()))).collect();
    refused(json!({"words": many}), "words: at most 16 languages");
}

#[test]
fn there_are_words_for_all_that_the_edge_says() {
    for vocabulary in [words::english(), words::japanese()] {
        assert!(SAID.iter().all(|problem| vocabulary[problem.slug()].is_moderate()));
    }
}
