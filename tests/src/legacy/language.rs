//! The languages of the shop, and its words.

use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, HeaderValue};
use cartgate_policy::answer::preferred_language;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::call::Told;

/// A language that the shop speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Japanese,
    English,
}

/// A text in Japanese and in English.
pub(super) type Words = (&'static str, &'static str);

impl Language {
    /// What the page's address asks for, else what the browser does, else English.
    pub(super) fn of(asked: Option<&str>, headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT_LANGUAGE).iter().map(HeaderValue::as_bytes);
        let all = [Self::Japanese, Self::English];
        let preferred = || all.get(preferred_language(accepted, &all.map(Self::tag))?).copied();
        asked.and_then(Self::named).or_else(preferred).unwrap_or(Self::English)
    }

    /// As pages and addresses name it.
    pub(super) fn tag(self) -> &'static str {
        self.pick(("ja", "en"))
    }

    /// The one of two texts that is in this language.
    pub(super) fn pick(self, (japanese, english): Words) -> &'static str {
        match self {
            Self::Japanese => japanese,
            Self::English => english,
        }
    }

    fn named(tag: &str) -> Option<Self> {
        match tag.split('-').next()?.trim().to_ascii_lowercase().as_str() {
            "ja" => Some(Self::Japanese),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// What is said in large letters, and below.
pub(super) fn words(told: &Told) -> (Words, Words) {
    match told {
        Told::Held { .. } => (
            ("商品を確保しました", "It is reserved for you"),
            (
                "下記の時刻までにご購入手続きをお済ませください。",
                "Please complete your purchase before the time below.",
            ),
        ),
        Told::OverLimit => (
            ("ただいまアクセスが集中しています", "Too many people are asking for this product"),
            (
                "恐れ入りますが、しばらく時間をおいてから改めてお試しください。",
                "We are sorry. Please come back in a while.",
            ),
        ),
        Told::SoldOut => (
            ("申し訳ございません。在庫がなくなりました", "Sorry, it is sold out"),
            (
                "キャンセルにより、再び購入できるようになる場合があります。",
                "It may become available again if somebody else gives theirs back.",
            ),
        ),
        Told::NotOpenYet => (
            ("販売開始前です", "The sale has not started yet"),
            (
                "販売開始までもうしばらくお待ちください。",
                "Please come back when the sale has started.",
            ),
        ),
        Told::Queued { .. } => (
            ("順番にお手続きしています", "You are in the queue"),
            (
                "ご注文は受け付けました。しばらくしてから下のボタンで結果をご確認ください。",
                "Your order has been taken. Wait a moment, then ask for the result below.",
            ),
        ),
        Told::TryLater => (
            ("ただいま受け付けできません", "We cannot take your order just now"),
            (
                "恐れ入りますが、しばらくしてから改めてお試しください。",
                "We are sorry. Please try again later.",
            ),
        ),
    }
}

/// A time of day as the shop's customers have it. Japan has had no summer time since 1951, so that
/// a fixed offset is right.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let japan = TimeZone::fixed(Offset::constant(9));
    at.to_zoned(japan).strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_goes_before_the_browser() {
        let cases = [
            (Some("ja"), "en", "ja"),
            (Some("en"), "ja", "en"),
            (Some("tlh"), "ja", "ja"),
            (None, "", "en"),
            (None, "ja", "ja"),
            (None, "ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7", "ja"),
            (None, "fr-FR, en;q=0.5, ja;q=0.8", "ja"),
            (None, "en, ja", "en"),
            (None, "ja;q=0", "en"),
            (None, "ja;q=much, *", "en"),
        ];
        for (asked, accepted, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, accepted.parse().unwrap());
            assert_eq!(Language::of(asked, &headers).tag(), expected, "{asked:?} {accepted}");
        }
    }

    #[test]
    fn times_are_those_of_japan() {
        assert_eq!(time_of_day("2026-11-20T15:30:05Z".parse().unwrap()), "00:30:05");
    }

    #[test]
    fn the_page_for_other_frontends_has_the_same_words() {
        let page = include_str!("../../legacy-frontend.md");
        let ticket = String::new();
        let every = [
            Told::Held { expires_at: None },
            Told::OverLimit,
            Told::SoldOut,
            Told::NotOpenYet,
            Told::Queued { ticket },
            Told::TryLater,
        ];
        for told in every {
            let ((japanese, english), _) = words(&told);
            assert!(page.contains(japanese) && page.contains(english), "{told:?}");
        }
    }
}
