//! Where what an owner has read came from.

use cartgate_policy::Sku;

use crate::store::tenure::{Place, Stream};

/// Where something came from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) place: Place,
}

/// The stream that it came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Settle,
    Normal,
    /// The stream of the SKU itself.
    Own,
}

impl Source {
    pub(super) fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Settle => Self::Settle,
            Stream::Normal => Self::Normal,
            Stream::Hot(_) => Self::Own,
        }
    }

    pub(super) fn stream(self, sku: &Sku) -> Stream {
        match self {
            Self::Settle => Stream::Settle,
            Self::Normal => Stream::Normal,
            Self::Own => Stream::Hot(sku.clone()),
        }
    }
}
