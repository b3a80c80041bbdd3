//! What edges are to know of a hot item.

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use cartgate_policy::fleet::Item;
use cartgate_policy::gcra::Limit;

use crate::engine::HotState;

/// How long a sold-out item is called so at a time, if nobody knows when a hold of it expires.
const UNKNOWN_MS: u64 = 2_000;

/// The same, if no hold of it can expire.
const NO_HOLD_MS: u64 = 60_000;

/// With so much left of that time, it is told anew.
const RENEW_MS: u64 = 1_000;

/// A hot item, as edges are to know it at `now`, with the limit that is in force.
///
/// `before` is what they were told last. Each change is sent to all of them: what is as good stays as it is.
pub(super) fn item_of(
    sku: &Sku,
    state: &HotState,
    limit: Option<Limit>,
    before: Option<&Item>,
    now: UnixMs,
) -> Item {
    let (terms, edge) = (state.item.terms, state.item.edge);
    let told = before.and_then(|before| before.sold_out_until_ms);
    Item {
        sku: sku.clone(),
        limit,
        client_limit: edge.client_limit,
        opens_at_ms: terms.opens_at.map(|at| at.0),
        closes_at_ms: terms.closes_at.map(|at| at.0),
        sold_out_until_ms: sold_out_until_ms(state, told, now.0),
        is_paused: edge.is_paused,
    }
}

/// Until when nothing can be had. Holds only expire later than was thought while nothing can be had: one is
/// confirmed, or lasts longer. So an earlier time that was told does no harm: somebody goes and sees.
fn sold_out_until_ms(state: &HotState, told: Option<u64>, now_ms: u64) -> Option<u64> {
    let stock = state.stock.filter(|stock| stock.available == 0)?;
    let until_ms = match stock.next_due {
        Some(due) => due.0,
        None if stock.held == 0 => now_ms + NO_HOLD_MS,
        // Up to a whole second, so that many items are told anew together.
        None => (now_ms + UNKNOWN_MS).next_multiple_of(1_000),
    };
    let is_good = |told: &u64| *told > now_ms + RENEW_MS && *told <= until_ms;
    Some(told.filter(is_good).unwrap_or(until_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::HotStock;
    use crate::hot_items::HotItem;

    fn until(stock: Option<HotStock>, told: Option<u64>, now_ms: u64) -> Option<u64> {
        let state = HotState { item: HotItem::default(), stock, lane: None };
        let sku = Sku::parse("A").unwrap();
        let item = |told| Item {
            sold_out_until_ms: told,
            ..item_of(&sku, &state, None, None, UnixMs(now_ms))
        };
        let before = item(told);
        item_of(&sku, &state, None, Some(&before), UnixMs(now_ms)).sold_out_until_ms
    }

    fn stock(available: u64, held: u64, next_due: Option<u64>) -> Option<HotStock> {
        Some(HotStock { available, held, next_due: next_due.map(UnixMs) })
    }

    #[test]
    fn sold_out_until_a_hold_expires() {
        assert_eq!(until(None, None, 5_000), None, "never in stock");
        assert_eq!(until(stock(1, 9, Some(9_000)), Some(9_000), 5_000), None);
        assert_eq!(until(stock(0, 9, Some(9_000)), None, 5_000), Some(9_000));
    }

    #[test]
    fn what_was_told_stays_while_it_is_good() {
        // The first hold was confirmed, and the next expires later.
        assert_eq!(until(stock(0, 9, Some(9_700)), Some(9_000), 5_000), Some(9_000));
        assert_eq!(until(stock(0, 9, Some(9_700)), Some(9_000), 8_000), Some(9_700));
        // One expires earlier: it was taken between.
        assert_eq!(until(stock(0, 9, Some(8_000)), Some(9_000), 5_000), Some(8_000));
        // Due now: it is about to go back.
        assert_eq!(until(stock(0, 9, Some(9_000)), Some(9_000), 9_000), Some(9_000));
    }

    #[test]
    fn what_is_not_known_is_told_again_and_again() {
        let mut told = None;
        let mut changes = 0;
        for now_ms in (5_000..25_000).step_by(100) {
            let now = until(stock(0, 3, None), told, now_ms);
            assert!(now > Some(now_ms + 900) && now <= Some(now_ms + 2_000), "{now:?} {now_ms}");
            changes += u32::from(now != told);
            told = now;
        }
        assert!(changes <= 20, "{changes} changes in 20 s");
        assert_eq!(until(stock(0, 0, None), None, 5_000), Some(65_000), "all are sold");
    }
}
