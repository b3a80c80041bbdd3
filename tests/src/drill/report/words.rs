//! Numbers as people read them.

use crate::drill::record::Role;

/// `1234567` as `1 234 567`, with spaces that do not break.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds, with as many digits as mean something.
pub(super) fn ms(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    match us {
        0..10_000 => format!("{ms:.2}"),
        10_000..100_000 => format!("{ms:.1}"),
        _ => count(ms.round() as u64),
    }
}

/// A moment of the drill, in seconds.
pub(super) fn at_s(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e6)
}

/// What share of `whole` this is, in percent; empty if there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    // What is there must not read as nothing, nor what is missing as complete.
    match percent {
        p if part > 0 && p < 0.1 => "<0.1 %".to_owned(),
        p if part < whole && p > 99.9 => ">99.9 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

/// A role, in the plural.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Shopper => "shoppers",
        Role::Fan => "fans of the hot product",
        Role::Impatient => "the impatient",
        Role::Legacy => "legacy frontends",
        Role::Bot => "bots",
        Role::Witness => "the drill itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")];
        for (n, expected) in cases {
            assert_eq!(count(n), expected.replace(' ', "\u{a0}"));
        }
    }

    #[test]
    fn times_have_three_digits_or_so() {
        let cases = [(0, "0.00"), (1, "0.00"), (1_234, "1.23"), (56_780, "56.8"), (123_456, "123")];
        for (us, expected) in cases {
            assert_eq!(ms(us), expected);
        }
    }

    #[test]
    fn shares_are_never_rounded_to_none_or_all() {
        let cases = [
            (0, 0, ""),
            (0, 5, "0.0 %"),
            (1, 3, "33.3 %"),
            (5, 5, "100.0 %"),
            (1, 100_000, "<0.1 %"),
            (99_999, 100_000, ">99.9 %"),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
    }
}
