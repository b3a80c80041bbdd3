//! How a shop spells its SKUs.

use std::borrow::Cow;
use std::hash::Hasher as _;

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use siphasher::sip::SipHasher13;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

use super::{Sku, SkuError};
use crate::range::{RangeError, in_range};

/// How a shop spells its SKUs: what is made of a text before it is one, and what it must be then.
///
/// The edge and the service must be given the same: only then is what the one limits what the other
/// sells. Whatever the form, what comes out is a [`Sku`], and a SKU in its canonical form stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SkuForm {
    /// Whether white space around it is left out. If not, it makes the SKU malformed.
    trim: bool,
    /// What becomes of letters' case.
    case: Case,
    /// What becomes of characters that look like others.
    unicode: Unicode,
    /// The longest SKU, in bytes: 1 to 64.
    len_max: LenMax,
    /// What all of a SKU must match once the rest is done: a regular expression, such as `[A-Z]{2}-[0-9]+`.
    pattern: Option<SkuPattern>,
}

impl Default for SkuForm {
    fn default() -> Self {
        Self {
            trim: true,
            case: Case::Keep,
            unicode: Unicode::Keep,
            len_max: LenMax(Sku::LEN_MAX),
            pattern: None,
        }
    }
}

/// What becomes of the case of a SKU's letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// It stays: `ab-1` and `AB-1` are two products.
    #[default]
    Keep,
    /// `ab-1` is `AB-1`.
    Upper,
    /// `AB-1` is `ab-1`.
    Lower,
}

/// What becomes of a SKU's characters that look like others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unicode {
    /// They stay, and what is not ASCII makes the SKU malformed.
    #[default]
    Keep,
    /// Normalization Form KC (UAX #15): what was typed at full width, `ＡＢ－１`, is `AB-1`.
    Nfkc,
}

impl SkuForm {
    /// Reads a SKU from what a client sent, and makes it canonical.
    ///
    /// # Errors
    /// Says what keeps `raw` from being a SKU of this shop.
    pub fn parse(&self, raw: &str) -> Result<Sku, SkuError> {
        let text = self.normalize(raw)?;
        let text = match self.trim {
            true => text.trim_matches(|c: char| c.is_ascii_whitespace()),
            false => &text,
        };
        let sku = Sku::parse_exactly(&self.in_case(text))?;
        self.check(sku)
    }

    /// What tells this form from others, in every release and on every machine: of two forms that are not the
    /// same, one pair in 2^64 has the same.
    pub fn fingerprint(&self) -> u64 {
        let Self { trim, case, unicode, len_max: LenMax(len_max), pattern } = self;
        let pattern = pattern.as_ref().map_or("", |pattern| &pattern.raw);
        let text = format!("{trim} {case:?} {unicode:?} {len_max} {pattern}");
        let mut hasher = SipHasher13::new();
        hasher.write(text.as_bytes());
        hasher.finish()
    }

    fn normalize<'r>(&self, raw: &'r str) -> Result<Cow<'r, str>, SkuError> {
        if self.unicode == Unicode::Keep || raw.is_ascii() {
            return Ok(raw.into());
        }
        // No character of a SKU comes of more than four bytes (U+1D400 and its neighbours), and white space
        // is nobody's to hide behind: what is longer need not be normalised to be refused.
        let trimmed = raw.trim();
        if trimmed.len() > 4 * Sku::LEN_MAX {
            return Err(SkuError::TooLong { len: trimmed.len() });
        }
        // Of what is ASCII then, NFKD and NFKC make the same; of what is not, no SKU. NFKD takes smaller tables.
        Ok(raw.nfkd().collect::<String>().into())
    }

    fn in_case<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.case {
            Case::Keep => text.into(),
            Case::Upper => text.to_ascii_uppercase().into(),
            Case::Lower => text.to_ascii_lowercase().into(),
        }
    }

    fn check(&self, sku: Sku) -> Result<Sku, SkuError> {
        let (len, LenMax(len_max)) = (sku.as_str().len(), self.len_max);
        if len > len_max {
            return Err(SkuError::LongerThanForm { len, len_max });
        }
        let matches = |pattern: &SkuPattern| pattern.regex.is_match(sku.as_str());
        if self.pattern.as_ref().is_none_or(matches) { Ok(sku) } else { Err(SkuError::NotOfForm) }
    }
}

