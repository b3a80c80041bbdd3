//! The pages: plain HTML forms, nothing that runs.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::call::Told;
use super::language::{Language, Words, time_of_day, words};

const STYLE: &str = include_str!("style.css");

const SHOP: Words = ("限定スニーカー店", "The Limited Sneaker Shop");

/// The product, with the form that orders it.
pub(super) fn product(language: Language, sku: &str) -> Markup {
    let say = |words| language.pick(words);
    let form = html! {
        h1 { (sku) }
        p { (say(("お一人様1点から。購入手続きが終わるまで商品を確保します。",
            "We keep it for you until you have paid."))) }
        form method="post" action="/order" accept-charset="utf-8" {
            input type="hidden" name="sku" value=(sku);
            input type="hidden" name="lang" value=(language.tag());
            label {
                span { (say(("お客様番号", "Customer number"))) }
                input name="customer_id" required maxlength="80" autocomplete="off";
            }
            label {
                span { (say(("数量", "Quantity"))) }
                input type="number" name="quantity" value="1" min="1" required;
            }
            button { (say(("カートに入れる", "Add to cart"))) }
        }
        p.other {
            @let other = language.pick(("en", "ja"));
            a href=(format!("/?lang={other}")) lang=(other) { (say(("English", "日本語"))) }
        }
    };
    page(language, None, &form)
}

/// What became of an order for `sku`.
pub(super) fn told(language: Language, sku: &str, told: &Told) -> Markup {
    let say = |words| language.pick(words);
    let (headline, more) = words(told);
    let message = html! {
        p.sku { (sku) }
        h1.(mark(told)) { (say(headline)) }
        p { (say(more)) }
        @match told {
            Told::Held { expires_at: Some(at) } => p.until {
                (say(("確保期限", "Reserved until"))) " "
                time datetime=(at) { (time_of_day(*at)) }
                " " small { (say(("(日本時間)", "(Japan time)"))) }
            },
            Told::Queued { ticket } => {
                form method="get" action=(format!("/ticket/{ticket}")) {
                    input type="hidden" name="lang" value=(language.tag());
                    button { (say(("結果を確認する", "Ask for the result"))) }
                }
                p.ticket { (say(("整理券番号", "Your ticket"))) " " code { (ticket) } }
            }
            // On 429 the frontend stops here: a button to try again would bring the crowd back.
            _ => {}
        }
    };
    page(language, asked_again(language, told), &message)
}

/// Where a queued order's page goes by itself, if nobody presses its button: a hold that nobody asks
/// for goes back on the shelf after 15 seconds.
fn asked_again(language: Language, told: &Told) -> Option<String> {
    let Told::Queued { ticket } = told else { return None };
    Some(format!("10; url=/ticket/{ticket}?lang={}", language.tag()))
}

/// How the headline is marked, beside by its words.
fn mark(told: &Told) -> &'static str {
    match told {
        Told::Held { .. } => "good",
        Told::Queued { .. } | Told::NotOpenYet => "wait",
        Told::OverLimit | Told::SoldOut | Told::TryLater => "sorry",
    }
}

fn page(language: Language, refresh: Option<String>, content: &Markup) -> Markup {
    let shop = language.pick(SHOP);
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(refresh) = refresh {
                    meta http-equiv="refresh" content=(refresh);
                }
                title { (shop) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { (shop) }
                main { (content) }
            }
        }
    }
}
