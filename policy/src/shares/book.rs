//! The service's side: what edges may use of one limit, and what is left of it.
//!
//! The book has for each edge the **largest** of the shares that the edge may be using: the one that it
//! says it has, and all that were granted to it since. What is granted is from what is left of the limit,
//! never from what an edge has been told to give up and may still be using. So what all edges use together
//! never exceeds the limit, whatever of what they are told is lost or late.

use std::collections::BTreeMap;

use super::divide;

/// What one limit's edges have been granted: at first nothing, of a limit of nothing.
#[derive(Clone, Debug, Default)]
pub struct Book {
    limit: u32,
    edges: BTreeMap<u64, Booking>,
    /// What all bookings add up to: never less than what edges may use.
    booked: u64,
    /// The turn for which it was said what everybody is to have; `None`: something has changed since.
    planned: Option<u64>,
    /// Whether more is asked for than there is.
    is_short: bool,
}

/// A share as it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Counted up for each edge.
    pub seq: u64,
    /// Units per second.
    pub per_second: u32,
}

/// One edge.
#[derive(Clone, Debug, Default)]
struct Booking {
    demand: u32,
    /// What it is to have.
    wish: u32,
    /// The first is what it has said that it has; oldest first.
    granted: Vec<Granted>,
    seq: u64,
    /// Whether it has said that it has the last.
    has_last: bool,
}

/// More than are ever on their way at once: then the oldest two count as one, as large as the larger.
const GRANTED_MAX: usize = 16;

impl Book {
    /// Changes the limit. What was granted under another stays good until edges have given it up.
    pub fn set_limit(&mut self, limit: u32) {
        if self.limit != limit {
            self.planned = None;
        }
        self.limit = limit;
    }

    /// Notes how many units per second an edge is asked for. An edge that nothing is noted of takes no part.
    ///
    /// Demand is never the same twice, and each plan has edges told. As long as there is enough for all, and an
    /// edge's share covers what it is asked for, nothing need change; nor for a tenth less than before.
    pub fn ask(&mut self, edge: u64, demand: u32) {
        let is_new = !self.edges.contains_key(&edge);
        let booking = self.edges.entry(edge).or_default();
        let is_covered = !self.is_short && demand <= booking.has();
        let is_a_tenth_less = u64::from(demand) * 10 >= u64::from(booking.demand) * 9;
        let is_steady = demand <= booking.demand && is_a_tenth_less;
        if is_new || !is_steady {
            booking.demand = demand;
            self.planned = self.planned.filter(|_| is_covered && !is_new);
        }
    }

    /// Notes that an edge has the share with this number, and none before it any more. One that was never
    /// granted is nobody's.
    pub fn confirm(&mut self, edge: u64, seq: u64) {
        if let Some(booking) = self.edges.get_mut(&edge).filter(|booking| seq <= booking.seq) {
            let before = booking.most();
            booking.granted.retain(|granted| granted.seq >= seq);
            booking.has_last = seq == booking.seq;
            self.booked = self.booked - u64::from(before) + u64::from(booking.most());
        }
    }

    /// Notes a share that an edge has from a book that this one knows nothing of. It is booked, even if it
    /// is more than there is.
    pub fn adopt(&mut self, edge: u64, per_second: u32) {
        self.planned = None;
        let booking = self.edges.entry(edge).or_default();
        let before = booking.most();
        booking.grant(per_second);
        self.booked = self.booked - u64::from(before) + u64::from(booking.most());
    }

    /// Forgets an edge that has nothing any more.
    pub fn forget(&mut self, edge: u64) {
        if let Some(booking) = self.edges.remove(&edge) {
            self.planned = None;
            self.booked -= u64::from(booking.most());
        }
    }

    /// Has every edge told again what it was granted last: it may have dropped that.
    pub fn tell_again(&mut self) {
        self.edges.values_mut().for_each(|booking| booking.has_last = false);
    }

