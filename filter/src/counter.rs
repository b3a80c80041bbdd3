//! Counting: charging a request to every limit that it has to pass.
//!
//! ```text
//! is a cost above a burst?              nothing else need be known
//! look at all limits but the first      nothing is spent, and the first refusal is the answer
//! take from each, the first one first   from what this thread has leased, or else from the shared state
//! ```
//!
//! So a refusal mostly costs the other limits nothing. If another thread came between looking and
//! taking, what was taken stays with this thread, and dies with its lease: it is never given back to the
//! shared state, so that nothing can be admitted twice.

use std::cell::RefCell;

use cartgate_policy::client::{Client, ClientSource};
use cartgate_policy::gcra::{Decision, Limit, State};
use cartgate_policy::lease::{Leases, Local};
use cartgate_policy::shares::{Allowance, Meter};
use cartgate_policy::slots::{self, Slot};
use cartgate_policy::{Quantity, Sku};

use crate::count::{self, NS_PER_MS, SharedStore, UpdateError};
use crate::fleet::{HotItem, Keys, TICK_MS};

// Keys in shared data belong to a `vm_id`, which Istio leaves empty for every filter: hence our
// own prefix. The number is that of the values' layout, so that a later version, loaded into the
// same process, does not meet values it cannot read.
const SKU_KEY: &[u8] = b"cartgate/1/sku/";
const SLOTS_KEY: &[u8] = b"cartgate/1/slots/";
const CLIENTS_KEY: &[u8] = b"cartgate/1/clients/";

/// A limit, and what a request costs there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge<'a> {
    /// Whose it is.
    pub(crate) subject: Subject<'a>,
    /// The limit.
    pub(crate) limit: Limit,
    /// What the request costs.
    pub(crate) cost: Quantity,
    /// Whether a request that it does not admit passes all the same.
    pub(crate) is_shadow: bool,
}

/// Whose limit it is, and how many sets of slots such subjects share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A SKU that has a key of its own. Until it has, it goes on with what it owes among the others,
    /// under their limit.
    Listed { sku: &'a Sku, others: Limit, sets_count: u32 },
    /// A hot item, of whose fleet-wide limit this edge has a share. Until when that is good is in monotonic
    /// nanoseconds.
    Hot { sku: &'a Sku, item: &'a HotItem, keys: &'a Keys, contact_until_ns: u64 },
    /// Another SKU.
    Sku { sku: &'a Sku, sets_count: u32 },
    /// A client of a SKU. Each source of clients has a table of its own, wherever it stands in the
    /// configuration.
    Client { sku: &'a Sku, client: Client, source: &'a ClientSource, sets_count: u32 },
}

impl<'a> Subject<'a> {
    /// The SKU.
    pub(crate) fn sku(&self) -> &'a Sku {
        match self {
            Self::Listed { sku, .. }
            | Self::Hot { sku, .. }
            | Self::Sku { sku, .. }
            | Self::Client { sku, .. } => sku,
        }
    }
}

/// What came of charging a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Which charge was refused and how, if one was: then nothing is admitted.
    pub(crate) refused: Option<(usize, Decision)>,
    /// Which would have been, but for being in shadow.
    pub(crate) would_be: Vec<(usize, Decision)>,
    /// Whether something was charged to the overflow of a full set of slots.
    pub(crate) overflowed: bool,
}

impl Verdict {
    fn would_be(&self, n: usize) -> bool {
        self.would_be.iter().any(|(before, _)| *before == n)
    }

    /// A limit does not admit the request. Whether that is the end of it.
    fn refuse(&mut self, n: usize, charge: &Charge<'_>, decision: Decision) -> bool {
        if charge.is_shadow {
            self.would_be.push((n, decision));
        } else {
            self.refused = Some((n, decision));
        }
        !charge.is_shadow
    }
}

/// One worker thread's part of the counting.
pub(crate) struct Counter<S> {
    store: S,
    seed: [u8; 16],
    leases: RefCell<Leases>,
}

impl<S: SharedStore> Counter<S> {
    /// Counts in `store`. The `seed` of the slots is the same in all worker threads, and another in
    /// each process.
    pub(crate) fn new(store: S, seed: [u8; 16]) -> Self {
        Self { store, seed, leases: RefCell::default() }
    }

