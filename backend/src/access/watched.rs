//! A file that is read again when it changes: a token is made or revoked, keys are changed, and nobody
//! starts the service anew.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How soon a change is seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was read last. Until it can be read again, what was there before goes on.
pub(super) struct Watched<T> {
    last: Arc<RwLock<Arc<T>>>,
    looking: AbortHandle,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads a file, and looks for changes of it from now on.
    pub(super) fn read<E: Error + From<std::io::Error> + 'static>(
        path: &Path,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<Self, E> {
        let seen = state(path);
        let first = parse(&fs::read_to_string(path)?)?;
        let last = Arc::new(RwLock::new(Arc::new(first)));
        let looking = tokio::spawn(look(path.to_path_buf(), parse, Arc::clone(&last), seen));
        Ok(Self { last, looking: looking.abort_handle() })
    }

    pub(super) fn now(&self) -> Arc<T> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// What tells one state of a file from another. Kubernetes puts another file in its place.
fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

async fn look<T, E: Error + From<std::io::Error> + 'static>(
    path: PathBuf,
    parse: fn(&str) -> Result<T, E>,
    last: Arc<RwLock<Arc<T>>>,
    mut seen: Option<(SystemTime, u64)>,
) {
    loop {
        sleep(LOOK_EVERY).await;
        let now = state(&path);
        if now == seen {
            continue;
        }
        seen = now;
        // A small file, once in a while.
        match fs::read_to_string(&path).map_err(E::from).and_then(|text| parse(&text)) {
            Ok(new) => {
                *last.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!(file = %path.display(), "read again");
            }
            Err(error) => {
                let (file, error): (_, &dyn Error) = (path.display(), &error);
                tracing::error!(%file, error, "cannot be read: what it said before goes on");
            }
        }
    }
}
