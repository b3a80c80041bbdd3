//! Imports that break off: the service is killed, the client goes, another one comes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Service, Shop, paths};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;

use super::stock_imports::{Import, lines};
use super::{SKU, options, post, service};

/// SKUs, and how often each is set to another quantity.
const SKUS: usize = 3_000;
const ROUNDS: usize = 20;

/// Each round sets every SKU to what it never had before.
fn content() -> String {
    let line = |n: usize| {
        let (round, sku) = (n / SKUS, n % SKUS);
        format!("P-{sku:04},{}\n", 1_000 * (round + 1))
    };
    std::iter::once("sku,quantity\n".to_owned()).chain((0..ROUNDS * SKUS).map(line)).collect()
}

/// The version at which each SKU stands.
async fn versions(shop: &Shop) -> BTreeMap<String, u64> {
    let version = async |sku: String| {
        let stock = shop.stock(&sku).await.unwrap();
        let version = (stock.status == 200).then(|| stock.body["version"].as_u64().unwrap());
        (sku, version.unwrap_or_default())
    };
    let skus = (0..SKUS).map(|sku| format!("P-{sku:04}"));
    stream::iter(skus).map(version).buffer_unordered(32).collect().await
}

/// Others change the stock of what is there: whatever is applied twice is seen then.
async fn adjust_all(service: &Service, times: &mut BTreeMap<String, u64>) {
    let adjust = async |sku: usize| {
        let path = format!("/v1/skus/P-{sku:04}/adjustments");
        (sku, post(service, &path, json!({"by": 1})).await.status == 201)
    };
    let adjusted: Vec<_> = stream::iter(0..SKUS).map(adjust).buffer_unordered(32).collect().await;
    for (sku, _) in adjusted.into_iter().filter(|(_, is_done)| *is_done) {
        *times.entry(format!("P-{sku:04}")).or_default() += 1;
    }
}

