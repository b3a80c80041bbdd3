//! All stock, as it can be imported: a line for each SKU, while it is read.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use cartgate_policy::Sku;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use utoipa::IntoParams;

use super::App;
use super::extract::StrictQuery;
use super::openapi::schemas;
use super::refused::Refused;
use super::stock_imports::wanted::{CSV_HEADER, Format};
use crate::engine::Listing;
use crate::store::{StockRow, StoreError};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// How lines are written.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// All stock, as it can be imported.
///
/// Each product comes once, as it stands when its line is made. A store that fails in between breaks the
/// connection off: what ends as HTTP says is all.
#[utoipa::path(
    get, path = "/v1/stock-exports", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])),
    operation_id = "export_stock",
    params(ExportQuery),
    responses((status = 200, description = "A line for each product.", content(
        (String = "application/x-ndjson", example = json!(schemas::NDJSON_EXAMPLE)),
        (String = "text/csv", example = json!(schemas::CSV_EXAMPLE)),
    ))),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    StrictQuery(ExportQuery { format }): StrictQuery<ExportQuery>,
) -> Result<Response, Refused> {
    let mut listing = Listing::new(Arc::clone(&app.engine));
    // Whether the store can be read is known before the answer begins.
    let first = listing.next().await?;
    let (sender, body) = Channel::<Bytes, Broken>::new(1);
    tokio::spawn(send(sender, listing, first, format));
    let mut response = Response::new(Body::new(body));
    let media_type = HeaderValue::from_static(format.media_type());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// The store cannot be read any more.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read")]
struct Broken(#[source] StoreError);

type Rows = Vec<(Sku, StockRow)>;

async fn send(
    mut sender: Sender<Bytes, Broken>,
    mut listing: Listing,
    first: Option<Rows>,
    format: Format,
) {
    let mut text = String::new();
    if format == Format::Csv {
        text = format!("{CSV_HEADER}\n");
    }
    let mut next = Ok(first);
    loop {
        let rows = match next {
            Ok(Some(rows)) => rows,
            Ok(None) => return,
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(error = cause, "a stock export breaks off");
                return sender.abort(Broken(error));
            }
        };
        rows.iter().for_each(|(sku, row)| put(&mut text, format, sku, row));
        let is_gone = !text.is_empty() && sender.send_data(text.into()).await.is_err();
        if is_gone {
            return;
        }
        text = String::new();
        next = listing.next().await;
    }
}

fn put(to: &mut String, format: Format, sku: &Sku, row: &StockRow) {
    let (sku, quantity) = (sku.as_str(), row.counters.total());
    // SKUs need no escaping, in either. Writing to a text cannot fail.
    let _ = match format {
        Format::Csv => writeln!(to, "{sku},{quantity}"),
        Format::Ndjson => writeln!(to, r#"{{"sku":"{sku}","quantity":{quantity}}}"#),
    };
}
