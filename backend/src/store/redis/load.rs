//! Reading back a bucket at the beginning of a tenure, and checking that it agrees with itself.

use std::collections::BTreeMap;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::ask;
use super::link::pipeline;
use super::reply::{Fields, Replies, failed_to};
use super::tenure::RedisTenure;
use crate::store::encoding::{decode, parse_id, parse_sku, reservation};
use crate::store::journal::verify_end;
use crate::store::{EndedKind, Loaded, StockRow, Store as _, StoreError};

/// How much of a hash is read at once, at least.
const SCANNED: usize = 1_024;

/// How many journals' ends are read at once.
const JOURNALS: usize = 256;

impl RedisTenure {
    pub(super) fn load_all(&self) -> Result<Loaded, StoreError> {
        let stock = |(sku, row): (Vec<u8>, Vec<u8>)| Ok((parse_sku(&sku)?, decode("stock", &row)?));
        let hold = |(id, value): (Vec<u8>, Vec<u8>)| reservation(parse_id(&id)?, &value);
        let ticketed = |(_, value): (Vec<u8>, Vec<u8>)| decode("ticketed command", &value);
        let all = |name| self.scan(&self.keys.key(name));
        let until = UnixMs(u64::MAX);
        let mut loaded = Loaded {
            stocks: all("stock")?.into_iter().map(stock).collect::<Result<_, _>>()?,
            holds: all("held")?.into_iter().map(hold).collect::<Result<_, _>>()?,
            ticketed: all("ticketed")?.into_iter().map(ticketed).collect::<Result<_, _>>()?,
            refusals: self.ended(EndedKind::Refusal, UnixMs(0), until, usize::MAX)?,
            hot_items: self.ask(ask::hot_items(&self.keys))?,
            hot_item_histories: Vec::new(),
        };
        for (sku, history) in all("histories")? {
            loaded.add_history(parse_sku(&sku)?, &decode("history", &history)?);
        }
        loaded.ticketed.sort_by_key(|ticketed| ticketed.seq);
        self.verify_journals(&loaded.stocks)?;
        loaded.verify_holds()?;
        Ok(loaded)
    }

    /// All of a hash that nobody changes meanwhile, in the order of its fields.
    pub(super) fn scan(&self, hash: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let mut all = BTreeMap::new();
        let mut cursor = String::from("0");
        loop {
            let mut pipe = pipeline();
            pipe.cmd("HSCAN").arg(hash).arg(&cursor).arg("COUNT").arg(SCANNED);
            let mut replies = Replies::new(self.query(&pipe).map_err(failed_to("be read"))?);
            let (next, fields): (String, Fields) = replies.next("HSCAN")?;
            // What moves in the table meanwhile may come twice.
            all.extend(fields);
            if next == "0" {
                return Ok(all);
            }
            cursor = next;
        }
    }

    /// Checks that each SKU's last journal entry ends where its stock stands.
    fn verify_journals(&self, stocks: &[(Sku, StockRow)]) -> Result<(), StoreError> {
        for some in stocks.chunks(JOURNALS) {
            let ends = self.ask(ask::journal_ends(&self.keys, some))?;
            for ((sku, row), (version, counters)) in some.iter().zip(ends) {
                verify_end(sku, version, counters, row)?;
            }
        }
        Ok(())
    }
}
