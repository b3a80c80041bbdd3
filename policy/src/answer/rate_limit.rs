//! The `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers-10): what a limit is,
//! and what is left of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::gcra::Limit;
use crate::{Quantity, Sku};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Both fields of a request that a limit did not admit. Structured fields (RFC 9651): lists of one item each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitFields {
    /// `RateLimit-Policy`: the burst as a quota, and the time in which it comes again as its window. The
    /// window is rounded up to whole seconds: nobody is promised more than there is.
    pub policy: String,
    /// `RateLimit`: what is left at once, and in how many seconds what was asked for is there.
    pub limit: String,
}

impl RateLimitFields {
    /// Of a request for `cost` units that will be there in `retry_after_ns`. The `name` of the limit is `sku`
    /// or `client`; each SKU is a partition of its own.
    pub fn new(name: &str, limit: Limit, sku: &Sku, cost: Quantity, retry_after_ns: u64) -> Self {
        let (quota, per_second) = (limit.burst(), limit.per_second());
        let window_s = quota.div_ceil(per_second);
        let partition = STANDARD.encode(sku.as_str());
        // So many units come in the time to wait; what is there now is the rest of what was asked for.
        let to_come = u128::from(retry_after_ns) * u128::from(per_second);
        let to_come = to_come.div_ceil(u128::from(NS_PER_SECOND));
        let left = u128::from(cost.get()).saturating_sub(to_come);
        let reset_s = retry_after_ns.div_ceil(NS_PER_SECOND);
        Self {
            policy: format!("\"{name}\";q={quota};w={window_s};pk=:{partition}:"),
            limit: format!("\"{name}\";r={left};t={reset_s};pk=:{partition}:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sfv::{BareItem, List, ListEntry, Parser};

    /// The one item of a list, by a parser that others have written.
    fn parse(field: &str) -> (String, Vec<(String, BareItem)>) {
        let list: List = Parser::new(field).parse().unwrap();
        let [ListEntry::Item(item)] = list.as_slice() else { panic!("one item: {field}") };
        let BareItem::String(name) = &item.bare_item else { panic!("a string: {field}") };
        let params = item.params.iter().map(|(key, value)| (key.to_string(), value.clone()));
        (name.to_string(), params.collect())
    }

    fn integer(params: &[(String, BareItem)], name: &str) -> i64 {
        let (_, value) = params.iter().find(|(key, _)| key == name).unwrap();
        let BareItem::Integer(number) = value else { panic!("{name} is no integer") };
        i64::from(*number)
    }

    #[test]
    fn fields() {
        let (limit, sku) = (Limit::new(5, 12).unwrap(), Sku::parse("A-1").unwrap());
        let two = Quantity::new(2).unwrap();
        let fields = RateLimitFields::new("sku", limit, &sku, two, 200_000_001);
        assert_eq!(fields.policy, "\"sku\";q=12;w=3;pk=:QS0x:");
        assert_eq!(fields.limit, "\"sku\";r=0;t=1;pk=:QS0x:");
        let fields = RateLimitFields::new("sku", limit, &sku, two, 200_000_000);
        assert_eq!(fields.limit, "\"sku\";r=1;t=1;pk=:QS0x:");
    }

    proptest! {
        #[test]
        fn a_parser_of_structured_fields_reads_them(
            per_second in 1_u64..=1_000_000, burst in 1_u64..=1_000_000, sku in "[A-Za-z0-9._~:-]{3,64}",
            cost in 1_u64..=1_000_000, retry_after_ns: u64,
        ) {
            let limit = Limit::new(per_second, burst).unwrap();
            let (sku, cost) = (Sku::parse(&sku).unwrap(), Quantity::new(cost).unwrap());
            let fields = RateLimitFields::new("client", limit, &sku, cost, retry_after_ns);
            for (field, names) in [(&fields.policy, ["q", "w", "pk"]), (&fields.limit, ["r", "t", "pk"])] {
                let (name, params) = parse(field);
                prop_assert_eq!(name, "client");
                let found: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
                prop_assert_eq!(found, names);
                prop_assert_eq!(&params[2].1, &BareItem::ByteSequence(sku.as_str().as_bytes().to_vec()));
            }
            let (quota, window) = (integer(&parse(&fields.policy).1, "q"), integer(&parse(&fields.policy).1, "w"));
            // Never more than the limit's pace.
            prop_assert!(u64::try_from(quota).unwrap() <= per_second * u64::try_from(window).unwrap());
            let (left, reset) = (integer(&parse(&fields.limit).1, "r"), integer(&parse(&fields.limit).1, "t"));
            prop_assert!(left <= i64::from(cost.get()));
            prop_assert!(u64::try_from(reset).unwrap() >= retry_after_ns / 1_000_000_000);
        }
    }
}
