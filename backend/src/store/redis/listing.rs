//! A bucket's stock, read bit by bit.

use cartgate_policy::Sku;

use super::api::Api;
use super::ask::Ask;
use super::keys::Keys;
use super::link::pipeline;
use super::reply::Fields;
use crate::store::encoding::{decode, parse_sku};
use crate::store::{StockRow, StoreError};

/// About how many rows are read at once.
const SCANNED_AT_ONCE: usize = 1_000;

/// Some of a bucket's stock.
#[derive(Debug)]
pub struct Scanned {
    /// Rows, in no order.
    pub rows: Vec<(Sku, StockRow)>,
    /// Where to go on; 0: that was all.
    pub next: u64,
}

impl Api {
    /// Some of a bucket's stock, from 0 on. What is there all the while comes at least once.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn scan_stock(&self, bucket: u16, from: u64) -> Result<Scanned, StoreError> {
        self.ask(bucket, |keys| scan(keys, from)).await
    }
}

fn scan(keys: &Keys, from: u64) -> Ask<Scanned> {
    let mut pipe = pipeline();
    pipe.cmd("HSCAN").arg(keys.key("stock")).arg(from).arg("COUNT").arg(SCANNED_AT_ONCE);
    Ask::new(pipe, |replies| {
        let row = |(sku, row): (Vec<u8>, Vec<u8>)| Ok((parse_sku(&sku)?, decode("stock", &row)?));
        let (next, rows): (u64, Fields) = replies.next("stock")?;
        let rows = rows.into_iter().map(row).collect::<Result<_, StoreError>>()?;
        Ok(Scanned { rows, next })
    })
}
