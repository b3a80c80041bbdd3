//! Writes all stock to standard output, as it comes.

use std::io::{self, Write as _};

use axum::http::{Method, StatusCode};
use clap::ValueEnum as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;

use super::{ExportArguments, StockError, block_on};
use crate::client::{CallError, read};

/// Exports all stock.
///
/// # Errors
/// The service cannot be asked, or not all of it has come.
pub fn export(arguments: &ExportArguments) -> Result<(), StockError> {
    block_on(run(arguments))
}

async fn run(ExportArguments { format, service }: &ExportArguments) -> Result<(), StockError> {
    let format = format.to_possible_value();
    let format = format.as_ref().map_or("ndjson", |format| format.get_name());
    let head = service.head(Method::GET, &format!("/v1/stock-exports?format={format}"));
    let answer = service.send(head, Empty::<Bytes>::new()).await?;
    if answer.status() != StatusCode::OK {
        return Err(StockError::Refused { said: read(answer).await?.said() });
    }
    let (mut body, mut output) = (answer.into_body(), io::stdout().lock());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CallError::NoAnswer(error.to_string()))?;
        let data = frame.into_data().unwrap_or_default();
        output.write_all(&data).map_err(StockError::Output)?;
    }
    output.flush().map_err(StockError::Output)
}
