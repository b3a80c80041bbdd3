//! A client of cartgate's HTTP interface, as shops use it.

use std::net::SocketAddr;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::client;

/// Talks to the service, or to Envoy in front of it.
#[derive(Clone, Debug)]
pub struct Shop {
    client: Client,
    address: SocketAddr,
}

/// One shopper's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The product.
    pub sku: String,
    /// How many units.
    pub quantity: u32,
    /// The shopper.
    pub customer: String,
    /// The `Idempotency-Key`, if the order has one.
    pub key: Option<String>,
}

impl Order {
    /// One unit of `sku` for somebody.
    pub fn one(sku: &str) -> Self {
        Self { sku: sku.to_owned(), quantity: 1, customer: "somebody".to_owned(), key: None }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, `Null` if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Sends a request and reads what comes back.
    ///
    /// # Errors
    /// There is no answer, or it was lost on the way.
    pub async fn to(request: RequestBuilder) -> Called {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok(Self { status, headers, body })
    }

    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The last part of a problem's type: `sold-out`; empty if the answer is no problem.
    pub fn problem(&self) -> &str {
        let problem_type = self.body["type"].as_str().unwrap_or_default();
        problem_type.strip_prefix("urn:cartgate:problem:").unwrap_or_default()
    }

    /// The reservation's id; empty if there is none.
    pub fn reservation_id(&self) -> &str {
        self.body["reservation_id"].as_str().unwrap_or_default()
    }

    /// The ticket; empty if there is none.
    pub fn ticket(&self) -> &str {
        self.body["ticket"].as_str().unwrap_or_default()
    }
}

/// What a call gives: an error means that the answer, if there was one, was lost on the way.
pub type Called = Result<Answer, reqwest::Error>;

impl Shop {
    /// Talks to `address`, on connections of its own.
    pub fn at(address: SocketAddr) -> Self {
        Self { client: client::http(), address }
    }

    /// The same, and shows a token with each request.
    ///
    /// # Panics
    /// The token cannot be sent.
    pub fn showing(token: &str, address: SocketAddr) -> Self {
        Self { client: client::showing(token), address }
    }

    /// Puts `quantity` units up for sale in all.
    ///
    /// # Errors
    /// No answer.
    pub async fn set_stock(&self, sku: &str, quantity: u64) -> Called {
        let url = self.url(&format!("/v1/skus/{sku}/stock"));
        Answer::to(self.client.put(url).json(&json!({ "quantity": quantity }))).await
    }

    /// Asks for a reservation, in JSON.
    ///
    /// # Errors
    /// No answer.
    pub async fn reserve(&self, order: &Order) -> Called {
        let body = json!({
            "sku": order.sku, "quantity": order.quantity, "customer_id": order.customer,
        });
        Answer::to(self.reservation(order).json(&body)).await
    }

    /// Asks for a reservation, as a browser posts a form.
    ///
    /// # Errors
    /// No answer.
    pub async fn reserve_by_form(&self, order: &Order) -> Called {
        let quantity = order.quantity.to_string();
        let fields =
            [("sku", &order.sku), ("quantity", &quantity), ("customer_id", &order.customer)];
        Answer::to(self.reservation(order).form(&fields)).await
    }

    /// `confirm`s or `release`s a reservation.
    ///
    /// # Errors
    /// No answer.
    pub async fn settle(&self, id: &str, how: &str) -> Called {
        Answer::to(self.client.post(self.url(&format!("/v1/reservations/{id}/{how}")))).await
    }

    /// Makes a SKU a hot item, with a pace of its own if one is given.
    ///
    /// # Errors
    /// No answer.
    pub async fn promote(&self, sku: &str, reserves_per_s: Option<u32>) -> Called {
        let body = match reserves_per_s {
            Some(reserves_per_s) => json!({ "reserves_per_s": reserves_per_s }),
            None => json!({}),
        };
        Answer::to(self.client.put(self.url(&format!("/v1/hot-items/{sku}"))).json(&body)).await
    }

    /// Makes a hot item a SKU like any other.
    ///
    /// # Errors
    /// No answer.
    pub async fn demote(&self, sku: &str) -> Called {
        Answer::to(self.client.delete(self.url(&format!("/v1/hot-items/{sku}")))).await
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Called {
        Answer::to(self.client.get(self.url(path))).await
    }

    /// What the service counts, as text.
    ///
    /// # Errors
    /// No answer.
    pub async fn metrics(&self) -> Result<String, reqwest::Error> {
        self.client.get(self.url("/metrics")).send().await?.text().await
    }

    /// A SKU's counters and version.
    ///
    /// # Errors
    /// No answer.
    pub async fn stock(&self, sku: &str) -> Called {
        self.get(&format!("/v1/skus/{sku}")).await
    }

    /// A SKU's whole journal, page by page.
    ///
    /// # Errors
    /// No answer.
    ///
    /// # Panics
    /// The answer is no journal.
    pub async fn journal(&self, sku: &str) -> Result<Vec<Value>, reqwest::Error> {
        let mut entries = Vec::new();
        let mut after = json!(0);
        while after != Value::Null {
            let page = self.get(&format!("/v1/skus/{sku}/journal?after={after}&limit=500")).await?;
            assert_eq!(page.status, 200, "journal of {sku}: {}", page.body);
            entries.extend(page.body["entries"].as_array().expect("entries").iter().cloned());
            after = page.body["next"].clone();
        }
        Ok(entries)
    }

    fn reservation(&self, order: &Order) -> RequestBuilder {
        let request = self.client.post(self.url("/v1/reservations"));
        match &order.key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}
