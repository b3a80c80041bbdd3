//! How fast stock is imported, and in how much memory: two million lines, each of which changes something.
//!
//! The lines are made while they are sent. Memory is what the service has had at most, store and engine
//! with it: those have in memory what they have of any changes, and of each SKU. So there are two
//! imports: one that goes over the same SKUs again and again, and one of as many new SKUs as it has lines,
//! which shows what a SKU takes.

use std::convert::Infallible;
use std::time::Instant;

use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::figures::Figure;
use super::run::{Run, progress};
use super::watch::{peak_resident_bytes, pid};
use crate::Service;

/// Lines of an import.
const LINES: usize = 2_000_000;

/// SKUs that it goes over again and again.
const SKUS: usize = 10_000;

/// What the service may have in memory meanwhile, in MiB.
const MIB_MAX: f64 = 200.0;

/// Lines that are sent at a time.
const LINES_SENT: usize = 2_000;

/// What came of an import.
struct Imported {
    per_s: f64,
    mib: f64,
}

/// Measures.
///
/// # Panics
/// Something fails, or is refused.
pub async fn measure(run: &mut Run) {
    let lines = run.extent.many(LINES);
    progress(&format!("an import of {lines} lines for {SKUS} SKUs"));
    let again = import(run, "import", lines, SKUS).await;
    progress(&format!("an import of {lines} lines, each for a new SKU"));
    let new = import(run, "import-new", lines, lines).await;
    let note = format!("{lines} lines of NDJSON for {SKUS} SKUs, each of which changes one");
    run.add(Figure::new("import_lines_per_s", again.per_s, "/s").note(note));
    let note = "the most that the whole service had in memory";
    run.add(Figure::new("import_rss_mib", again.mib, "MiB").at_most(MIB_MAX).note(note));
    run.add(Figure::new("import_new_skus_per_s", new.per_s, "/s"));
    let each = new.mib * f64::from(1 << 20) / lines as f64;
    let note = format!("{lines} SKUs, which all are in memory: {each:.0} bytes each at most");
    run.add(Figure::new("import_new_skus_rss_mib", new.mib, "MiB").note(note));
}

async fn import(run: &Run, name: &str, lines: usize, skus: usize) -> Imported {
    let service = run.start(&run.service_options(name, "")).await;
    let (sender, body) = Channel::new(2);
    let began = Instant::now();
    let (told, ()) = tokio::join!(post(&service, body), send(sender, lines, skus));
    let per_s = lines as f64 / began.elapsed().as_secs_f64();
    let end: Value = serde_json::from_str(told.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&end["done"], &end["set"]), (&true.into(), &lines.into()), "{end}");
    Imported { per_s, mib: peak_resident_bytes(pid(&service)) as f64 / f64::from(1 << 20) }
}

/// Sends lines: each SKU gets one unit more with each round.
async fn send(mut sender: Sender<Bytes, Infallible>, lines: usize, skus: usize) {
    let mut text = String::new();
    for line in 0..lines {
        let (sku, quantity) = (line % skus, line / skus + 1);
        text.push_str(&format!("{{\"sku\":\"SKU-{sku:07}\",\"quantity\":{quantity}}}\n"));
        if line % LINES_SENT == LINES_SENT - 1 || line + 1 == lines {
            let sent = sender.send_data(std::mem::take(&mut text).into()).await;
            sent.expect("the service takes what is sent");
        }
    }
}

async fn post(service: &Service, body: Channel<Bytes, Infallible>) -> String {
    let stream = TcpStream::connect(service.address()).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::post("/v1/stock-imports")
        .header("host", "shop")
        .header("content-type", "application/x-ndjson")
        .body(BoxBody::new(body));
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let told = answer.into_body().collect().await.expect("the whole answer").to_bytes();
    String::from_utf8_lossy(&told).into_owned()
}
