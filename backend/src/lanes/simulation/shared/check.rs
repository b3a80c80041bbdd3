//! What is checked after everything that happens.

use cartgate_ledger::CommandId;

use super::world::SharedWorld;
use crate::lanes::simulation::wish::{self, SKUS};
use crate::lanes::simulation::{Checked, line};
use crate::store::shared_memory::Written;
use crate::store::tenure::{Place, Posted, ReplyTo, Route, Stream};

/// A reserve command that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Where it is, of all that was ever posted.
    place: (u64, u32),
    id: CommandId,
    reply: Option<ReplyTo>,
}

impl SharedWorld<'_> {
    /// A SKU's reserve commands that wait, in the order in which they are to be decided.
    pub(super) fn line(&self, sku: usize) -> Vec<Waiting> {
        let name = wish::sku(sku);
        let bucket = self.buckets.of_sku(&name);
        let own = Stream::Hot(name.clone());
        let streams = match self.store.route(bucket, &name) {
            Some(Route::Leaving) => [own, Stream::Normal],
            _ => [Stream::Normal, own],
        };
        let mut line = Vec::new();
        let mut see = |place: Place, nonce, posted: &Posted| {
            if let Posted::Command(command) = posted
                && command.sku == name
            {
                let (place, reply) = ((nonce, place.index), command.reply);
                line.extend(command.command.id().map(|id| Waiting { place, id, reply }));
            }
        };
        streams.iter().for_each(|stream| self.store.each_undecided(bucket, stream, &mut see));
        line
    }

    /// Something was posted: lines have only grown, and at their ends.
    pub(super) fn check_posted(&mut self) -> Checked {
        for sku in 0..SKUS.len() {
            let (before, after) = (&self.lines[sku], self.line(sku));
            ensure!(after.starts_with(before), "{before:?} waited, and then {after:?}");
            self.lines[sku] = after;
        }
        self.check_keys()
    }

    /// Something was written: lines have only become shorter, from their fronts, and what was taken
    /// was taken in their order. Whoever has hung up may vanish from anywhere.
    /// Tickets that were good still, `ended_tickets`, end only with what they are for.
    pub(super) fn check_written(
        &mut self,
        written: &[Written],
        ended_tickets: &[CommandId],
    ) -> Checked {
        for sku in 0..SKUS.len() {
            let after = self.line(sku);
            let before = std::mem::replace(&mut self.lines[sku], after.clone());
            let mut left = after.iter().peekable();
            let mut gone = Vec::new();
            for waiting in before {
                if left.next_if(|left| **left == waiting).is_none() {
                    let is_first = left.len() == after.len();
                    let has_gone = waiting.reply.is_some_and(|reply| {
                        self.hung_up.contains(&reply) || self.turned_away.contains(&reply)
                    });
                    ensure!(is_first || has_gone, "{waiting:?} is gone, and {after:?} wait");
                    gone.push(waiting.id);
                }
            }
            ensure!(left.next().is_none(), "{after:?} have changed their places");
            for id in ended_tickets {
                let waits = after.iter().any(|waiting| waiting.id == *id);
                ensure!(!waits || gone.contains(id), "{id} waits, and its ticket is taken back");
            }
            let (mut gone, name) = (gone.into_iter(), wish::sku(sku));
            for id in written.iter().flat_map(|w| line::decided(&w.turn.commit, &name)) {
                ensure!(gone.any(|gone| gone == id), "{id} is decided out of its turn");
            }
        }
        self.check_keys()
    }

    /// Everything else that is kept beside the streams agrees with them.
    pub(super) fn check_keys(&self) -> Checked {
        for bucket in self.buckets.all() {
            for stream in streams() {
                let count = self.store.waiting(bucket, &stream);
                let depth = self.store.depth(bucket, &stream);
                ensure!(depth == count, "{stream:?} has {count}, and a depth of {depth}");
            }
        }
        let tickets = self.buckets.all().flat_map(|bucket| self.store.tickets(bucket));
        let tickets: std::collections::BTreeMap<_, _> = tickets.collect();
        ensure!(tickets == self.oracle.ticketed, "{tickets:?}, not {:?}", self.oracle.ticketed);
        let max = self.setting.lanes.hot_items_max;
        for bucket in self.buckets.all() {
            let of_bucket = |sku: &&usize| self.buckets.of_sku(&wish::sku(**sku)) == bucket;
            let count = self.registry.keys().filter(of_bucket).count();
            ensure!(count <= max, "{count} hot items, more than {max}");
        }
        Ok(())
    }

    /// Nothing happens any more: each SKU has the lane that it is to have, and nothing is left.
    pub(super) fn check_rest(&self) -> Checked {
        for sku in 0..SKUS.len() {
            let name = wish::sku(sku);
            let route = self.store.route(self.buckets.of_sku(&name), &name);
            let expected = self.registry.contains_key(&sku).then_some(Route::Open);
            ensure!(route == expected, "{name} is {route:?}, not {expected:?}");
        }
        for bucket in self.buckets.all() {
            for stream in streams() {
                let left = self.store.waiting(bucket, &stream);
                ensure!(left == 0, "{left} are left in {stream:?}");
            }
        }
        Ok(())
    }
}

/// All streams that a bucket may have.
pub(super) fn streams() -> impl Iterator<Item = Stream> {
    let hot = (0..SKUS.len()).map(|sku| Stream::Hot(wish::sku(sku)));
    [Stream::Settle, Stream::Normal].into_iter().chain(hot)
}
