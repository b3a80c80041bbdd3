//! How often each SKU was asked for, and when most often.
//!
//! ```text
//! seats    a row for each SKU: requests, denied, how many of them are in the window, the highest that was
//! window   a cell for each SKU and millisecond in which it came, of the last `window_ms`, oldest first
//! ```
//!
//! Requests come in order of time. Each takes the window along: what is older leaves it. So a peak is
//! that of every window there was, not of those that begin at whole seconds.
//!
//! Both have a bound. When one is full, half of the seats are given up, those with the least to lose. What
//! that may cost is stated: each time, no SKU lost more than the most that a seat which went had (`Loss`). A
//! SKU that had its seat from before the first time has lost nothing. It is the rule of the frequent-items
//! sketches (Misra and Gries), which count totals only: here it bounds windows as well.

use std::collections::{HashMap, VecDeque};

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::order::Event;

/// What fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// SKUs. Each takes about 200 bytes.
    pub(super) seats_max: usize,
    /// Cells of the window, of 16 bytes.
    pub(super) cells_max: usize,
}

/// What was found of a SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) sku: Sku,
    /// All of its requests, but for at most `requests_missed_max`.
    pub(super) requests: u64,
    /// Those that were answered 429.
    pub(super) denied: u64,
    /// The most in one window, but for at most `peak_missed_max`.
    pub(super) peak: u64,
    /// When that window ended: the time of its last request.
    pub(super) peak_at: UnixMs,
    pub(super) requests_missed_max: u64,
    pub(super) peak_missed_max: u64,
}

/// The table.
#[derive(Debug)]
pub(super) struct Peaks {
    window_ms: u64,
    /// How many requests in a window make a peak that must not be forgotten.
    hot: u64,
    bounds: Bounds,
    seats: Vec<Seat>,
    by_sku: HashMap<Sku, u32>,
    window: VecDeque<Cell>,
    /// How many cells have left the window's front.
    left: u64,
    loss: Loss,
}

#[derive(Debug)]
struct Seat {
    sku: Sku,
    requests: u64,
    denied: u64,
    in_window: u64,
    peak: u64,
    peak_at: UnixMs,
    /// Where its latest cell is, counted from the first that ever was.
    cell: u64,
    /// What may have been lost of the SKU before it had this seat.
    missed_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    at: UnixMs,
    seat: u32,
    requests: u32,
}

/// What was lost with the seats that were given up.
#[derive(Debug, Default)]
struct Loss {
    /// The most that a SKU may have lost, of all of its requests.
    requests: u64,
    /// When seats were given up within the last window, and the most that one of them had in it.
    recent: VecDeque<(UnixMs, u64)>,
    /// The most that a SKU may have lost in any window.
    in_window: u64,
    /// The highest peak that went.
    peak: u64,
}

impl Loss {
    fn add(&mut self, at: UnixMs, window_ms: u64, gone: &[(u32, Seat)]) {
        let most = |of: fn(&Seat) -> u64| gone.iter().map(|(_, seat)| of(seat)).max().unwrap_or(0);
        self.requests += most(|seat| seat.requests);
        self.peak = self.peak.max(most(|seat| seat.peak));
        self.recent.retain(|(before, _)| before.plus_ms(window_ms) > at);
        self.recent.push_back((at, most(|seat| seat.in_window)));
        self.in_window = self.in_window.max(self.recent.iter().map(|(_, lost)| lost).sum());
    }

    /// The highest peak that a SKU may have had that has this one now.
    fn peak_max(&self, peak: u64) -> u64 {
        peak.max(self.peak) + self.in_window
    }
}

impl Peaks {
    /// An empty table for windows of this length, in which so many requests make a SKU hot.
    pub(super) fn new(window_ms: u64, hot: u64, bounds: Bounds) -> Self {
        let (seats, by_sku, window) = Default::default();
        Self { window_ms, hot, bounds, seats, by_sku, window, left: 0, loss: Loss::default() }
    }

    /// Counts a request, none of which came later than this one before.
    pub(super) fn add(&mut self, event: Event) {
        let Event { at, .. } = event;
        self.leave(at);
        let place = self.count(&event, at);
        let next = self.left + self.window.len() as u64;
        let seat = &mut self.seats[place as usize];
        seat.in_window += 1;
        if seat.in_window > seat.peak {
            (seat.peak, seat.peak_at) = (seat.in_window, at);
        }
        let latest = seat.cell.checked_sub(self.left).and_then(|n| usize::try_from(n).ok());
        match latest.and_then(|n| self.window.get_mut(n)) {
            Some(cell) if cell.seat == place && cell.at == at && cell.requests < u32::MAX => {
                cell.requests += 1;
            }
            _ => {
                seat.cell = next;
                self.window.push_back(Cell { at, seat: place, requests: 1 });
            }
        }
        while self.window.len() > self.bounds.cells_max && self.seats.len() > 1 {
            self.give_up(at);
        }
    }

