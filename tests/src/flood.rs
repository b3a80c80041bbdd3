//! Clients that ask for products as fast as they are answered, what they were given, and whether a limit
//! allows as much.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::RawConnection;
use crate::filter::Limit;

/// A request that was admitted, at some moment between the two.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    sent: Instant,
    answered: Instant,
}

/// Asks for `skus` in turn, by query, on so many `connections` that are kept alive, for as long as it
/// `lasts`. Gives the requests that were admitted.
///
/// # Panics
/// An answer is neither 200 nor 429, or there is none.
pub async fn flood(
    edge: SocketAddr,
    skus: impl Fn(u64) -> String + Send + Sync + 'static,
    connections: u64,
    lasts: Duration,
) -> Vec<Admitted> {
    let mut clients = JoinSet::new();
    let (until, skus) = (Instant::now() + lasts, Arc::new(skus));
    for first in 0..connections {
        let skus = Arc::clone(&skus);
        clients.spawn(async move {
            // The kernel gives the connection to one of the workers.
            let mut connection = RawConnection::open(edge).await;
            let (mut admitted, mut n) = (Vec::new(), first);
            while Instant::now() < until {
                let sent = Instant::now();
                connection.send(request(&skus(n))).await;
                match connection.answer().await.status() {
                    200 => admitted.push(Admitted { sent, answered: Instant::now() }),
                    status => assert_eq!(status, 429),
                }
                n += connections;
            }
            admitted
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

fn request(sku: &str) -> String {
    format!("POST /by-query?sku={sku} HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n")
}

/// What a limit allows in a window.
pub fn allowed((per_second, burst): Limit, window: Duration) -> f64 {
    f64::from(per_second) * window.as_secs_f64() + f64::from(burst)
}

/// Looks at every window, from tenths of a second to the whole time: in none was more admitted than the
/// limit allows. Only what was both sent and answered within a window is certain to have been admitted
/// there.
///
/// # Panics
/// In one it was.
pub fn check_never_above(limit: Limit, admitted: &mut [Admitted]) {
    admitted.sort_by_key(|request| request.answered);
    for from in admitted.iter().map(|request| request.sent) {
        let certain = admitted.iter().filter(|request| request.sent >= from);
        for (before, request) in certain.enumerate() {
            let (count, window) = (before + 1, request.answered - from);
            assert!(count as f64 <= allowed(limit, window), "{count} admitted within {window:?}");
        }
    }
}

/// At least this `share` of what the limit allowed in the time that it lasted was admitted.
///
/// # Panics
/// It was not.
pub fn check_used(share: f64, limit: Limit, lasted: Duration, admitted: &[Admitted]) {
    let (count, enough) = (admitted.len() as f64, share * allowed(limit, lasted));
    assert!(count >= enough, "{count} admitted, not {enough}");
}
