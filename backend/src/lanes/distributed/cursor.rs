//! What of a stream the owner has read, and what of that is decided.

use std::collections::VecDeque;

use crate::store::tenure::{Cursor, Entry, EntryId, Place, Step, Stream};

/// How far the owner is in one stream.
///
/// Commands are not always decided in the order of their stream: one SKU's wait while another's go
/// on. So what was read is kept, from the first place that is not decided, each with whether it is.
#[derive(Default)]
pub(super) struct Reading {
    /// Of earlier tenures: where the undecided begins, and what is decided beyond and not read yet.
    start: Place,
    ahead: VecDeque<Place>,
    read_to: EntryId,
    newest: Option<(EntryId, u64)>,
    places: VecDeque<(Place, bool)>,
    has_moved: bool,
    decided: u64,
}

impl Reading {
    /// Takes up where the cursor of an earlier tenure says.
    pub(super) fn new(committed: Option<Cursor>) -> Self {
        let Cursor { next: start, beyond } = committed.unwrap_or_default();
        let read_to = before(start.entry);
        Self { start, ahead: beyond.into(), read_to, ..Self::default() }
    }

    /// The last entry that was read.
    pub(super) fn read_to(&self) -> EntryId {
        self.read_to
    }

    /// Whether what stands there has been read.
    pub(super) fn is_read(&self, place: Place) -> bool {
        place.entry <= self.read_to
    }

    /// Whether what stands there is decided.
    pub(super) fn is_decided(&self, place: Place) -> bool {
        if !self.is_read(place) {
            return place < self.start || self.ahead.binary_search(&place).is_ok();
        }
        let found = self.places.binary_search_by_key(&place, |(place, _)| *place);
        found.map_or(true, |index| self.places[index].1)
    }

    /// How many places there are from the first that is undecided on.
    pub(super) fn span(&self) -> usize {
        self.places.len()
    }

    /// Notes what was read, and returns the places in it that are not decided.
    pub(super) fn read(&mut self, entry: &Entry) -> Vec<Place> {
        (self.read_to, self.newest) = (entry.id, Some((entry.id, entry.nonce)));
        let mut undecided = Vec::with_capacity(entry.posted.len());
        for index in (0..).take(entry.posted.len()) {
            let place = Place { entry: entry.id, index };
            if place < self.start {
                continue;
            }
            let is_decided = self.ahead.front() == Some(&place);
            if is_decided {
                self.ahead.pop_front();
            } else {
                undecided.push(place);
            }
            self.places.push_back((place, is_decided));
        }
        self.pop_decided();
        undecided
    }

    /// What stands there is decided. It `counts` if it was posted, as marks were not, and if it was
    /// not decided before.
    pub(super) fn decide(&mut self, place: Place, counts: bool) {
        let found = self.places.binary_search_by_key(&place, |(place, _)| *place);
        let Some(found) = found.ok().and_then(|index| self.places.get_mut(index)) else { return };
        if std::mem::replace(&mut found.1, true) {
            return;
        }
        self.has_moved = true;
        self.decided += u64::from(counts);
        self.pop_decided();
    }

    /// How this turn moves on, if it does. What is decided after that is another turn's.
    pub(super) fn step(&mut self, stream: &Stream) -> Option<Step> {
        if !std::mem::take(&mut self.has_moved) {
            return None;
        }
        Some(Step {
            stream: stream.clone(),
            to: self.cursor(),
            newest: self.newest?,
            decided: std::mem::take(&mut self.decided),
        })
    }

    fn cursor(&self) -> Cursor {
        let all_read = Place { entry: after(self.read_to), index: 0 };
        let next = self.places.front().map_or(all_read, |(place, _)| *place);
        let decided = self.places.iter().filter(|(_, is_decided)| *is_decided);
        let beyond = decided.map(|(place, _)| place).chain(&self.ahead).copied().collect();
        Cursor { next, beyond }
    }

    fn pop_decided(&mut self) {
        while self.places.pop_front_if(|(_, is_decided)| *is_decided).is_some() {}
    }
}

/// The last entry that there could be before this one.
pub(super) fn before(id: EntryId) -> EntryId {
    match (id.ms, id.number) {
        (0, 0) => id,
        (ms, 0) => EntryId { ms: ms - 1, number: u64::MAX },
        (ms, number) => EntryId { ms, number: number - 1 },
    }
}

/// The first entry that there could be after this one.
fn after(id: EntryId) -> EntryId {
    match id.number.checked_add(1) {
        Some(number) => EntryId { number, ..id },
        None => EntryId { ms: id.ms + 1, number: 0 },
    }
}

#[cfg(test)]
mod tests {
    use cartgate_ledger::UnixMs;
    use cartgate_policy::Sku;

    use super::*;
    use crate::store::tenure::Posted;

    fn entry(ms: u64, count: usize) -> Entry {
        let mark = Posted::Handoff(Sku::parse("A").unwrap());
        let id = EntryId { ms, number: 0 };
        Entry { id, nonce: ms, at: UnixMs(ms), posted: vec![mark; count] }
    }

    fn place(ms: u64, index: u32) -> Place {
        Place { entry: EntryId { ms, number: 0 }, index }
    }

    #[test]
    fn what_is_decided_out_of_order_is_not_read_again() {
        let mut reading = Reading::new(None);
        assert_eq!(reading.read(&entry(5, 2)), [place(5, 0), place(5, 1)]);
        assert_eq!(reading.read(&entry(6, 2)).len(), 2);
        assert!(reading.step(&Stream::Normal).is_none());
        reading.decide(place(5, 0), true);
        for decided in [place(6, 0), place(6, 0), place(9, 0)] {
            reading.decide(decided, true);
        }
        let step = reading.step(&Stream::Normal).unwrap();
        let to = Cursor { next: place(5, 1), beyond: vec![place(6, 0)] };
        assert_eq!((&step.to, step.decided), (&to, 2));
        assert_eq!(step.newest.0.ms, 6);

        let mut next = Reading::new(Some(to.clone()));
        assert_eq!(next.read_to(), EntryId { ms: 4, number: u64::MAX });
        let places = [place(5, 0), place(5, 1), place(6, 0), place(6, 1)];
        assert_eq!(places.map(|place| next.is_decided(place)), [true, false, true, false]);
        assert!(!next.is_read(place(5, 1)));
        assert_eq!(next.read(&entry(5, 2)), [place(5, 1)]);
        assert_eq!(places.map(|place| next.is_decided(place)), [true, false, true, false]);
        assert!(next.is_read(place(5, 1)) && !next.is_read(place(6, 0)));
        next.decide(place(5, 1), false);
        let step = next.step(&Stream::Normal).unwrap();
        let nothing_left = Place { entry: EntryId { ms: 5, number: 1 }, index: 0 };
        let beyond = vec![place(6, 0)];
        assert_eq!(step.to, Cursor { next: nothing_left, beyond });
        assert_eq!(step.decided, 0);
        assert_eq!(next.read(&entry(6, 2)), [place(6, 1)]);
        assert_eq!(next.span(), 1);
        next.decide(place(6, 1), true);
        let step = next.step(&Stream::Normal).unwrap();
        assert_eq!((step.to.next.entry, step.to.beyond.len()), (EntryId { ms: 6, number: 1 }, 0));
    }

    #[test]
    fn entries_have_neighbours() {
        let id = |ms, number| EntryId { ms, number };
        for (first, second) in [(id(4, u64::MAX), id(5, 0)), (id(5, 0), id(5, 1))] {
            assert_eq!((before(second), after(first)), (first, second));
        }
        assert_eq!(before(id(0, 0)), id(0, 0));
    }
}
