//! What an owner decides a turn with, wherever its commands come from.

use std::collections::HashSet;

use cartgate_ledger::{Reservation, UnixMs};
use cartgate_policy::Sku;

use super::LaneSettings;
use super::queued::Queued;
use super::registry::RegistryChanges;
use super::retention::Forgetting;
use super::stocks::Stocks;
use super::turn::{Decided, Deferred, Turn, TurnLimits};
use crate::hot_items::HotItem;
use crate::store::{Commit, Ended, StockRow, Store, StoreError};

/// An owner's memory of its stock, and the rules by which it takes turns.
pub(super) struct Decider {
    pub(super) stocks: Stocks,
    forgetting: Forgetting,
    unclaimed_ms: u64,
    pub(super) limits: TurnLimits,
}

/// What is to be decided in a turn.
#[derive(Default)]
pub(super) struct Work {
    /// What changes of the registry of hot items.
    pub(super) registry: RegistryChanges,
    /// Settle commands, each judged at the time it came.
    pub(super) settle: Vec<Queued>,
    /// Reserve commands.
    pub(super) reserve: Vec<Queued>,
}

impl Decider {
    /// With the memory that a store holds.
    pub(super) fn restore(
        settings: &LaneSettings,
        stocks: Vec<(Sku, StockRow)>,
        holds: Vec<(Sku, Reservation)>,
        refusals: Vec<Ended>,
    ) -> Self {
        Self {
            stocks: Stocks::restore(stocks, holds),
            forgetting: Forgetting::restore(settings.retention, refusals),
            unclaimed_ms: settings.unclaimed_ms,
            limits: TurnLimits::default(),
        }
    }

    /// Decides a turn at `now`: what to write, what to answer once it is written, and what is to
    /// come again.
    pub(super) fn turn(
        &mut self,
        store: &dyn Store,
        work: Work,
        now: UnixMs,
    ) -> Result<(Commit, Decided, Deferred), StoreError> {
        for (sku, item) in &work.registry.items {
            self.set_terms(store, sku, item.as_ref())?;
        }
        let commands = work.settle.len() + work.reserve.len();
        let mut turn = Turn::new(store, &mut self.stocks, self.unclaimed_ms, self.limits, commands);
        for queued in work.settle {
            turn.settle(queued)?;
        }
        turn.sweep(now);
        for queued in work.reserve {
            turn.reserve(queued, now)?;
        }
        let (mut commit, decided, deferred) = turn.finish();
        commit.hot_items = work.registry.items.into_iter().collect();
        commit.hot_item_histories = work.registry.histories.into_iter().collect();
        self.forget(store, &mut commit, now)?;
        Ok((commit, decided, deferred))
    }

    /// Changes the terms of a SKU's sale to those of a hot item.
    pub(super) fn set_terms(
        &mut self,
        store: &dyn Store,
        sku: &Sku,
        item: Option<&HotItem>,
    ) -> Result<(), StoreError> {
        let terms = item.map(|item| item.terms).unwrap_or_default();
        if terms == self.stocks.terms(sku) {
            return Ok(());
        }
        let is_capped = terms.customer_cap.is_some();
        let purchases = if is_capped { store.purchases(sku)? } else { Vec::new() };
        self.stocks.set_terms(sku, terms, &purchases);
        Ok(())
    }

    /// Adds to a commit what is to be forgotten with it. What it writes anew is not forgotten: only
    /// its earlier end is.
    fn forget(
        &mut self,
        store: &dyn Store,
        commit: &mut Commit,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let forgotten = self.forgetting.turn(store, commit, now)?;
        if forgotten.is_empty() {
            return Ok(());
        }
        let written: HashSet<_> = commit.reservations.iter().map(|(_, r)| r.id).collect();
        let known: HashSet<_> = commit.superseded.iter().chain(&commit.ended).copied().collect();
        for end in forgotten {
            if !written.contains(&end.id) {
                commit.forgotten.push(end);
            } else if !known.contains(&end) {
                commit.superseded.push(end);
            }
        }
        Ok(())
    }
}