    /// Counts a request that came too late for the windows.
    pub(super) fn add_late(&mut self, event: &Event) {
        let now = self.window.back().map_or(event.at, |cell| cell.at);
        self.count(event, now);
    }

    /// What was found of each SKU that has a seat: the highest peaks first.
    pub(super) fn found(self) -> Vec<Found> {
        let Self { seats, loss, .. } = self;
        let mut found: Vec<Found> = seats.into_iter().map(|seat| seat.found(&loss)).collect();
        found.sort_by(|a, b| (b.peak, b.requests, &a.sku).cmp(&(a.peak, a.requests, &b.sku)));
        found
    }

    /// The highest peak, and the most requests, that a SKU may have had that has no seat.
    pub(super) fn lost_max(&self) -> (u64, u64) {
        (self.loss.peak_max(0), self.loss.requests)
    }

    /// Takes out of the window what is too old for it at `now`.
    fn leave(&mut self, now: UnixMs) {
        while let Some(cell) = self.window.front().copied()
            && cell.at.plus_ms(self.window_ms) <= now
        {
            self.window.pop_front();
            self.left += 1;
            self.seats[cell.seat as usize].in_window -= u64::from(cell.requests);
        }
    }

    /// Counts a request in its SKU's seat, and says which that is.
    fn count(&mut self, event: &Event, now: UnixMs) -> u32 {
        let place = match self.by_sku.get(&event.sku) {
            Some(place) => *place,
            None => self.take_seat(&event.sku, now),
        };
        let seat = &mut self.seats[place as usize];
        seat.requests += 1;
        seat.denied += u64::from(event.is_denied);
        place
    }

    fn take_seat(&mut self, sku: &Sku, now: UnixMs) -> u32 {
        if self.seats.len() >= self.bounds.seats_max {
            self.give_up(now);
        }
        let place = self.seats.len() as u32;
        self.seats.push(Seat {
            sku: sku.clone(),
            requests: 0,
            denied: 0,
            in_window: 0,
            peak: 0,
            peak_at: UnixMs(0),
            cell: u64::MAX,
            missed_max: self.loss.requests,
        });
        self.by_sku.insert(sku.clone(), place);
        place
    }

    /// Gives up half of the seats: last of all those of hot SKUs, then of those that may become it now.
    fn give_up(&mut self, now: UnixMs) {
        let mut seats: Vec<(u32, Seat)> = (0..).zip(std::mem::take(&mut self.seats)).collect();
        let worth = |seat: &Seat| {
            let peak = if seat.peak >= self.hot { seat.peak } else { 0 };
            (peak, seat.in_window, seat.requests)
        };
        seats.sort_by_cached_key(|(_, seat)| std::cmp::Reverse(worth(seat)));
        let gone = seats.split_off(seats.len() / 2);
        self.loss.add(now, self.window_ms, &gone);
        for (_, seat) in gone {
            self.by_sku.remove(&seat.sku);
        }
        self.move_to(seats);
    }

    /// Gives these seats the first places, and takes from the window what is of no seat any more.
    fn move_to(&mut self, seats: Vec<(u32, Seat)>) {
        let mut places = HashMap::with_capacity(seats.len());
        for (place, (before, mut seat)) in (0..).zip(seats) {
            places.insert(before, place);
            self.by_sku.insert(seat.sku.clone(), place);
            // Its cells have moved, too: the next request begins a new one.
            seat.cell = u64::MAX;
            self.seats.push(seat);
        }
        self.window.retain_mut(|cell| match places.get(&cell.seat) {
            Some(place) => {
                cell.seat = *place;
                true
            }
            None => false,
        });
    }
}

