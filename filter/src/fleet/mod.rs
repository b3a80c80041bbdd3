//! Hot items at the edge: what worker threads know of them, and the one that reports.
//!
//! ```text
//! every thread                       shared by the threads of a process          the thread that reports
//! ------------                       ----------------------------------          -----------------------
//! counts what is asked for ── tick ─> asked ──────────────────── tick ─> Report ──> service
//! knows the items        <── tick ── pulse, table <────────────────────── Reply <──
//! takes units            <─ request ─ a meter for each item <── shares ──'
//! ```
//!
//! One thread of a process reports: it says so in the pulse, and if it has not for a while, another takes
//! over, and goes on from the table. All values are under a prefix that has the name of the service's
//! cluster in it, so that all filters of a process that report to the same service are one edge.
//!
//! Failure mode, of each step: this thread knows nothing new. When no report is answered any more, shares
//! lapse, and what counts is the safe share.

mod asked;
mod leader;
mod pulse;
mod view;

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Heavy, Reply, Report, Table};
use cartgate_policy::heavy::Sketch;

use crate::count::{self, SharedStore, UpdateError};

use asked::Asked;
use leader::Leader;
use pulse::Pulse;

pub(crate) use view::{HotItem, View};

/// How often a thread ticks: how soon it hears of hot items what the service has told another. Each time
/// the thread that reports looks at all of them.
pub(crate) const TICK_MS: u32 = 100;

/// With every so many ticks a thread says which SKUs are asked for most that are no hot items: over a
/// shorter time there would be little to tell them by. The thread that reports says it with each report.
const HEAVY_TICKS: u32 = 2;

/// One worker thread's part.
pub(crate) struct Fleet<S> {
    store: S,
    keys: Keys,
    seed: [u8; 16],
    /// What tells this thread from others.
    me: u64,
    /// What tells this process from others: the name under which it reports.
    pub(crate) edge: u64,
    view: RefCell<View>,
    heavy: RefCell<Sketch>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    ticks: u32,
    leader: Option<Leader>,
}

/// How an edge stands with its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// The last report was answered.
    Fresh = 1,
    /// It was not; what the service has said before is still good.
    Stale = 2,
    /// That has lapsed as well: safe shares count.
    Lost = 3,
}

/// What a tick came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticked {
    /// Shares have changed: what this thread knows of denials is out of date.
    pub(crate) have_shares_changed: bool,
    /// A report to send.
    pub(crate) report: Option<Report>,
    /// How the edge stands with its service, and how many hot items it knows, if this is the thread that
    /// reports.
    pub(crate) contact: Option<(Contact, usize)>,
}

/// Where shared values are.
#[derive(Debug)]
pub(crate) struct Keys {
    pulse: Vec<u8>,
    table: Vec<u8>,
    asked: Vec<u8>,
    edge: Vec<u8>,
    meters: Vec<u8>,
}

impl Keys {
    /// Those for filters that report to this cluster.
    fn new(cluster: &str) -> Self {
        // The number is that of the values' layout, as in `counter`: all have one, so that a filter whose
        // layout is another is another edge.
        let key = |name: &str| [b"cartgate/2/", name.as_bytes(), b"/", cluster.as_bytes()].concat();
        Self {
            pulse: key("pulse"),
            table: key("table"),
            asked: key("asked"),
            edge: key("edge"),
            meters: key("meter"),
        }
    }

    /// Where the meter with this place is.
    pub(crate) fn meter(&self, place: u16) -> Vec<u8> {
        [&self.meters[..], b"/", &place.to_le_bytes()].concat()
    }
}

impl<S: SharedStore> Fleet<S> {
    /// A thread of an edge that reports to this cluster. The `seed` is that of the slots. `me` and `edge` are
    /// random, and all threads take the `edge` of the first.
    ///
    /// # Errors
    /// Failure mode: the filter does not start.
    pub(crate) fn new(
        store: S,
        cluster: &str,
        seed: [u8; 16],
        (me, edge): (u64, u64),
    ) -> Result<Self, UpdateError<S::Error>> {
        let keys = Keys::new(cluster);
        let edge = count::get_or_create(&store, &keys.edge, &edge.to_le_bytes())?;
        // What is something else counts as a number, too: it is the same for all threads.
        let edge = edge.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
        let (view, heavy, state) = Default::default();
        Ok(Self { store, keys, seed, me, edge, view, heavy, state })
    }

