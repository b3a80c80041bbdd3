//! Records of a drill that never was, like those of a real one, for tests.

use crate::drill::record::{
    Answer, Call, Counters, Entry, Order, Record, Role, Settlement, SkuEvidence,
};
use crate::random::Random;

/// Names that a page and a picture must survive.
pub(super) const HOT_SKU: &str = "<script>alert(\"&\")</script>";

const OTHER_SKU: &str = "TEE-WHITE-M";
const SECOND_US: u64 = 1_000_000;

/// When the drill began: 2026-11-20T10:00:00Z.
const BEGAN_MS: i64 = 1_795_168_800_000;

/// A sale of `seconds`: demand for the hot product jumps a hundredfold after a sixth of them.
pub(super) fn sale(seconds: u64) -> (Vec<Record>, Vec<SkuEvidence>) {
    let mut shop = Shop::open(Random::new(7));
    for tick in 0..seconds * 10 {
        let crowd = if tick > seconds * 10 / 6 { 120 } else { 2 };
        for _ in 0..crowd {
            shop.order(tick, true);
        }
        for _ in 0..4 {
            shop.order(tick, false);
        }
    }
    (shop.records, vec![shop.hot.evidence, shop.other.evidence])
}

struct Shop {
    random: Random,
    records: Vec<Record>,
    tokens: u64,
    tick: u64,
    hot: Shelf,
    other: Shelf,
}

impl Shop {
    fn open(random: Random) -> Self {
        let (hot, other) = (Shelf::fill(HOT_SKU, 500), Shelf::fill(OTHER_SKU, 50_000));
        Self { random, records: Vec::new(), tokens: 20, tick: 0, hot, other }
    }

    fn order(&mut self, tick: u64, hot: bool) {
        // The edge admits 20 a second, two every tick.
        self.tokens = (self.tokens + 2 * (tick - self.tick)).min(20);
        self.tick = tick;
        let scheduled_us = tick * SECOND_US / 10 + self.random.below(SECOND_US / 10);
        let dice = self.random.below(100);
        let role = match dice {
            0..30 => Role::Bot,
            30..60 if hot => Role::Fan,
            60..70 => Role::Impatient,
            70..80 => Role::Legacy,
            _ => Role::Shopper,
        };
        let latency_us = self.latency_us(tick);
        let serial = self.records.len() as u64;
        let ended_us = scheduled_us + latency_us;
        let answer = if role == Role::Impatient && dice < 63 {
            Answer::HungUp
        } else if hot && self.tokens == 0 {
            Answer::OverLimit
        } else {
            self.tokens -= u64::from(hot);
            let shelf = if hot { &mut self.hot } else { &mut self.other };
            shelf.take(serial, ended_us)
        };
        let ended_us =
            if answer == Answer::OverLimit { scheduled_us + latency_us / 9 } else { ended_us };
        let sku = if hot { HOT_SKU } else { OTHER_SKU }.to_owned();
        let order = Order { sku, quantity: 1, customer: format!("c{serial}"), key: None };
        let call = Call::Reserve(order);
        let sent_us = scheduled_us + 40;
        self.note(Record { serial, role, call, scheduled_us, sent_us, ended_us, answer });
    }

    /// Slower in the rush; a long tail.
    fn latency_us(&mut self, tick: u64) -> u64 {
        let tail = if self.random.below(50) == 0 { 12 } else { 1 };
        (2_000 + 40 * (tick % 200) + self.random.below(3_000)) * tail
    }

    /// Notes the order, and settles its hold a second later.
    fn note(&mut self, record: Record) {
        let Record { role, ended_us: told_us, .. } = record;
        if let Answer::Held { id, .. } = record.answer.clone() {
            let how = match self.random.below(4) {
                0 => None,
                1 => Some(Settlement::Release),
                _ => Some(Settlement::Confirm),
            };
            let (scheduled_us, serial) = (told_us + SECOND_US, record.serial + 1_000_000);
            let hot = matches!(&record.call, Call::Reserve(order) if order.sku == HOT_SKU);
            let shelf = if hot { &mut self.hot } else { &mut self.other };
            shelf.settle(&id, how, scheduled_us);
            if let Some(how) = how {
                let (sent_us, ended_us) = (scheduled_us + 30, scheduled_us + 3_000);
                let (call, answer) = (Call::Settle { id, how }, Answer::Settled);
                let settled =
                    Record { serial, role, call, scheduled_us, sent_us, ended_us, answer };
                self.records.push(settled);
            }
        }
        self.records.push(record);
    }
}

/// A SKU and its journal. Entries are in the order in which they came to mind, not of time.
struct Shelf {
    evidence: SkuEvidence,
}

impl Shelf {
    fn fill(sku: &str, available: u64) -> Self {
        let counters = Counters::default();
        let evidence = SkuEvidence { sku: sku.to_owned(), journal: vec![], counters, version: 0 };
        let mut shelf = Self { evidence };
        shelf.enter("set", None, 0, Counters { available, ..counters });
        shelf
    }

    fn take(&mut self, serial: u64, at_us: u64) -> Answer {
        let before = self.evidence.counters;
        let Some(available) = before.available.checked_sub(1) else {
            return Answer::SoldOut { available: 0 };
        };
        let id = format!("{serial:032x}");
        let after = Counters { available, held: before.held + 1, ..before };
        self.enter("reserve", Some(&id), at_us - 500, after);
        Answer::Held { id, expires_at_ms: 0 }
    }

    fn settle(&mut self, id: &str, how: Option<Settlement>, at_us: u64) {
        let Counters { available, held, confirmed } = self.evidence.counters;
        let back = Counters { available: available + 1, held: held - 1, confirmed };
        let sold = Counters { available, held: held - 1, confirmed: confirmed + 1 };
        match how {
            Some(Settlement::Confirm) => self.enter("confirm", Some(id), at_us, sold),
            Some(Settlement::Release) => self.enter("release", Some(id), at_us, back),
            None => self.enter("expire", Some(id), at_us + 4 * SECOND_US, back),
        }
    }

    fn enter(&mut self, cause: &str, id: Option<&str>, at_us: u64, after: Counters) {
        let at_ms = BEGAN_MS + i64::try_from(at_us / 1000).unwrap();
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap().to_string();
        let before = std::mem::replace(&mut self.evidence.counters, after);
        self.evidence.version += 1;
        self.evidence.journal.push(Entry {
            version: self.evidence.version,
            at,
            cause: cause.to_owned(),
            reservation_id: id.map(str::to_owned),
            quantity: 1,
            before,
            after,
        });
    }
}
