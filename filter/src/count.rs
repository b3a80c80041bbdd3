//! Changing a stored value that other worker threads change too.

/// Nanoseconds in a millisecond: the store's clock counts the one, and messages the other.
pub(crate) const NS_PER_MS: u64 = 1_000_000;

/// Bytes under keys with compare-and-swap, and a clock: both shared by the worker threads.
pub(crate) trait SharedStore {
    /// A failure of the store or its clock.
    type Error;

    /// The value under `key`, with the number of its last change; `None` if there is none.
    fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Self::Error>;

    /// Stores `value` if `key` has not changed since its number was `cas`; for `None`: if there
    /// still is no value.
    fn set(&self, key: &[u8], value: &[u8], cas: Option<u32>) -> Result<(), SetError<Self::Error>>;

    /// Nanoseconds on a monotonic clock.
    fn now_ns(&self) -> Result<u64, Self::Error>;
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
///
/// The time that `decide` is given is never before the one at which the value was written: each
/// attempt reads the value first, then the clock.
pub(crate) fn update<S: SharedStore, T>(
    store: &S,
    key: &[u8],
    decide: impl Fn(Option<&[u8]>, u64) -> Result<(T, Option<Vec<u8>>), S::Error>,
) -> Result<T, UpdateError<S::Error>> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = store.get(key).map_err(UpdateError::Store)?;
        let now_ns = store.now_ns().map_err(UpdateError::Store)?;
        let (value, cas) = stored.unzip();
        let (decision, changed) = decide(value.as_deref(), now_ns).map_err(UpdateError::Store)?;
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
    key: &[u8],
    value: &[u8],
) -> Result<Vec<u8>, UpdateError<S::Error>> {
    update(store, key, |stored, _| {
        Ok(match stored {
            Some(stored) => (stored.to_vec(), None),
            None => (value.to_vec(), Some(value.to_vec())),
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::rc::Rc;
    use std::sync::Mutex;

    use cartgate_policy::Quantity;
    use cartgate_policy::gcra::{Decision, Limit, State};

    /// What Envoy's `SharedData` does: one lock, one counter of changes.
    #[derive(Default)]
    pub(crate) struct Store(Mutex<Values>);

    #[derive(Default)]
    struct Values {
        by_key: HashMap<Vec<u8>, (Vec<u8>, u32)>,
        last_cas: u32,
    }

    impl SharedStore for Store {
        type Error = ();

        fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
            Ok(self.0.lock().unwrap().by_key.get(key).cloned())
        }

        fn set(&self, key: &[u8], value: &[u8], cas: Option<u32>) -> Result<(), SetError<()>> {
            let mut values = self.0.lock().unwrap();
            if values.by_key.get(key).map(|stored| stored.1) != cas {
                return Err(SetError::Changed);
            }
            values.last_cas += 1;
            let stored = (value.to_vec(), values.last_cas);
            values.by_key.insert(key.to_owned(), stored);
            Ok(())
        }

        fn now_ns(&self) -> Result<u64, ()> {
            Ok(0)
        }
    }

    /// A clock that a test sets.
    #[derive(Clone, Default)]
    pub(crate) struct Timed {
        pub(crate) store: Rc<Store>,
        pub(crate) now_ns: Rc<Cell<u64>>,
    }

    impl SharedStore for Timed {
        type Error = ();

        fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
            self.store.get(key)
        }

        fn set(&self, key: &[u8], value: &[u8], cas: Option<u32>) -> Result<(), SetError<()>> {
            self.store.set(key, value, cas)
        }

        fn now_ns(&self) -> Result<u64, ()> {
            Ok(self.now_ns.get())
        }
    }

    /// A store that another thread always changes just before `set`, at the same tick of its clock.
    struct Busy(Cell<u32>);

    impl SharedStore for Busy {
        type Error = ();

        fn get(&self, _: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
            Ok(Some((self.0.get().to_le_bytes().to_vec(), 1)))
        }

        fn set(&self, _: &[u8], _: &[u8], _: Option<u32>) -> Result<(), SetError<()>> {
            self.0.set(self.0.get() + 1);
            Err(SetError::Changed)
        }

        fn now_ns(&self) -> Result<u64, ()> {
            Ok(self.0.get().into())
        }
    }

    #[test]
    fn threads_never_admit_above_the_burst() {
        let (store, limit) = (Store::default(), Limit::new(1, 100).unwrap());
        let charge = || {
            update(&store, b"a", |stored, now_ns| {
                let state = stored.and_then(State::from_bytes).unwrap_or(limit.fresh());
                let (decision, after) = limit.charge(state, Quantity::ONE, now_ns);
                Ok((decision, (after != state).then(|| after.to_bytes().to_vec())))
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
        let decided = update(&store, b"a", |_, _| Ok(((), Some(vec![1]))));
        assert_eq!(decided, Err(UpdateError::Contended));
        assert_eq!(store.0.get(), ATTEMPTS_MAX);
    }

    #[test]
    fn no_attempt_is_decided_at_a_time_before_its_value() {
        let decided = update(&Busy(Cell::new(0)), b"a", |stored, now_ns| {
            assert_eq!(stored, Some(&u32::try_from(now_ns).unwrap().to_le_bytes()[..]));
            Ok(((), Some(vec![1])))
        });
        assert_eq!(decided, Err(UpdateError::Contended));
    }

    #[test]
    fn the_first_to_create_sets_it_for_all() {
        let store = Store::default();
        assert_eq!(get_or_create(&store, b"seed", b"first"), Ok(b"first".to_vec()));
        assert_eq!(get_or_create(&store, b"seed", b"second"), Ok(b"first".to_vec()));
    }
}