    /// What this thread knows of hot items.
    pub(crate) fn view(&self) -> Ref<'_, View> {
        self.view.borrow()
    }

    /// Where shared values are.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Counts units asked for of a SKU that is no hot item.
    pub(crate) fn ask_other(&self, sku: &Sku, units: u32) {
        self.heavy.borrow_mut().add(sku, units.into());
    }

    /// Brings this thread up to date, and says what is to be done.
    ///
    /// # Errors
    /// Failure mode: as the module says.
    pub(crate) fn tick(&self) -> Result<Ticked, UpdateError<S::Error>> {
        let now_ns = self.store.now_ns().map_err(UpdateError::Store)?;
        let pulse = self.pulse()?;
        let have_shares_changed = self.catch_up(pulse)?;
        let mut mine = self.take_mine();
        let mut ticked = Ticked { have_shares_changed, ..Ticked::default() };
        let mut state = self.state.borrow_mut();
        // Most threads need not look a second time.
        let before = if pulse.is_anothers(self.me, now_ns) { None } else { self.lead(now_ns)? };
        let Some(before) = before else {
            state.leader = None;
            state.ticks = state.ticks.wrapping_add(1);
            if state.ticks.is_multiple_of(HEAVY_TICKS) {
                mine.heavy = self.take_heavy();
            }
            self.hand_over(&mine)?;
            return Ok(ticked);
        };
        // Whoever has been away goes on from what others have left, as anybody would.
        if before.leader != self.me || state.leader.is_none() {
            state.leader = Some(Leader::new(self.table()?, before, now_ns));
        }
        if let Some(leader) = &mut state.leader {
            mine.add(&self.take_asked()?);
            leader.ask(mine, now_ns);
            ticked.report = leader.report(|| self.take_heavy(), now_ns);
            ticked.contact = Some(leader.contact(now_ns));
            if ticked.report.is_some() {
                let number = leader.number();
                if !self.change_pulse(|pulse| Pulse { number, ..pulse })? {
                    (state.leader, ticked.report) = (None, None);
                }
            }
        }
        Ok(ticked)
    }

    /// Goes on from what is shared, as a thread that takes over does: a step in between has failed.
    pub(crate) fn start_over(&self) {
        self.state.borrow_mut().leader = None;
    }

    /// Notes which call a report was sent with; `None`: it could not be sent. `jitter` is any random number.
    pub(crate) fn sent(&self, call: Option<u32>, jitter: u64) {
        if let (Some(leader), Ok(now_ns)) =
            (&mut self.state.borrow_mut().leader, self.store.now_ns())
        {
            leader.sent(call, jitter, now_ns);
        }
    }

    /// Takes what came of a call; `None`: nothing that can be used.
    ///
    /// # Errors
    /// Failure mode: as the module says.
    pub(crate) fn answered(
        &self,
        call: u32,
        reply: Option<Reply>,
        jitter: u64,
    ) -> Result<(), UpdateError<S::Error>> {
        let now_ns = self.store.now_ns().map_err(UpdateError::Store)?;
        // Another thread may have taken over: then it is told on its own. Otherwise none does while this is
        // written down.
        let Some(pulse) = self.lead(now_ns)?.filter(|before| before.leader == self.me) else {
            self.start_over();
            return Ok(());
        };
        let answered = match &mut self.state.borrow_mut().leader {
            Some(leader) => leader.answered(call, reply, (&self.seed, jitter), now_ns),
            None => None,
        };
        let Some(answered) = answered else { return Ok(()) };
        answered.write(&self.store, &self.keys, pulse, now_ns)?;
        if !self.change_pulse(|pulse| answered.pulse(pulse))? {
            self.start_over();
        }
        // This thread hears of it with its next tick, as all others do.
        Ok(())
    }

    fn pulse(&self) -> Result<Pulse, UpdateError<S::Error>> {
        let stored = self.store.get(&self.keys.pulse).map_err(UpdateError::Store)?;
        Ok(stored.and_then(|(bytes, _)| Pulse::from_bytes(&bytes)).unwrap_or_default())
    }

    /// Changes the pulse, if this is the thread that reports.
    fn change_pulse(&self, change: impl Fn(Pulse) -> Pulse) -> Result<bool, UpdateError<S::Error>> {
        count::update(&self.store, &self.keys.pulse, |stored, _| {
            let pulse = stored.and_then(Pulse::from_bytes).unwrap_or_default();
            let leads = pulse.leader == self.me;
            Ok((leads, leads.then(|| change(pulse).to_bytes())))
        })
    }

    /// `None`: there is something that is no table.
    fn table(&self) -> Result<Option<Table>, UpdateError<S::Error>> {
        let stored = self.store.get(&self.keys.table).map_err(UpdateError::Store)?;
        let read = |(bytes, _): (Vec<u8>, u32)| postcard::from_bytes(&bytes).ok();
        Ok(stored.map_or_else(|| Some(Table::default()), read))
    }

    /// Reads what has changed since the last time. Says whether shares have. What cannot be read is read
    /// again with each tick, and whoever reports begins anew.
    fn catch_up(&self, pulse: Pulse) -> Result<bool, UpdateError<S::Error>> {
        let mut view = self.view.borrow_mut();
        (view.contact_until_ns, view.service_ahead_ms) =
            (pulse.contact_until_ns, pulse.service_ahead_ms);
        if view.table != pulse.table {
            if let Some(table) = self.table()? {
                view.read(table);
                view.table = pulse.table;
            } else {
                self.state.borrow_mut().leader = None;
            }
        }
        let have_shares_changed = view.shares != pulse.shares;
        view.shares = pulse.shares;
        Ok(have_shares_changed)
    }

    /// Takes out what this thread was asked for of hot items.
    fn take_mine(&self) -> Asked {
        Asked { items: self.view.borrow().take_asked(), ..Asked::default() }
    }

    /// Takes out what this thread was asked for most of the rest.
    fn take_heavy(&self) -> BTreeMap<Sku, u64> {
        let heavy = self.heavy.borrow_mut().take();
        heavy.into_iter().map(|Heavy { sku, units }| (sku, units)).collect()
    }

    /// Hands what this thread was asked for to the one that reports.
    fn hand_over(&self, mine: &Asked) -> Result<(), UpdateError<S::Error>> {
        if mine.is_empty() {
            return Ok(());
        }
        count::update(&self.store, &self.keys.asked, |stored, _| {
            let mut all = stored.map(Asked::from_bytes).unwrap_or_default();
            all.add(mine);
            Ok(((), Some(all.to_bytes())))
        })
    }

    fn take_asked(&self) -> Result<Asked, UpdateError<S::Error>> {
        count::update(&self.store, &self.keys.asked, |stored, _| {
            let all = stored.filter(|bytes| !bytes.is_empty());
            Ok((all.map(Asked::from_bytes).unwrap_or_default(), all.map(|_| Vec::new())))
        })
    }

    /// Says that this is the thread that reports, if it is, or becomes it, since no other gives a sign. Gives
    /// what the pulse was before.
    fn lead(&self, now_ns: u64) -> Result<Option<Pulse>, UpdateError<S::Error>> {
        count::update(&self.store, &self.keys.pulse, |stored, _| {
            let before = stored.and_then(Pulse::from_bytes).unwrap_or_default();
            if before.is_anothers(self.me, now_ns) {
                return Ok((None, None));
            }
            let leading = Pulse { leader: self.me, beat_ns: now_ns, ..before };
            Ok((Some(before), Some(leading.to_bytes())))
        })
    }
}

#[cfg(test)]
mod tests;
