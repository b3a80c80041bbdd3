//! Requests with an `Idempotency-Key` whose callers wait for an outcome, in this process.
//!
//! A repeat that waits as well joins the command in its lane. One that does not wait has nothing to join
//! with: it is told that the first is still in flight (draft-ietf-httpapi-idempotency-key-header, section
//! 2.6). On a shared store the first may wait at another process: then the repeat gets a ticket, which is
//! as good.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_ledger::{CommandId, Fingerprint, Reserve};
use cartgate_policy::problem::ProblemType;

use super::refused::{Refused, try_later};
use crate::lanes::EnqueueError;

/// So many locks: callers of different commands seldom meet at one.
const PARTS: usize = 16;

/// Commands that somebody waits for: as many at most as there are callers.
#[derive(Default)]
pub(super) struct InFlight([Mutex<HashMap<CommandId, Waited>>; PARTS]);

struct Waited {
    fingerprint: Fingerprint,
    callers: usize,
}

/// A caller, for as long as it waits.
pub(super) struct Caller<'a> {
    part: &'a Mutex<HashMap<CommandId, Waited>>,
    id: CommandId,
}

impl InFlight {
    /// A caller begins to wait.
    pub(super) fn enter(&self, reserve: &Reserve) -> Caller<'_> {
        let (id, fingerprint) = (reserve.id, reserve.fingerprint);
        let part = self.part(id);
        lock(part).entry(id).or_insert(Waited { fingerprint, callers: 0 }).callers += 1;
        Caller { part, id }
    }

    /// Refuses a repeat of what somebody waits for.
    pub(super) fn check(&self, repeat: &Reserve) -> Result<(), Refused> {
        match lock(self.part(repeat.id)).get(&repeat.id) {
            None => Ok(()),
            Some(first) if first.fingerprint != repeat.fingerprint => {
                Err(EnqueueError::KeyReused.into())
            }
            Some(_) => Err(Refused(try_later(ProblemType::InFlight))),
        }
    }

    fn part(&self, id: CommandId) -> &Mutex<HashMap<CommandId, Waited>> {
        // Ids end with bytes of a hash.
        let last = id.0.last().copied().unwrap_or_default();
        &self.0[usize::from(last) % PARTS]
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waited) = lock(self.part).entry(self.id) {
            waited.get_mut().callers -= 1;
            if waited.get().callers == 0 {
                waited.remove();
            }
        }
    }
}

fn lock(part: &Mutex<HashMap<CommandId, Waited>>) -> MutexGuard<'_, HashMap<CommandId, Waited>> {
    // Nothing in here can panic half way through a change.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