impl Seat {
    fn found(self, loss: &Loss) -> Found {
        // Whoever sat down before anybody had to go has been here all the time.
        let Self { sku, requests, denied, peak, peak_at, missed_max: requests_missed_max, .. } =
            self;
        let was_here = requests_missed_max == 0;
        let peak_missed_max = if was_here { 0 } else { loss.peak_max(peak) - peak };
        Found { sku, requests, denied, peak, peak_at, requests_missed_max, peak_missed_max }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ROOMY: Bounds = Bounds { seats_max: 1_000, cells_max: 100_000 };

    fn sku(number: u64) -> Sku {
        Sku::parse(&format!("A{number}")).unwrap()
    }

    fn event(at: u64, number: u64) -> Event {
        Event { at: UnixMs(at), sku: sku(number), is_denied: at.is_multiple_of(3) }
    }

    fn found(events: &[(u64, u64)], window_ms: u64, bounds: Bounds) -> Vec<Found> {
        let mut peaks = Peaks::new(window_ms, 5, bounds);
        for (at, number) in events {
            peaks.add(event(*at, *number));
            assert!(peaks.seats.len() <= bounds.seats_max);
            assert!(peaks.window.len() <= bounds.cells_max.max(window_ms as usize));
        }
        peaks.found()
    }

    /// What somebody finds who looks at every window, one after the other.
    fn naive(events: &[(u64, u64)], window_ms: u64) -> BTreeMap<Sku, (u64, u64)> {
        let mut naive = BTreeMap::new();
        for (last, number) in events {
            let is_its = |(at, other): &&(u64, u64)| {
                other == number && *at <= *last && at + window_ms > *last
            };
            let in_window = events.iter().filter(is_its).count() as u64;
            let (requests, peak) = naive.entry(sku(*number)).or_insert((0, 0));
            *requests += 1;
            *peak = in_window.max(*peak);
        }
        naive
    }

    fn events(skus: u64, step: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..step, 0..skus), 0..300).prop_map(|steps| {
            let mut now = 1_000;
            let event = |(step, number)| {
                now += step;
                (now, number)
            };
            steps.into_iter().map(event).collect()
        })
    }

    proptest! {
        #[test]
        fn a_peak_is_what_a_naive_count_finds(
            events in events(4, 9),
            window_ms in 1..60_u64,
        ) {
            let found = found(&events, window_ms, ROOMY);
            let exact: BTreeMap<_, _> =
                found.iter().map(|f| (f.sku.clone(), (f.requests, f.peak))).collect();
            prop_assert_eq!(exact, naive(&events, window_ms));
            prop_assert!(found.iter().all(|f| f.requests_missed_max + f.peak_missed_max == 0));
            prop_assert!(found.is_sorted_by(|a, b| a.peak >= b.peak));
        }

        /// However little fits: nothing is made up, and what may be missing is said.
        #[test]
        fn errors_are_within_what_is_stated(
            events in events(12, 5),
            window_ms in 1..60_u64,
            seats_max in 1..8_usize,
            cells_max in 1..30_usize,
        ) {
            let bounds = Bounds { seats_max, cells_max };
            let mut peaks = Peaks::new(window_ms, 5, bounds);
            events.iter().for_each(|(at, number)| peaks.add(event(*at, *number)));
            let (peak_lost, requests_lost) = peaks.lost_max();
            let found: BTreeMap<_, _> =
                peaks.found().into_iter().map(|found| (found.sku.clone(), found)).collect();
            for (sku, (requests, peak)) in naive(&events, window_ms) {
                let Some(f) = found.get(&sku) else {
                    prop_assert!(peak <= peak_lost && requests <= requests_lost);
                    continue;
                };
                prop_assert!(f.requests <= requests && f.peak <= peak);
                prop_assert!(requests <= f.requests + f.requests_missed_max);
                prop_assert!(peak <= f.peak + f.peak_missed_max);
            }
        }
    }

    #[test]
    fn when_and_how_many_were_denied() {
        let found = found(&[(3, 1), (4, 1), (6, 1), (50, 1), (51, 1), (99, 2)], 10, ROOMY);
        let expected = Found {
            sku: sku(1),
            requests: 5,
            denied: 3,
            peak: 3,
            peak_at: UnixMs(6),
            requests_missed_max: 0,
            peak_missed_max: 0,
        };
        assert_eq!(found[0], expected);
    }

    #[test]
    fn what_comes_too_late_is_counted_and_in_no_window() {
        let mut peaks = Peaks::new(10, 5, ROOMY);
        peaks.add(event(50, 1));
        peaks.add_late(&event(49, 1));
        let found = peaks.found();
        assert_eq!((found[0].requests, found[0].peak), (2, 1));
    }

    #[test]
    fn a_flood_of_invented_skus_hides_nothing_that_is_hot() {
        // 50 requests in 5 s for each of the invented, 40 a second for the real one.
        let bounds = Bounds { seats_max: 100, cells_max: 500 };
        let flood = (0..200_000_u64).map(|n| (n / 40, 1_000 + n));
        let real = (0..200_u64).map(|n| (n * 25, 1));
        let mut events: Vec<(u64, u64)> = flood.chain(real).collect();
        events.sort_unstable();
        let found = found(&events, 1_000, bounds);
        assert_eq!((found[0].sku.clone(), found[0].requests, found[0].peak), (sku(1), 200, 40));
        assert!(found.len() <= 100);
    }
}
