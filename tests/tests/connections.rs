//! Clients that come by the thousand and say nothing, or half of something: the service stays in its bounds, and
//! whoever asks properly is answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use cartgate_tests::bench::watch::{pid, resident_bytes};
use cartgate_tests::process::eventually;
use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use futures_util::stream::{self, StreamExt as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SKU: &str = "SNEAKER-1";

/// How many come.
const CROWD: usize = 10_000;

/// What each may cost the service, in KiB.
const EACH_KIB_MAX: usize = 24;

/// How soon whoever asks properly is answered meanwhile, by a debug build on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

async fn service(settings: &str) -> (tempfile::TempDir, Service, Shop) {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(settings).quiet();
    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 1_000_000).await.unwrap().status, 200);
    (dir, service, shop)
}

/// This process needs a file for each of them as well.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum > CROWD as u64 + 500), "ulimit -Hn: {maximum:?}");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// What the service has in RAM, in KiB.
fn resident_kib(service: &Service) -> usize {
    usize::try_from(resident_bytes(pid(service)) / 1_024).unwrap()
}

/// How many connections the service has, by the files that it has open.
fn sockets(service: &Service) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", service.process.id().unwrap())).unwrap();
    let targets = open.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// A crowd, each of which says the next of these, and no more.
async fn crowd(address: SocketAddr, says: &[&[u8]]) -> Vec<TcpStream> {
    let connect = async |number: usize| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(says[number % says.len()]).await.unwrap();
        stream
    };
    stream::iter(0..CROWD).map(connect).buffer_unordered(256).collect().await
}

const HEAD: &[u8] = b"POST /v1/reservations HTTP/1.1\r\nhost: shop\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_who_say_nothing_or_half_of_something_keep_nobody_waiting() {
    raise_file_limit();
    let settings = format!("connections_max = {}\n", CROWD + 100);
    let (_dir, service, shop) = service(&settings).await;
    let (before_kib, before) = (resident_kib(&service), sockets(&service));
    let body =
        [HEAD, b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"sku\""].concat();
    let says: [&[u8]; 5] = [b"", b"P", HEAD, &body, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let crowd = crowd(service.address(), &says).await;
    let all_in = || async { (sockets(&service) >= before + CROWD).then_some(()) };
    eventually("all of them to be let in", all_in).await;
    for _ in 0..50 {
        let held = timeout(ANSWERED_WITHIN, shop.reserve(&Order::one(SKU))).await;
        assert_eq!(held.expect("an answer").unwrap().status, 201);
    }
    let each_kib = resident_kib(&service).saturating_sub(before_kib) / CROWD;
    println!("{each_kib} KiB for each connection");
    assert!(each_kib <= EACH_KIB_MAX, "{each_kib} KiB");
    drop(crowd);
    let all_gone = || async { (sockets(&service) <= before + 10).then_some(()) };
    eventually("nothing to be left of them", all_gone).await;
}

/// Beyond the bound they wait with the system, and take nothing of the service's own.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_wait_outside() {
    let (_dir, service, shop) = service("connections_max = 50\n").await;
    let mut inside = Vec::new();
    let refused = loop {
        let stream = TcpStream::connect(service.address()).await.unwrap();
        inside.push(stream);
        // It may have come to its last place.
        let client = Shop::at(service.address());
        let asked = timeout(Duration::from_millis(500), client.stock(SKU)).await;
        if asked.is_err() {
            break inside.len();
        }
    };
    assert!((30..=50).contains(&refused), "{refused}");
    drop(inside);
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_without_end_are_cut_off() {
    let (_dir, service, shop) = service("").await;
    let before_kib = resident_kib(&service);
    let header = b"x-filler: 0123456789012345678901234567890123456789012345678901234567890123\r\n";
    let chunk = [&b"1000\r\n"[..], &[b'x'; 4_096], b"\r\n"].concat();
    let chunked = b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases: [(&[u8], &[u8], &str); 2] = [(b"", header, "431"), (chunked, &chunk, "413")];
    for (rest, endless, expected) in cases {
        let mut told = 0;
        for _ in 0..50 {
            let mut stream = TcpStream::connect(service.address()).await.unwrap();
            stream.write_all(&[HEAD, rest].concat()).await.unwrap();
            // 8 MiB, or until it is cut off.
            for _ in 0..(8 << 20) / endless.len() {
                if stream.write_all(endless).await.is_err() {
                    break;
                }
            }
            let mut said = [0; 12];
            // What was sent and not read may have cost the answer: a reset says as much.
            if stream.read_exact(&mut said).await.is_ok() {
                assert_eq!(&said[9..], expected.as_bytes());
                told += 1;
            }
        }
        assert!(told > 0, "nobody was told {expected}");
    }
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let more_kib = resident_kib(&service).saturating_sub(before_kib);
    assert!(more_kib < 32 * 1_024, "{more_kib} KiB more");
}
