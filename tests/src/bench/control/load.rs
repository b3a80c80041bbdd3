//! An open load on one edge, each of whose answers is remembered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::super::closed::Caller;

/// What one connection can ask for per second, so that it is answered before it asks again.
const PER_CONNECTION: f64 = 100.0;

/// An answer: when, and its status.
pub(super) type Told = (Instant, u16);

/// Asks one edge for units of a SKU, `per_s` times a second, until something is so or the time is over. Gives
/// all that was answered, in order.
pub(super) async fn ask(
    edge: SocketAddr,
    sku: &str,
    per_s: f64,
    at_most: Duration,
    is_enough: impl Fn(u16) -> bool + Send + Sync + 'static,
) -> Vec<Told> {
    let connections = (per_s / PER_CONNECTION).ceil().max(1.0);
    let period = Duration::from_secs_f64(connections / per_s);
    let (told, is_enough) = (Arc::new(Mutex::new(Vec::new())), Arc::new(is_enough));
    let request = request(edge, sku);
    let end = Instant::now() + at_most;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for number in 0..connections as u32 {
        let (told, is_enough, is_over) = (told.clone(), is_enough.clone(), is_over.clone());
        let request = request.clone();
        asking.spawn(async move {
            let mut caller = Caller::connect(edge).await.expect("a connection");
            tokio::time::sleep(period.mul_f64(f64::from(number) / connections)).await;
            let mut due = interval(period);
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while Instant::now() < end && !is_over.load(Ordering::Relaxed) {
                due.tick().await;
                let answer = caller.ask(&request).await.expect("an answer");
                told.lock().expect("no caller panics here").push((Instant::now(), answer.status));
                if is_enough(answer.status) {
                    is_over.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    asking.join_all().await;
    let mut told = std::mem::take(&mut *told.lock().expect("no caller has panicked"));
    told.sort();
    told
}

/// The same at all edges, with a rate for each; 0: nothing is asked there.
pub(super) async fn ask_all(
    edges: &[SocketAddr],
    sku: &str,
    per_s: &[f64],
    at_most: Duration,
    is_enough: impl Fn(u16) -> bool + Clone + Send + Sync + 'static,
) -> Vec<Vec<Told>> {
    let asking = edges.iter().zip(per_s).map(|(edge, per_s)| {
        let is_enough = is_enough.clone();
        async move {
            if *per_s > 0.0 {
                ask(*edge, sku, *per_s, at_most, is_enough).await
            } else {
                Vec::new()
            }
        }
    });
    join_all(asking).await
}

/// A request for one unit, without a key.
fn request(edge: SocketAddr, sku: &str) -> Vec<u8> {
    format!("POST /by-header HTTP/1.1\r\nhost: {edge}\r\nx-sku: {sku}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

/// When such an answer came first.
pub(super) fn first(told: &[Told], status: u16) -> Option<Instant> {
    told.iter().find(|(_, one)| *one == status).map(|(at, _)| *at)
}
