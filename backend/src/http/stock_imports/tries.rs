//! Trying again what a shared store's trouble came between.

use std::time::Duration;

use tokio::time::sleep;

use super::ended::Ended;
use super::seats::Taken;
use crate::http::App;

/// How often something is tried again, and after how long: ten seconds in all, in which leases of workers
/// that have died end, and a failover has its time.
const TRIES_MAX: u32 = 20;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often a window's work is tried again. An engine that is of this process alone does not come back.
pub(super) struct Tries<'a> {
    left: u32,
    app: &'a App,
    seat: &'a Taken,
}

impl<'a> Tries<'a> {
    pub(super) fn new(app: &'a App, seat: &'a Taken) -> Self {
        let left = if app.engine.shared_api().is_some() { TRIES_MAX } else { 0 };
        Self { left, app, seat }
    }

    /// Does something that may be done again, until it is done or the tries are used up.
    pub(super) async fn until_done<T, F: Future<Output = Result<T, Ended>>>(
        &mut self,
        what: impl Fn() -> F,
    ) -> Result<T, Ended> {
        loop {
            match what().await {
                Err(trouble @ (Ended::Engine(_) | Ended::Store(_))) => {
                    self.pause_after(trouble).await?;
                }
                done => return done,
            }
        }
    }

    /// Waits before the next try, if there is one.
    pub(super) async fn pause_after(&mut self, trouble: Ended) -> Result<(), Ended> {
        self.left = self.left.checked_sub(1).ok_or(trouble)?;
        let pause = async {
            sleep(TRY_AGAIN_AFTER).await;
            Ok(())
        };
        unless_over(self.seat, self.app, pause).await
    }
}

/// Goes on until somebody takes over, or the service stops.
pub(super) async fn unless_over<T>(
    seat: &Taken,
    app: &App,
    what: impl Future<Output = Result<T, Ended>>,
) -> Result<T, Ended> {
    tokio::select! {
        biased;
        done = what => done,
        () = seat.taken_over() => Err(Ended::TakenOver),
        () = app.stopping() => Err(Ended::Stopping),
    }
}
