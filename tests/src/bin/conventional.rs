//! What one would write without cartgate: the same axum, the same request and answer, and a
//! transaction in PostgreSQL for each. The benchmarks compare with it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use clap::Parser;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_postgres::NoTls;

/// The conventional way: a pool of connections, a transaction for each reservation.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,

    /// The directory of PostgreSQL's socket
    #[arg(long)]
    socket: PathBuf,

    /// Connections to PostgreSQL
    #[arg(long)]
    pool: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut postgres = tokio_postgres::Config::new();
    postgres.host_path(&arguments.socket).user("bench").dbname("postgres");
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(postgres, NoTls, recycling);
    let pool = Pool::builder(manager).max_size(arguments.pool).build()?;
    let router = Router::new()
        .route("/v1/reservations", post(reserve))
        .route("/ready", get(async || "ok\n"))
        .with_state(pool);
    let listener = TcpListener::bind(arguments.listen).await?;
    // Answers are small and somebody waits for each.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, router).await?)
}

#[derive(Deserialize)]
struct Request {
    sku: String,
    quantity: u32,
    customer_id: String,
}

#[derive(Serialize)]
struct Reservation {
    reservation_id: String,
    state: &'static str,
    sku: String,
    quantity: u32,
    customer_id: String,
    expires_at: String,
}

async fn reserve(
    State(pool): State<Pool>,
    Json(request): Json<Request>,
) -> Result<Response, Failure> {
    let Some(id) = take(&pool, &request).await? else {
        return Ok(StatusCode::CONFLICT.into_response());
    };
    let id = format!("{id:032x}");
    let location = format!("/v1/reservations/{id}");
    let expires_at = Timestamp::now() + SignedDuration::from_mins(15);
    let reservation = Reservation {
        reservation_id: id,
        state: "held",
        sku: request.sku,
        quantity: request.quantity,
        customer_id: request.customer_id,
        expires_at: format!("{expires_at:.3}"),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(reservation)).into_response())
}

/// Takes a unit off the hot row, and puts it in a cart. `None`: there is none left.
async fn take(pool: &Pool, request: &Request) -> Result<Option<i64>, Failure> {
    let mut client = pool.get().await?;
    let update = client.prepare_cached(UPDATE).await?;
    let insert = client.prepare_cached(INSERT).await?;
    let transaction = client.transaction().await?;
    if transaction.execute(&update, &[]).await? == 0 {
        return Ok(None);
    }
    let cart = transaction.query_one(&insert, &[&request.customer_id]).await?;
    transaction.commit().await?;
    Ok(Some(cart.get(0)))
}

const UPDATE: &str = "UPDATE stock SET qty = qty - 1 WHERE sku = 1 AND qty > 0";
const INSERT: &str = "INSERT INTO cart (sku, customer) VALUES (1, $1) RETURNING id";

/// The database has failed: whoever asked is told, and nothing more.
struct Failure;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        eprintln!("{error}");
        Self
    }
}