    /// Says anew what each edge is to have, if something has changed or units go round. To be called every so
    /// often; the more often, the sooner shares follow demand. Takes time for each edge. Of a limit below one
    /// unit for each edge, whole units go on to others with each `turn`.
    pub fn plan(&mut self, turn: u64) {
        let goes_round = u64::from(self.limit) < self.edges.len() as u64;
        let turn = if goes_round { turn } else { 0 };
        if self.planned == Some(turn) {
            return;
        }
        let demands: Vec<u32> = self.edges.values().map(|booking| booking.demand).collect();
        self.is_short = demands.iter().map(|n| u64::from(*n)).sum::<u64>() > self.limit.into();
        let wishes = divide(self.limit, &demands, turn);
        for (booking, wish) in self.edges.values_mut().zip(wishes) {
            booking.wish = wish;
        }
        self.planned = Some(turn);
    }

    /// What an edge is to be told: the share that it is to have, as far as there is as much; `None` if it
    /// has that, and has said so. While a book `learns`, nobody gets more than it has.
    pub fn grant(&mut self, edge: u64, learns: bool) -> Option<Granted> {
        let booking = self.edges.get_mut(&edge)?;
        let before = booking.most();
        let others = self.booked - u64::from(before);
        let free = u64::from(self.limit).saturating_sub(others);
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        let has = booking.has();
        // It takes nothing from others to let an edge have as much as it may be using in any case.
        let per_second = if learns { has } else { booking.wish.min(free.max(before)) };
        if per_second != has {
            booking.grant(per_second);
            self.booked = others + u64::from(booking.most());
        }
        booking.granted.last().copied().filter(|_| !booking.has_last)
    }

    /// Whether an edge is to have another share than it was granted last.
    pub fn is_waiting(&self, edge: u64) -> bool {
        self.edges.get(&edge).is_some_and(|booking| booking.has() != booking.wish)
    }
}

impl Booking {
    /// What the edge may use at most.
    fn most(&self) -> u32 {
        self.granted.iter().map(|granted| granted.per_second).max().unwrap_or_default()
    }

    /// What it was granted last.
    fn has(&self) -> u32 {
        self.granted.last().map_or(0, |granted| granted.per_second)
    }

    fn grant(&mut self, per_second: u32) {
        if let [first, second, ..] = self.granted[..]
            && self.granted.len() >= GRANTED_MAX
        {
            let per_second = first.per_second.max(second.per_second);
            self.granted.remove(0);
            self.granted[0] = Granted { per_second, ..second };
        }
        self.seq += 1;
        self.granted.push(Granted { seq: self.seq, per_second });
        self.has_last = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: u32) -> Book {
        Book { limit, ..Book::default() }
    }

    fn book(demands: &[u32]) -> Book {
        let mut book = of(100);
        for (edge, demand) in (0..).zip(demands) {
            book.ask(edge, *demand);
        }
        book.plan(0);
        book
    }

    fn granted(book: &mut Book, edge: u64) -> Option<(u64, u32)> {
        book.grant(edge, false).map(|granted| (granted.seq, granted.per_second))
    }

    #[test]
    fn what_is_given_up_is_free_when_that_was_said() {
        let mut book = book(&[500, 0]);
        assert_eq!((granted(&mut book, 0), granted(&mut book, 1)), (Some((1, 100)), None));
        book.ask(1, 500);
        book.plan(0);
        assert!(book.is_waiting(0) && book.is_waiting(1));
        // Told again until it is known to have come.
        assert_eq!((granted(&mut book, 0), granted(&mut book, 0)), (Some((2, 50)), Some((2, 50))));
        assert_eq!(granted(&mut book, 1), None, "the first may still use all");
        book.confirm(0, 1);
        assert_eq!((granted(&mut book, 0), granted(&mut book, 1)), (Some((2, 50)), None));
        book.confirm(0, 2);
        assert_eq!((granted(&mut book, 0), granted(&mut book, 1)), (None, Some((1, 50))));
        assert!(!book.is_waiting(0) && !book.is_waiting(1));
    }

