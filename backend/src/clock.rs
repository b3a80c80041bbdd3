//! The one place where the service learns the time, and how it does something again and again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cartgate_ledger::UnixMs;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Tells the time. The engine takes it as an argument, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// The machine's wall clock: what `expires_at` means to clients.
pub fn wall() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    })
}

/// Ticks at once, and then again and again. What comes late puts off what comes after it: nothing is to be made
/// up for.
pub(crate) fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
