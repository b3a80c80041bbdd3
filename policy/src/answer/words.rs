//! What people read when they do not get what they asked for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::problem::ProblemType;

/// What the edge can say, in the order of `problem`.
pub const SAID: [ProblemType; 12] = [
    ProblemType::OverLimit,
    ProblemType::ClientOverLimit,
    ProblemType::OverBurst,
    ProblemType::NoSku,
    ProblemType::InvalidRequest,
    ProblemType::BodyTooLarge,
    ProblemType::UnsupportedMediaType,
    ProblemType::SoldOut,
    ProblemType::NotOpenYet,
    ProblemType::SaleClosed,
    ProblemType::Paused,
    ProblemType::Unavailable,
];

/// The longest title and text, in bytes.
pub(super) const TITLE_LEN_MAX: usize = 200;
pub(super) const TEXT_LEN_MAX: usize = 1_000;

/// What is said of one problem: in large letters, and below.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// What has happened, in a few words: at most 200 bytes.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = TITLE_LEN_MAX)))]
    pub title: String,
    /// What to do now: at most 1000 bytes.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = TEXT_LEN_MAX)))]
    pub text: String,
}

impl Words {
    fn of((title, text): (&str, &str)) -> Self {
        Self { title: title.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_moderate(&self) -> bool {
        (1..=TITLE_LEN_MAX).contains(&self.title.len())
            && (1..=TEXT_LEN_MAX).contains(&self.text.len())
    }
}

/// The words for each problem that the edge can say, by its slug.
pub(super) type Vocabulary = BTreeMap<&'static str, Words>;

pub(super) fn english() -> Vocabulary {
    SAID.iter().map(|problem| (problem.slug(), Words::of(in_english(*problem)))).collect()
}

pub(super) fn japanese() -> Vocabulary {
    SAID.iter().map(|problem| (problem.slug(), Words::of(in_japanese(*problem)))).collect()
}

fn in_english(problem: ProblemType) -> (&'static str, &'static str) {
    let title = problem.title();
    let text = match problem {
        ProblemType::OverLimit => "We are sorry. Please come back in a while.",
        ProblemType::ClientOverLimit => "Please wait a moment before you ask for it again.",
        ProblemType::OverBurst => "Please order fewer of it.",
        ProblemType::SoldOut => "It may become available again if somebody else gives theirs back.",
        ProblemType::NotOpenYet => "Please come back when the sale has started.",
        ProblemType::SaleClosed => "Thank you for your interest.",
        ProblemType::Paused => "The sale will go on. Please come back in a while.",
        ProblemType::Unavailable => "We are sorry. Please try again later.",
        _ => "Please go back to the product's page and try again from there.",
    };
    (title, text)
}

fn in_japanese(problem: ProblemType) -> (&'static str, &'static str) {
    let again = "お手数ですが、商品ページに戻り、もう一度お試しください。";
    match problem {
        ProblemType::OverLimit => (
            "ただいまアクセスが集中しています",
            "恐れ入りますが、しばらく時間をおいてから改めてお試しください。",
        ),
        ProblemType::ClientOverLimit => (
            "短い時間に何度も操作されています",
            "恐れ入りますが、しばらく時間をおいてから改めてお試しください。",
        ),
        ProblemType::OverBurst => {
            ("一度にお申し込みいただける数量を超えています", "数量を減らしてお試しください。")
        }
        ProblemType::NoSku => ("商品が指定されていません", again),
        ProblemType::BodyTooLarge => ("送信された内容が大きすぎます", again),
        ProblemType::SoldOut => (
            "申し訳ございません。在庫がなくなりました",
            "キャンセルにより、再び購入できるようになる場合があります。",
        ),
        ProblemType::NotOpenYet => ("販売開始前です", "販売開始までもうしばらくお待ちください。"),
        ProblemType::SaleClosed => {
            ("販売は終了しました", "たくさんのご利用をありがとうございました。")
        }
        ProblemType::Paused => {
            ("販売を一時停止しています", "恐れ入りますが、再開までもうしばらくお待ちください。")
        }
        ProblemType::Unavailable => {
            ("ただいま受け付けできません", "恐れ入りますが、しばらくしてから改めてお試しください。")
        }
        _ => ("送信された内容を処理できませんでした", again),
    }
}