/// A regular expression for the whole of a SKU. Matching takes time in proportion to the SKU's length.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("minLength" = 1, "maxLength" = SkuPattern::LEN_MAX)))]
#[serde(try_from = "String")]
pub struct SkuPattern {
    raw: String,
    regex: Regex,
}

impl SkuPattern {
    /// The longest pattern, in bytes.
    const LEN_MAX: usize = 256;
    /// How much memory a pattern may take, in bytes: every worker thread has it.
    const SIZE_MAX: usize = 64 * 1024;
}

impl PartialEq for SkuPattern {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for SkuPattern {}

impl TryFrom<String> for SkuPattern {
    type Error = SkuPatternError;

    fn try_from(raw: String) -> Result<Self, SkuPatternError> {
        if !(1..=Self::LEN_MAX).contains(&raw.len()) {
            return Err(SkuPatternError::Length);
        }
        // By itself first: `a)(b` would be whole only between our own parentheses.
        let build = |text: &str| {
            let built = RegexBuilder::new(text).size_limit(Self::SIZE_MAX).build();
            built.map_err(|error| SkuPatternError::Regex { reason: error.to_string() })
        };
        build(&raw)?;
        let regex = build(&format!("^(?:{raw})$"))?;
        Ok(Self { raw, regex })
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkuPatternError {
    /// Empty, or too long.
    #[error("a pattern has 1 to {} bytes", SkuPattern::LEN_MAX)]
    Length,
    /// No regular expression, or one that takes too much memory.
    #[error("not a regular expression of moderate size, such as [A-Z]{{2}}-[0-9]+: {reason}")]
    Regex {
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 1, "maximum" = 64)))]
#[serde(try_from = "u64")]
struct LenMax(usize);

impl TryFrom<u64> for LenMax {
    type Error = RangeError;

