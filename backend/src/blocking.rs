//! Work that may wait for a disk.

/// Does it on a thread that may wait, not on one that answers shoppers. If it panics, so does whoever
/// waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
