//! Clients that make one call after the other, and write down what came of it: for tests that put
//! the service under a verdict without a whole drill.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reqwest::StatusCode;

use super::record::{Answer, Call, Order, Record, Role, Settlement};
use super::wire;
use crate::shop::{self, Shop};

/// What some clients have noted, in the order in which their calls ended. Clones write into the
/// same one.
#[derive(Clone, Debug)]
pub struct Diary {
    began: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Default for Diary {
    fn default() -> Self {
        Self { began: Instant::now(), records: Arc::default() }
    }
}

impl Diary {
    /// Makes a call, and notes it.
    pub async fn call(&self, shop: &Shop, call: Call) -> Answer {
        let sent_us = self.now_us();
        let answer = ask(shop, &call).await;
        let ended_us = self.now_us();
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let (serial, role, scheduled_us) = (records.len() as u64, Role::Shopper, sent_us);
        let told = answer.clone();
        records.push(Record { serial, role, call, scheduled_us, sent_us, ended_us, answer });
        told
    }

    /// Everything noted so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Makes a call.
pub(super) async fn ask(shop: &Shop, call: &Call) -> Answer {
    let called = match call {
        Call::Reserve(Order { sku, quantity, customer, key }) => {
            let (sku, customer, key) = (sku.clone(), customer.clone(), key.clone());
            shop.reserve(&shop::Order { sku, quantity: *quantity, customer, key }).await
        }
        Call::Ticket { id } => shop.get(&format!("/v1/tickets/{id}")).await,
        Call::Settle { id, how: Settlement::Confirm } => shop.settle(id, "confirm").await,
        Call::Settle { id, how: Settlement::Release } => shop.settle(id, "release").await,
    };
    match called {
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or_default();
            wire::answer(call, status, answer.body.to_string().as_bytes())
        }
        Err(_) => Answer::Lost,
    }
}