    fn try_from(len: u64) -> Result<Self, RangeError> {
        in_range(len, 1..=Sku::LEN_MAX).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn form(json: Value) -> SkuForm {
        serde_json::from_value(json).unwrap()
    }

    fn check(json: Value, raw: &str, expected: Result<&str, SkuError>) {
        let parsed = form(json).parse(raw);
        assert_eq!(parsed.as_ref().map(Sku::as_str), expected.as_ref().copied(), "{raw:?}");
    }

    #[test]
    fn what_is_made_of_a_text() {
        let forbidden = |character| Err(SkuError::Forbidden { character });
        check(json!({}), " Ab-1\t", Ok("Ab-1"));
        check(json!({"trim": false}), "Ab-1", Ok("Ab-1"));
        check(json!({"trim": false}), " Ab-1", forbidden(' '));
        check(json!({"case": "upper"}), "Ab-1", Ok("AB-1"));
        check(json!({"case": "lower"}), "Ab-1", Ok("ab-1"));
        check(json!({}), "ＡＢ－１", forbidden('Ａ'));
        check(json!({"unicode": "nfkc"}), "ＡＢ－１", Ok("AB-1"));
        check(json!({"unicode": "nfkc"}), "\u{3000}ＡＢ－１\u{a0}", Ok("AB-1"));
        check(json!({"unicode": "nfkc", "case": "upper"}), "\u{212a}\u{17f}ａ", Ok("KSA"));
        check(json!({"unicode": "nfkc"}), "アイ", forbidden('ア'));
        check(json!({"unicode": "nfkc"}), "．．", Err(SkuError::Forbidden { character: '.' }));
        check(json!({"unicode": "nfkc"}), "Ａ／Ｂ", forbidden('/'));
    }

    #[test]
    fn what_it_must_be_then() {
        let two = json!({"case": "upper", "pattern": "[A-Z]{2}-[0-9]+"});
        check(two.clone(), "ab-17", Ok("AB-17"));
        for other in ["ab-", "xab-17", "ab-17x", "ab_17"] {
            check(two.clone(), other, Err(SkuError::NotOfForm));
        }
        check(json!({"pattern": "a|b-1"}), "b-1", Ok("b-1"));
        check(json!({"pattern": "a|b-1"}), "ab-1", Err(SkuError::NotOfForm));
        check(json!({"len_max": 4}), "ab-1", Ok("ab-1"));
        check(json!({"len_max": 4}), "ab-12", Err(SkuError::LongerThanForm { len: 5, len_max: 4 }));
        let wide = "\u{1d400}".repeat(64);
        check(json!({"unicode": "nfkc"}), &wide, Ok(&"A".repeat(64)));
        let wider = format!("{wide}A");
        check(json!({"unicode": "nfkc"}), &wider, Err(SkuError::TooLong { len: 257 }));
    }

    #[test]
    fn each_form_has_a_fingerprint_of_its_own() {
        let forms = [
            json!({}),
            json!({"trim": false}),
            json!({"case": "upper"}),
            json!({"case": "lower"}),
            json!({"unicode": "nfkc"}),
            json!({"len_max": 8}),
            json!({"pattern": "[A-Z]+"}),
            json!({"pattern": "[A-Z]*"}),
        ];
        // What edges of one release tell services of another.
        let fingerprints = forms.map(|json| form(json).fingerprint());
        assert_eq!(
            fingerprints,
            [
                0xfbb6_6827_d017_4efe,
                0x72d8_5f1d_78ff_e3e4,
                0x566e_d334_f161_762d,
                0x8b03_c925_b3ca_d0df,
                0x4485_88ba_8012_072c,
                0x0ca1_8194_c772_eb5f,
                0x6339_8d7b_7dfc_d45e,
                0xd08b_2b34_3485_abb9
            ]
        );
    }

    #[test]
    fn forms_that_are_none() {
        let refused =
            |json: Value| serde_json::from_value::<SkuForm>(json).unwrap_err().to_string();
        assert!(refused(json!({"len_max": 65})).contains("from 1 to 64"));
        assert!(refused(json!({"len_max": 0})).contains("from 1 to 64"));
        assert!(refused(json!({"pattern": ""})).contains("1 to 256"));
        assert!(refused(json!({"pattern": "x".repeat(257)})).contains("1 to 256"));
        for pattern in ["(", "a)(b", "(((a{100}){100}){100}){100}"] {
            assert!(
                refused(json!({"pattern": pattern})).contains("regular expression"),
                "{pattern}"
            );
        }
        assert!(refused(json!({"Case": "upper"})).contains("unknown field"));
    }

    fn any_form() -> impl Strategy<Value = SkuForm> {
        let case = prop_oneof![Just(Case::Keep), Just(Case::Upper), Just(Case::Lower)];
        let unicode = prop_oneof![Just(Unicode::Keep), Just(Unicode::Nfkc)];
        (any::<bool>(), case, unicode, 1..=Sku::LEN_MAX).prop_map(
            |(trim, case, unicode, len_max)| SkuForm {
                trim,
                case,
                unicode,
                len_max: LenMax(len_max),
                pattern: None,
            },
        )
    }

    proptest! {
        #[test]
        fn a_canonical_sku_stays_as_it_is(
            form in any_form(),
            raw in prop_oneof!["[ -~]{0,70}", "\\PC{0,12}", "[Ａ-ｚ０-９－]{0,12}"],
        ) {
            if let Ok(sku) = form.parse(&raw) {
                prop_assert_eq!(form.parse(sku.as_str()), Ok(sku.clone()));
                // And everybody else's reader takes it for the same.
                prop_assert_eq!(Sku::parse(sku.as_str()), Ok(sku));
            }
        }
    }
}