    #[test]
    fn what_is_forgotten_is_free() {
        let mut book = book(&[500, 500]);
        assert_eq!((granted(&mut book, 0), granted(&mut book, 1)), (Some((1, 50)), Some((1, 50))));
        book.forget(1);
        book.forget(7);
        book.plan(0);
        assert_eq!((granted(&mut book, 0), granted(&mut book, 1)), (Some((2, 100)), None));
    }

    #[test]
    fn what_is_adopted_counts() {
        let mut book = of(100);
        book.adopt(0, 80);
        book.adopt(1, 60);
        book.ask(0, 500);
        book.ask(2, 500);
        book.plan(0);
        let learning = [0, 1, 2].map(|edge| book.grant(edge, true).map(|g| (g.seq, g.per_second)));
        assert_eq!(learning, [Some((1, 80)), Some((1, 60)), None]);
        // There is nothing left for the third until the others have given up theirs.
        let grants = |book: &mut Book| [0, 1, 2].map(|edge| granted(book, edge));
        assert_eq!(grants(&mut book), [Some((2, 50)), Some((2, 0)), None]);
        book.confirm(1, 2);
        assert_eq!(grants(&mut book), [Some((2, 50)), None, Some((1, 20))]);
        book.confirm(0, 2);
        assert_eq!(grants(&mut book), [None, None, Some((2, 50))]);
    }

    #[test]
    fn a_limit_that_goes_down_takes_from_nobody_more_than_that() {
        let mut book = book(&[500, 500]);
        let grants = |book: &mut Book| [0, 1].map(|edge| granted(book, edge));
        assert_eq!(grants(&mut book), [Some((1, 50)), Some((1, 50))]);
        (0..2).for_each(|edge| book.confirm(edge, 1));
        book.set_limit(80);
        book.plan(0);
        assert_eq!(grants(&mut book), [Some((2, 40)), Some((2, 40))]);
    }

    #[test]
    fn nobody_has_a_share_that_was_never_granted() {
        let mut book = book(&[500, 500]);
        assert_eq!(granted(&mut book, 0), Some((1, 50)));
        book.confirm(0, 7);
        assert_eq!((book.booked, granted(&mut book, 0)), (50, Some((1, 50))));
    }

    #[test]
    fn small_changes_of_demand_change_no_shares() {
        let mut book = book(&[40, 0]);
        let grants = |book: &mut Book| {
            book.plan(0);
            [0, 1].map(|edge| granted(book, edge))
        };
        assert_eq!(grants(&mut book), [Some((1, 70)), Some((1, 30))]);
        (0..2).for_each(|edge| book.confirm(edge, 1));
        for (first, second) in [(25, 0), (0, 30), (70, 1), (3, 9)] {
            book.ask(0, first);
            book.ask(1, second);
            assert_eq!(grants(&mut book), [None, None]);
        }
        book.ask(1, 31);
        assert_ne!(grants(&mut book), [None, None]);
    }

    #[test]
    fn much_that_is_on_its_way_takes_no_more_room() {
        let mut book = book(&[10, 10]);
        for demand in (0..1_000).rev() {
            book.set_limit(demand);
            book.plan(0);
            granted(&mut book, 0);
        }
        assert!(book.edges[&0].granted.len() <= GRANTED_MAX);
        assert_eq!(book.booked, 500, "the most of all");
        book.confirm(0, book.edges[&0].seq);
        assert_eq!(book.booked, 0);
    }

    #[test]
    fn less_than_one_unit_each_goes_round() {
        let mut book = of(2);
        (0..5).for_each(|edge| book.ask(edge, 10));
        let mut had = [0; 5];
        for turn in 0..50 {
            book.plan(turn);
            (0..5).for_each(|edge| had[edge as usize] += book.edges[&edge].wish);
        }
        assert_eq!(had, [20; 5]);
    }
}
