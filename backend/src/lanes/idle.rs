//! The owner while it is idle, and who takes its next turn.
//!
//! The owner's thread takes turns for as long as there is something to do. Then it leaves the owner
//! here, and sleeps until somebody brings work and wakes it. But in quiet times, after a light turn
//! just now, a caller that begins to wait takes the owner instead, and a turn in its own thread: to
//! wake another one and to be woken by it would take a lone caller nearly as long as the durable
//! write.
//!
//! ```text
//! the owner's thread   turn turn ┐                       ┌ turn turn ┐
//! idle                           └ owner ┐       ┌ owner ┘           └ owner
//! a lone caller                          └ turn ─┘
//! ```
//!
//! The owner is moved, not shared: if a turn fails or panics, the owner goes, and all that was in its
//! memory with it, whoever has taken it.
//!
//! No command is left lying. Whoever brings one sets `has_work` once it is in its lane. From then on
//! somebody sees to it: its caller, if the owner is here in quiet times; else the thread, which is
//! woken; else whoever has the owner, by looking at `has_work` after bringing it back. A turn clears
//! `has_work` before it looks at the lanes. And if a caller leaves, or does something else before it
//! waits, the thread comes soon: in quiet times it watches.
//!
//! Nobody else waits for a caller's turn. The caller's thread is one of tokio's workers, and it may
//! be the one that looks after all connections, while the others sleep: tokio would wake another one
//! only for work that it knows of. Light turns last about as long as any other work on a request; and
//! in case that one does not, the thread watches: see [`WATCH`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::owner::{Next, Owner};

/// In quiet times the owner's thread looks so often whether a caller has the owner. If so, it wakes
/// another worker, by work that takes no time: should the disk be stuck, that one looks after the
/// connections. When no caller took a turn for so long, it sleeps, and the next one wakes it.
const WATCH: Duration = Duration::from_millis(10);

/// The owner while it is idle, and what those who take its turns tell each other.
#[derive(Default)]
pub(super) struct Idle {
    /// Whether something has come since a turn last began to look.
    has_work: AtomicBool,
    /// Whether the owner is here in quiet times: the next caller that waits may take it.
    is_quiet: AtomicBool,
    place: Mutex<Place>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct Place {
    /// `None`: somebody has it.
    owner: Option<Owner>,
    /// Where the caller is at home that took it last.
    runtime: Option<Handle>,
    has_failed: bool,
}

/// A turn failed, and the owner went with it. The reason has been logged.
#[derive(Debug)]
pub(super) struct Failed;

/// Takes turns until the lanes are closed and drained, and leaves the owner to callers while there
/// is nothing to do.
///
/// # Errors
/// A turn failed, here or in a caller's thread. After a failed commit nobody knows what is written,
/// so the memory goes with the owner; the process is to end, and its next start reads the store back.
pub(super) fn take_turns(mut owner: Owner) -> Result<(), Failed> {
    let shared = Arc::clone(&owner.shared);
    let idle = &shared.idle;
    idle.thread.get_or_init(thread::current);
    loop {
        let next = loop {
            match turn(&mut owner)? {
                Next::Turn => {}
                next => break next,
            }
        };
        let Next::Sleep(duration) = next else { return Ok(()) };
        // Whether there was a light turn since this thread was here; what comes next is a new question.
        let is_quiet = std::mem::take(&mut owner.was_light);
        idle.put(owner, is_quiet);
        if !idle.has_work() {
            thread::park_timeout(if is_quiet { duration.min(WATCH) } else { duration });
        }
        owner = idle.wait_for_owner()?;
    }
}

fn turn(owner: &mut Owner) -> Result<Next, Failed> {
    owner.turn().map_err(|error| {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, "the store failed, the engine stops");
        Failed
    })
}

impl Idle {
    /// A command is in its lane. If its caller may take the turn itself, it will when it begins to
    /// wait; else the thread is woken at once.
    pub(super) fn submitted(&self) {
        // Whoever finds it set already comes while somebody else sees to it.
        let is_first = !self.has_work.swap(true, Ordering::SeqCst);
        if is_first && !self.is_quiet.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// A caller begins to wait: takes a turn if that is left to it.
    pub(super) fn attend(&self) {
        if !(self.has_work() && self.is_quiet.load(Ordering::SeqCst)) {
            return;
        }
        match runtime_of_many() {
            None => self.wake(),
            Some(runtime) => {
                if let Some(owner) = self.take_quiet(runtime) {
                    self.callers_turn(owner);
                }
            }
        }
    }

    /// Something has come that no caller takes a turn for.
    pub(super) fn wake_for_work(&self) {
        self.has_work.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether something has come since a turn last began to look.
    pub(super) fn has_work(&self) -> bool {
        self.has_work.load(Ordering::SeqCst)
    }

    /// A turn begins to look: what comes from now on makes another one.
    pub(super) fn look(&self) {
        self.has_work.store(false, Ordering::SeqCst);
    }

    /// Whether the next caller that waits may take the turn.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::SeqCst)
    }

    fn callers_turn(&self, mut owner: Owner) {
        // What a panic leaves half done goes with the owner.
        let Ok(Ok(next)) = catch_unwind(AssertUnwindSafe(|| turn(&mut owner))) else {
            drop(owner);
            self.place().has_failed = true;
            return self.wake();
        };
        let is_quiet = owner.was_light;
        self.put(owner, is_quiet);
        // Everything else is the thread's business; but if there is nothing, it comes soon enough.
        let is_all = matches!(next, Next::Sleep(duration) if duration >= WATCH);
        if !is_all || self.has_work() {
            self.wake();
        }
    }

    fn put(&self, owner: Owner, is_quiet: bool) {
        let mut place = self.place();
        self.is_quiet.store(is_quiet, Ordering::SeqCst);
        place.owner = Some(owner);
    }

    /// Takes the owner for a caller, unless somebody else has been faster.
    fn take_quiet(&self, runtime: Handle) -> Option<Owner> {
        let mut place = self.place();
        if !self.is_quiet.swap(false, Ordering::SeqCst) {
            return None;
        }
        place.runtime = Some(runtime);
        place.owner.take()
    }

    /// Takes the owner for its thread. While a caller has it, sees to it that nobody waits for that.
    fn wait_for_owner(&self) -> Result<Owner, Failed> {
        loop {
            let mut place = self.place();
            if place.has_failed {
                return Err(Failed);
            }
            self.is_quiet.store(false, Ordering::SeqCst);
            if let Some(owner) = place.owner.take() {
                return Ok(owner);
            }
            if let Some(runtime) = &place.runtime {
                drop(runtime.spawn(async {}));
            }
            drop(place);
            thread::park_timeout(WATCH);
        }
    }

    fn wake(&self) {
        // As long as there is no thread: the first thing that it will do is to take a turn.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // Nothing in here can panic half way through a change.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime that this thread is one worker of; `None` if there is no other.
fn runtime_of_many() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let is_one_of_many = runtime.runtime_flavor() == RuntimeFlavor::MultiThread
        && runtime.metrics().num_workers() > 1;
    is_one_of_many.then_some(runtime)
}
