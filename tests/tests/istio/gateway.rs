//! The filter at the ingress gateway.

use cartgate_tests::client::exchange;
use serde_json::json;

use super::site::{Front, Site};

fn order(sku: &str, quantity: u32) -> String {
    let body = json!({"sku": sku, "quantity": quantity}).to_string();
    format!(
        "POST /v1/reservations HTTP/1.1\r\nhost: shop.example\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn it_limits() {
    let site = Site::start(Front::Gateway, "gateway.yaml").await;
    for _ in 0..8 {
        let answer = exchange(site.front.address(), order("LIMITED-SNEAKER", 1)).await;
        eprintln!("{answer:?}");
    }
    eprintln!("{}", site.front.log());
    eprintln!("{:?}", site.front.access_log());
    eprintln!("{:?}", site.upstream.seen().requests);
    panic!();
}
