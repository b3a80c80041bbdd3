//! Why an import ends before its content does, or with it but not well.

use std::io;

use cartgate_policy::problem::{Problem, ProblemType};
use thiserror::Error;

use super::wanted::CSV_HEADER;
use crate::http::refused::{Refused, try_later};
use crate::lanes::EnqueueError;
use crate::store::StoreError;

/// Why an import ended early.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// The client is gone: nobody hears of it.
    #[error("the client is gone")]
    HungUp,
    #[error("the body ended early")]
    Body,
    #[error("nothing came for {seconds} s")]
    Silent { seconds: u64 },
    #[error("this is no gzip, or not all of it: {0}")]
    Gzip(io::Error),
    #[error("gzip may become {times} times as long, and no more")]
    Expands { times: u64 },
    #[error("a CSV begins with the line {CSV_HEADER}")]
    Header,
    #[error("this is not the content with this digest, of which {lines} lines were imported")]
    OtherContent { lines: u64 },
    #[error("its SHA-256 is another")]
    Digest,
    #[error("a later request goes on with it")]
    TakenOver,
    #[error("the service is stopping: the same request goes on where this one ends")]
    Stopping,
    #[error("the engine cannot be reached")]
    Engine(#[source] EnqueueError),
    #[error("the store cannot be used")]
    Store(#[source] StoreError),
}

impl From<Ended> for Refused {
    fn from(ended: Ended) -> Self {
        use ProblemType as Type;
        let problem_type = match ended {
            Ended::HungUp | Ended::Body | Ended::Gzip(_) | Ended::Header => Type::InvalidRequest,
            Ended::Silent { .. } => Type::RequestTimeout,
            Ended::Expands { .. } => Type::BodyTooLarge,
            Ended::OtherContent { .. } | Ended::Digest => Type::DigestMismatch,
            Ended::TakenOver => Type::ImportTakenOver,
            Ended::Stopping => return Self(try_later(Type::Unavailable).detail(ended.to_string())),
            Ended::Engine(error) => return error.into(),
            Ended::Store(error) => return error.into(),
        };
        Self(Problem::new(problem_type).detail(ended.to_string()))
    }
}
