//! `cartgate stock import` and `export`: stock in bulk, as a client of a running service.
//!
//! ```text
//! content.rs   a file: its format, digest and length, read once before anything is sent
//! told.rs      what the service answers, line by line
//! import.rs    sends the file, shows what comes of it, and goes on when the connection breaks
//! export.rs    writes all stock to standard output
//! ```

mod content;
mod export;
mod import;
mod told;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::client::{CallError, ServiceArguments};
use crate::http::stock_imports::wanted::Format;

pub use export::export;
pub use import::import;

/// Set how many units of each SKU there are, from a file with a line for each, of any length: NDJSON with
/// objects such as {"sku": "A", "quantity": 7}, or CSV with the header `sku,quantity`; gzip or not.
/// `quantity` is the total: available, held and sold. If the connection breaks it goes on where it was, and so
/// does the same file when it is imported again: one that was imported whole is not applied twice, unless
/// --again says so. Ends with 0 if all lines were applied, 1 if some were refused,
/// 2 if it could not be completed.
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// The file.
    file: PathBuf,
    /// How its lines are written. Without it, its name says so: .ndjson, .jsonl or .csv, and .gz after that.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Apply it also if it was imported before; it does not go on where it was then.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    service: ServiceArguments,
}

/// Write all SKUs to standard output, and how many units of each there are, as they can be imported. Ends with
/// 0, or 2 if it is not complete.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// How to write lines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    service: ServiceArguments,
}

/// Why stock was not imported or exported, or not all of it.
#[derive(Debug, Error)]
pub enum StockError {
    /// The file cannot be read.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody said how its lines are written.
    #[error("{}: say --format ndjson or --format csv, since its name does not", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The service does not do it.
    #[error("the service refuses: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// It ended early.
    #[error("line {lines} was the last: {said}")]
    Ended {
        /// The last line that was decided.
        lines: u64,
        /// What the service said.
        said: String,
    },
    /// It cannot be reached any more.
    #[error(
        "the service does not answer, {tries} times in a row; the same command goes on after line {lines}"
    )]
    Away {
        /// How often it was tried.
        tries: u32,
        /// The last line that was decided.
        lines: u64,
        /// What happened last.
        source: CallError,
    },
    /// There is no answer.
    #[error("the service cannot be asked")]
    Call(#[from] CallError),
    /// What there is cannot be written.
    #[error("standard output")]
    Output(#[source] io::Error),
    /// Something of the operating system's.
    #[error("the command cannot be run")]
    System(#[source] io::Error),
}

/// Runs a client of the service: one thread is enough.
fn block_on<T>(client: impl Future<Output = Result<T, StockError>>) -> Result<T, StockError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StockError::System)?.block_on(client)
}
