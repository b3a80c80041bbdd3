//! Trouble that lasts, of something that is tried again and again: it is told once, and when it is over.

use std::error::Error;

/// Whether the last attempt has failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    what: &'static str,
    is_told: bool,
}

impl Trouble {
    /// None yet. `what` is what the log says of it.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, is_told: false }
    }

    /// What an attempt has come to. That it failed is told, if the one before did not; that it did not, if
    /// the one before did.
    pub(crate) fn tell<T>(&mut self, tried: Result<T, impl Error + 'static>) -> Option<T> {
        let was_told = std::mem::replace(&mut self.is_told, tried.is_err());
        match &tried {
            Err(error) if !was_told => {
                let error: &dyn Error = error;
                tracing::warn!(error, "{}", self.what);
            }
            Ok(_) if was_told => tracing::info!("no more: {}", self.what),
            _ => {}
        }
        tried.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_lasts_is_told_once_and_again_when_it_was_over() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut trouble = Trouble::new("nobody is there");
            let failed = || Err::<u8, _>(io::Error::other("gone"));
            for (tried, expected) in [(Ok(1), Some(1)), (failed(), None), (failed(), None)] {
                assert_eq!(trouble.tell(tried), expected);
            }
            assert_eq!(trouble.tell(Ok::<_, io::Error>(2)), Some(2));
            assert_eq!(trouble.tell(failed()), None);
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("WARN").count(), 2, "{log}");
        assert_eq!(log.matches(": nobody is there error=gone").count(), 2, "{log}");
        assert_eq!(log.matches("no more: nobody is there").count(), 1, "{log}");
    }
}
