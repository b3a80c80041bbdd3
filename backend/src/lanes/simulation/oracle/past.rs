//! What was known before a failover lost the end of a history.

use super::{Oracle, Record};

impl Oracle {
    /// A failover has lost all that was written since `past`: nobody has to keep what was promised
    /// since then. But what was asked may have been heard of, and may come again.
    pub(in super::super) fn roll_back(&mut self, past: Self) {
        let lost = std::mem::replace(self, past);
        self.latest = lost.latest;
        self.life = lost.life + 1;
        self.coverage = lost.coverage;
        for (id, record) in lost.records {
            let known = self.records.entry(id).or_insert_with(|| Record::new(record.wish));
            known.remember(record);
        }
        for (id, record) in lost.adjustments {
            let known = self.adjustments.entry(id).or_default();
            known.by = record.by;
            known.was_forgotten |= record.was_forgotten;
        }
        for (book, lost) in self.books.iter_mut().zip(lost.books) {
            book.terms_ever.extend(lost.terms_ever);
        }
    }
}

impl Record {
    fn remember(&mut self, lost: Self) {
        self.fingerprints.extend(lost.fingerprints);
        self.fingerprints.sort_unstable_by_key(|fingerprint| fingerprint.0);
        self.fingerprints.dedup();
        self.claim_by = self.claim_by.max(lost.claim_by);
        self.times = lost.times;
        self.was_forgotten |= lost.was_forgotten;
        self.cancelled.extend(lost.cancelled);
        self.wanted = self.wanted.or(lost.wanted);
    }
}