/// Reads an answer until it breaks off or ends; its lines so far.
async fn read(mut answer: reqwest::Response, mut heard: impl FnMut(&[Value])) -> Vec<Value> {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        heard(&lines(std::str::from_utf8(&text[..whole]).unwrap()));
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    lines(std::str::from_utf8(&text[..whole]).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_applied_once_however_often_the_service_is_killed() {
    let dir = TempDir::new().unwrap();
    let options = options(&dir);
    let mut service = Service::start(&options).await.unwrap();
    let import = Import::of("text/csv", content()).digested();
    let mut random = Random::from_env();
    let mut adjusted = BTreeMap::new();
    let mut resumed_at = Vec::new();
    for _ in 0..6 {
        let answer = import.request(&service).send().await.unwrap();
        // Once something more is decided: in the middle of a window, or between two.
        let (decided, mut is_decided) = watch::channel(0);
        let wanted = 1 + random.below(3);
        let kill_after = Duration::from_millis(random.below(80));
        let heard = move |told: &[Value]| {
            let progress = told.iter().filter(|line| line["state"] == "progress").count();
            decided.send_replace(progress as u64);
        };
        let (told, ()) = tokio::join!(read(answer, heard), async {
            // Or all of it is.
            let _ = is_decided.wait_for(|decided| *decided >= wanted).await;
            tokio::time::sleep(kill_after).await;
            service.process.kill().await.unwrap();
        });
        resumed_at
            .extend(told.iter().filter(|l| l["state"] == "resumed").map(|l| l["line"].clone()));
        service = Service::start(&options).await.unwrap();
        adjust_all(&service, &mut adjusted).await;
    }
    let told = read(import.request(&service).send().await.unwrap(), |_| {}).await;
    println!("resumed after {resumed_at:?}, {:?}", told[0]);
    assert!(!resumed_at.is_empty(), "nothing was decided before any kill");
    let end = told.last().unwrap();
    assert_eq!((&end["done"], &end["lines"]), (&json!(true), &json!(ROUNDS * SKUS + 1)), "{end}");
    for (sku, version) in versions(&Shop::at(service.address())).await {
        let expected = ROUNDS as u64 + adjusted.get(&sku).copied().unwrap_or_default();
        assert_eq!(version, expected, "{sku} was set another number of times");
    }
}

/// The first one's connection stays, as if nobody had noticed.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_with_the_same_content_takes_over() {
    let (_dir, service, _shop) = service("").await;
    let content = content();
    let import = Import::of("text/csv", content.clone()).digested();
    let head = format!(
        "POST /v1/stock-imports HTTP/1.1\r\nhost: shop\r\ncontent-type: text/csv\r\n\
         repr-digest: {}\r\ncontent-length: {}\r\n\r\n",
        import.digest.as_deref().unwrap(),
        content.len()
    );
    let mut first = cartgate_tests::client::RawConnection::open(service.address()).await;
    first.send(head).await;
    first.send(&content[..content.len() / 2]).await;
    let is_begun = async || {
        let shop = Shop::at(service.address());
        (shop.stock("P-0001").await.unwrap().status == 200).then_some(())
    };
    eventually("the first lines to be applied", is_begun).await;
    let told = read(import.request(&service).send().await.unwrap(), |_| {}).await;
    assert_eq!(told[0]["state"], "resumed", "{told:?}");
    assert_eq!(told.last().unwrap()["done"], true, "{told:?}");
    first.send("\n").await;
    let told = lines(&String::from_utf8(first.answer().await.body).unwrap());
    let problem = &told.last().unwrap()["problem"];
    assert_eq!(problem["type"], "urn:cartgate:problem:import-taken-over", "{told:?}");
    for (sku, version) in versions(&Shop::at(service.address())).await {
        assert_eq!(version, ROUNDS as u64, "{sku} was set another number of times");
    }
}

/// How `cartgate` ended, and what it said.
async fn cartgate(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(paths::service().unwrap());
    command.args(arguments).kill_on_drop(true).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_goes_on_when_the_service_comes_back() {
    let dir = TempDir::new().unwrap();
    let options = options(&dir);
    let mut service = Service::start(&options).await.unwrap();
    let file = dir.path().join("stock.csv");
    fs::write(&file, content()).unwrap();
    let url = service.url("");
    let import = tokio::spawn(async move {
        cartgate(&["stock", "import", file.to_str().unwrap(), "--service", &url]).await
    });
    let shop = Shop::at(service.address());
    let is_begun = async || (shop.stock("P-0001").await.ok()?.status == 200).then_some(());
    eventually("the first lines to be applied", is_begun).await;
    service.process.kill().await.unwrap();
    let service = Service::start(&options).await.unwrap();
    let (status, output, error) = import.await.unwrap();
    assert_eq!(status, 0, "{output}{error}");
    assert!(output.contains("60,001 lines: 60,000 set, 0 unchanged, 0 refused"), "{output}{error}");
    for (sku, version) in versions(&Shop::at(service.address())).await {
        assert_eq!(version, ROUNDS as u64, "{sku} was set another number of times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_came_of_it() {
    let (dir, service, shop) = service("").await;
    let write = |name: &str, content: &str| {
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let url = service.url("");
    let import = async |file: &str| {
        let arguments = ["stock", "import", file, "--service", &url, "--token", "secret"];
        cartgate(&arguments).await
    };
    let (status, output, error) = import(&write("a.csv", "sku,quantity\nA,7\nB B,1\n")).await;
    assert_eq!((status, &*error), (1, ""), "{output}");
    assert!(
        output.starts_with("line 3: The request cannot be understood: a SKU consists"),
        "{output}"
    );
    assert!(output.ends_with("3 lines: 1 set, 0 unchanged, 1 refused\n"), "{output}");
    let (status, _, error) = import(&write("b.csv", "A,7\n")).await;
    assert_eq!(status, 2, "{error}");
    assert!(error.contains("a CSV begins with the line sku,quantity"), "{error}");
    let (status, _, error) = import(&write("c.txt", "A,7\n")).await;
    assert_eq!(status, 2);
    assert!(error.contains("say --format ndjson or --format csv"), "{error}");
    // What was imported is not applied again, and says so; unless it is to be.
    let file = write("again.csv", "sku,quantity\nA,8\n");
    for (more, is_old, then) in [(None, false, 8), (None, true, 9), (Some("--again"), false, 8)] {
        let arguments = ["stock", "import", &file, "--service", &url];
        let (status, output, _) = cartgate(&[&arguments, more.as_slice()].concat()).await;
        assert_eq!((status, output.contains("imported before")), (0, is_old), "{output}");
        assert_eq!(shop.stock("A").await.unwrap().body["available"], then);
        let next = if then == 8 { 9 } else { 7 };
        assert_eq!(shop.set_stock("A", next).await.unwrap().status, 200);
    }
    assert_eq!(shop.set_stock("A", 7).await.unwrap().status, 200);
    let (status, output, error) = cartgate(&["stock", "export", "--service", &url]).await;
    assert_eq!((status, &*error), (0, ""), "{output}");
    let mut exported = lines(&output);
    exported.sort_by_key(|line| line["sku"].to_string());
    let line = |sku: &str, quantity: u64| json!({"sku": sku, "quantity": quantity});
    assert_eq!(exported, [line("A", 7), line(SKU, 10)]);
    let (status, output, _) =
        cartgate(&["stock", "export", "--service", &url, "--format", "csv"]).await;
    assert_eq!((status, output.lines().count()), (0, 3), "{output}");
}