    /// Charges a request to all of its limits, of which no two are the same. One in shadow refuses nothing: it
    /// is charged for what it would have admitted, and says so of the rest.
    ///
    /// # Errors
    /// Nothing is admitted. One in shadow fails in silence.
    pub(crate) fn charge(&self, charges: &[Charge<'_>]) -> Result<Verdict, UpdateError<S::Error>> {
        let mut verdict = Verdict::default();
        for (n, charge) in charges.iter().enumerate() {
            // Whoever else refuses it now: no time to come will admit it.
            if charge.cost.get() > charge.limit.burst()
                && verdict.refuse(n, charge, Decision::OverBurst)
            {
                return Ok(verdict);
            }
        }
        if charges.len() < 2 || !self.look_at_all(charges, &mut verdict)? {
            self.take_all(charges, &mut verdict)?;
        }
        Ok(verdict)
    }

    /// Whether one of several limits refuses. Of the first of them this is only what the thread knows by
    /// itself: it is the one to be taken from next.
    fn look_at_all(
        &self,
        charges: &[Charge<'_>],
        verdict: &mut Verdict,
    ) -> Result<bool, UpdateError<S::Error>> {
        for (n, charge) in charges.iter().enumerate() {
            if verdict.would_be(n) {
                continue;
            }
            let looked = match n {
                0 => self.look_local(charge, self.slot(charge.subject)).map_err(UpdateError::Store),
                _ => self.look(charge).map(Local::Decided),
            };
            let decision = match looked {
                Ok(Local::Decided(decision)) => decision,
                Ok(Local::Ask { .. }) => Decision::Admitted,
                Err(_) if charge.is_shadow => Decision::Admitted,
                Err(error) => return Err(error),
            };
            if decision != Decision::Admitted && verdict.refuse(n, charge, decision) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_all(
        &self,
        charges: &[Charge<'_>],
        verdict: &mut Verdict,
    ) -> Result<(), UpdateError<S::Error>> {
        // Of a single charge there is nothing to put back.
        let mut taken = Vec::new();
        for (n, charge) in charges.iter().enumerate() {
            if verdict.would_be(n) {
                continue;
            }
            match self.take(charge, &mut verdict.overflowed) {
                Ok(Decision::Admitted) if charges.len() > 1 => taken.push(charge),
                Ok(Decision::Admitted) => {}
                Ok(decision) => {
                    if verdict.refuse(n, charge, decision) {
                        self.put_back(&taken);
                        return Ok(());
                    }
                }
                Err(_) if charge.is_shadow => {}
                Err(error) => {
                    self.put_back(&taken);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What taking would say now. A refusal is stored as if it had been taken: what is owed goes on at
    /// the limit's pace from the first request that was refused under it.
    fn look(&self, charge: &Charge<'_>) -> Result<Decision, UpdateError<S::Error>> {
        let slot = self.slot(charge.subject);
        let cost = match self.look_local(charge, slot).map_err(UpdateError::Store)? {
            Local::Decided(decision) => return Ok(decision),
            Local::Ask { cost, .. } => cost,
        };
        let asked = count::update(&self.store, &key(charge.subject, slot), |stored, now_ns| {
            let (asked, changed) = self.ask(charge, slot, cost, 0, (stored, now_ns))?;
            Ok((asked, changed.filter(|_| asked.decision != Decision::Admitted)))
        })?;
        match asked.decision {
            Decision::Admitted => Ok(Decision::Admitted),
            _ => Ok(self.note(charge, slot, cost, asked)),
        }
    }

    fn look_local(&self, charge: &Charge<'_>, slot: Slot) -> Result<Local, S::Error> {
        let leases = self.leases.borrow();
        match charge.limit_here() {
            Some(limit) if leases.know(slot.fingerprint) => {
                let now_ns = self.store.now_ns()?;
                Ok(leases.look(slot.fingerprint, limit, charge.cost, now_ns))
            }
            _ => Ok(Local::Ask { cost: charge.cost, ahead: 0 }),
        }
    }

    fn take(
        &self,
        charge: &Charge<'_>,
        overflowed: &mut bool,
    ) -> Result<Decision, UpdateError<S::Error>> {
        let slot = self.slot(charge.subject);
        let (cost, ahead) = match self.take_local(charge, slot).map_err(UpdateError::Store)? {
            Local::Decided(decision) => return Ok(decision),
            Local::Ask { cost, ahead } => (cost, ahead),
        };
        let asked = count::update(&self.store, &key(charge.subject, slot), |stored, now_ns| {
            self.ask(charge, slot, cost, ahead, (stored, now_ns))
        })?;
        *overflowed |= asked.overflowed;
        Ok(self.note(charge, slot, cost, asked))
    }

    /// What this thread can decide by itself.
    fn take_local(&self, charge: &Charge<'_>, slot: Slot) -> Result<Local, S::Error> {
        let mut leases = self.leases.borrow_mut();
        match charge.limit_here() {
            Some(limit) if leases.know(slot.fingerprint) => {
                let now_ns = self.store.now_ns()?;
                Ok(leases.decide(slot.fingerprint, limit, charge.cost, now_ns))
            }
            _ => Ok(Local::Ask { cost: charge.cost, ahead: 0 }),
        }
    }

    /// Asks the shared state again before denying: shares have changed.
    pub(crate) fn forget_denials(&self) {
        self.leases.borrow_mut().forget_denials();
    }

    /// What the shared state says to a charge, and what it is then, if that is anything new.
    fn ask(
        &self,
        charge: &Charge<'_>,
        slot: Slot,
        cost: Quantity,
        ahead: u32,
        (stored, at_ns): (Option<&[u8]>, u64),
    ) -> Result<(Asked, Option<Vec<u8>>), S::Error> {
        let limit = charge.limit;
        if let Subject::Hot { item, contact_until_ns, .. } = charge.subject {
            let asked =
                ask_meter(item, contact_until_ns, slot.fingerprint, (cost, ahead), (stored, at_ns));
            return Ok(asked);
        }
        let Subject::Listed { sku, others, sets_count } = charge.subject else {
            let charged = slots::charge(stored, slot.fingerprint, limit, cost, ahead, at_ns);
            let slots::Charged { decision, ahead, set, overflowed } = charged;
            return Ok((Asked { decision, ahead, at_ns, overflowed }, set));
        };
        let state = match stored {
            None => {
                let set = key(Subject::Sku { sku, sets_count }, slot);
                let set = self.store.get(&set)?.map(|(set, _)| set);
                slots::state(set.as_deref(), slot.fingerprint, others, at_ns)
            }
            // Bytes that cannot be read hide an unknown debt: go on from an empty bucket.
            Some(bytes) => State::from_bytes(bytes).unwrap_or_else(|| limit.exhausted(at_ns)),
        };
        let (decision, after, ahead) = limit.charge_ahead(state, cost, ahead, at_ns);
        let after = after.to_bytes();
        let changed = (stored != Some(&after[..])).then(|| after.to_vec());
        Ok((Asked { decision, ahead, at_ns, overflowed: false }, changed))
    }

    /// Takes note of what was asked for, and gives the decision on the whole charge.
    fn note(&self, charge: &Charge<'_>, slot: Slot, cost: Quantity, asked: Asked) -> Decision {
        let told = (asked.decision, asked.ahead);
        match charge.limit_here() {
            Some(limit) => {
                self.leases.borrow_mut().note(slot.fingerprint, limit, cost, told, asked.at_ns)
            }
            None => asked.decision,
        }
    }

    /// Keeps what was taken for a request that is not admitted after all.
    fn put_back(&self, charges: &[&Charge<'_>]) {
        for charge in charges {
            let fingerprint = self.slot(charge.subject).fingerprint;
            self.leases.borrow_mut().put_back(fingerprint, charge.cost);
        }
    }

    fn slot(&self, subject: Subject<'_>) -> Slot {
        let (sku, client, sets_count) = match subject {
            Subject::Listed { sku, sets_count, .. } | Subject::Sku { sku, sets_count } => {
                (sku, None, sets_count)
            }
            // There are no sets of these.
            Subject::Hot { sku, .. } => (sku, None, 1),
            Subject::Client { sku, client, sets_count, .. } => (sku, Some(client), sets_count),
        };
        Slot::of(sku, client, &self.seed, sets_count)
    }
}

impl Charge<'_> {
    /// The limit by which a thread can decide: of a hot item the share that it has seen last, if that
    /// admits as much at once.
    fn limit_here(&self) -> Option<Limit> {
        match self.subject {
            Subject::Hot { item, .. } => {
                let share = item.share.get();
                share.limit().filter(|_| self.cost.get() <= share.at_once())
            }
            _ => Some(self.limit),
        }
    }
}

/// What an item's meter says to a charge, and what it is then, if that is anything new.
fn ask_meter(
    item: &HotItem,
    contact_until_ns: u64,
    fingerprint: u64,
    (cost, ahead): (Quantity, u32),
    (stored, at_ns): (Option<&[u8]>, u64),
) -> (Asked, Option<Vec<u8>>) {
    let overflowed = false;
    let meter = stored.and_then(Meter::from_bytes).filter(|meter| meter.is_of(fingerprint));
    let Some(meter) = meter else {
        // The item is gone and another has its place: this thread hears of that with its next tick.
        let decision = Decision::Denied { retry_after_ns: u64::from(TICK_MS) * NS_PER_MS };
        item.share.set(Allowance::default());
        return (Asked { decision, ahead: 0, at_ns, overflowed }, None);
    };
    let counts = (item.safe, contact_until_ns);
    item.share.set(meter.share(item.safe, contact_until_ns, at_ns));
    let (decision, after, ahead) = meter.charge(cost, ahead, counts, at_ns);
    let changed = (decision == Decision::Admitted).then(|| after.to_bytes().to_vec());
    (Asked { decision, ahead, at_ns, overflowed }, changed)
}

/// What the state that all worker threads share has said, and when.
#[derive(Clone, Copy)]
struct Asked {
    decision: Decision,
    /// Units charged beyond the request's.
    ahead: u32,
    at_ns: u64,
    overflowed: bool,
}

/// Made for every charge that a thread cannot decide by itself: the number of a set stands in it in
/// little endian, so that nothing has to be formatted.
fn key(subject: Subject<'_>, slot: Slot) -> Vec<u8> {
    let set = slot.set.to_le_bytes();
    match subject {
        Subject::Listed { sku, .. } => [SKU_KEY, sku.as_str().as_bytes()].concat(),
        Subject::Hot { item, keys, .. } => keys.meter(item.place),
        Subject::Sku { .. } => [SLOTS_KEY, &set].concat(),
        Subject::Client { source, .. } => {
            [CLIENTS_KEY, source.to_string().as_bytes(), b"/", &set].concat()
        }
    }
}

#[cfg(test)]
mod tests;
