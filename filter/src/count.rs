//! Changing a stored value that other worker threads change too.

/// Bytes under keys with compare-and-swap, shared by the worker threads.
pub(crate) trait SharedStore {
    /// A failure of the store itself.
    type Error;

    /// The value under `key`, with the number of its last change; `None` if there is none.
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Self::Error>;

    /// Stores `value` if `key` has not changed since its number was `cas`; for `None`: if there
    /// still is no value.
    fn set(&self, key: &str, value: &[u8], cas: Option<u32>) -> Result<(), SetError<Self::Error>>;
}

/// Why a value was not stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SetError<E> {
    /// Somebody else was faster.
    Changed,
    /// The store failed.
    Store(E),
}

/// Why a value was not updated. Nothing was stored then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UpdateError<E> {
    /// Others were faster, [`ATTEMPTS_MAX`] times in a row.
    Contended,
    /// The store failed.
    Store(E),
}

/// An attempt fails only when another thread's succeeded in the same microsecond or two, so that
/// even dozens of threads on one key get through. The bound is there because a request must never
/// spin without one.
pub(crate) const ATTEMPTS_MAX: u32 = 64;

/// Runs `decide` on the value under `key` until what it decided is stored. Its first result goes to
/// the caller; its second is the value to store, `None` to leave it.
pub(crate) fn update<S: SharedStore, T>(
    store: &S,
    key: &str,
    decide: impl Fn(Option<&[u8]>) -> (T, Option<Vec<u8>>),
) -> Result<T, UpdateError<S::Error>> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = store.get(key).map_err(UpdateError::Store)?;
        let (value, cas) = stored.unzip();
        let (decision, changed) = decide(value.as_deref());
        let Some(changed) = changed else { return Ok(decision) };
        match store.set(key, &changed, cas) {
            Ok(()) => return Ok(decision),
            Err(SetError::Changed) => {}
            Err(SetError::Store(error)) => return Err(UpdateError::Store(error)),
        }
    }
    Err(UpdateError::Contended)
}

/// The value under `key`, which is `value` if there was none: whoever comes first sets it for all.
pub(crate) fn get_or_create<S: SharedStore>(
    store: &S,
    key: &str,
    value: &[u8],
) -> Result<Vec<u8>, UpdateError<S::Error>> {
    update(store, key, |stored| match stored {
        Some(stored) => (stored.to_vec(), None),
        None => (value.to_vec(), Some(value.to_vec())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::sync::Mutex;

    use cartgate_policy::Quantity;
    use cartgate_policy::gcra::{Decision, Limit, State};

    /// What Envoy's `SharedData` does: one lock, one counter of changes.
    #[derive(Default)]
    struct Store(Mutex<Values>);

    #[derive(Default)]
    struct Values {
        by_key: HashMap<String, (Vec<u8>, u32)>,
        last_cas: u32,
    }

    impl SharedStore for Store {
        type Error = ();

        fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, ()> {
            Ok(self.0.lock().unwrap().by_key.get(key).cloned())
        }

        fn set(&self, key: &str, value: &[u8], cas: Option<u32>) -> Result<(), SetError<()>> {
            let mut values = self.0.lock().unwrap();
            if values.by_key.get(key).map(|stored| stored.1) != cas {
                return Err(SetError::Changed);
            }
            values.last_cas += 1;
            let stored = (value.to_vec(), values.last_cas);
            values.by_key.insert(key.to_owned(), stored);
            Ok(())
        }
    }

    /// A store that another thread always changes just before `set`.
    struct Busy(Cell<u32>);

    impl SharedStore for Busy {
        type Error = ();

        fn get(&self, _: &str) -> Result<Option<(Vec<u8>, u32)>, ()> {
            Ok(None)
        }

        fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<(), SetError<()>> {
            self.0.set(self.0.get() + 1);
            Err(SetError::Changed)
        }
    }

    #[test]
    fn threads_never_admit_above_the_burst() {
        let (store, limit) = (Store::default(), Limit::new(1, 100).unwrap());
        let charge = || {
            update(&store, "a", |stored| {
                let state = stored.and_then(State::from_bytes).unwrap_or(limit.fresh());
                let (decision, after) = limit.charge(state, Quantity::ONE, 0);
                (decision, (after != state).then(|| after.to_bytes().to_vec()))
            })
        };
        let admitted: usize = std::thread::scope(|scope| {
            let admitted = || (0..200).filter(|_| charge() == Ok(Decision::Admitted)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(admitted)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100);
    }

    #[test]
    fn contention_has_an_end() {
        let store = Busy(Cell::new(0));
        assert_eq!(update(&store, "a", |_| ((), Some(vec![1]))), Err(UpdateError::Contended));
        assert_eq!(store.0.get(), ATTEMPTS_MAX);
    }

    #[test]
    fn the_first_to_create_sets_it_for_all() {
        let store = Store::default();
        assert_eq!(get_or_create(&store, "seed", b"first"), Ok(b"first".to_vec()));
        assert_eq!(get_or_create(&store, "seed", b"second"), Ok(b"first".to_vec()));
    }
}
