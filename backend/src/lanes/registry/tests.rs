use std::num::NonZeroU32;

use super::*;
use crate::hot_items::{HISTORY_MAX, Origin, Reason};
use crate::store::Commit;
use crate::store::memory::Memory;

/// A registry on a store, in which a turn passes with each change unless the test says otherwise.
struct Rig {
    store: Memory,
    registry: Registry,
    now: u64,
}

impl Rig {
    fn new(former_max: usize) -> Self {
        let registry = Registry::restore(&Loaded::default(), former_max);
        Self { store: Memory::new(1), registry, now: 1_000 }
    }

    fn ask(&mut self, name: &str, item: Option<HotItem>, note: Note) -> Verdict {
        self.now += 1;
        let wanted = Wanted { sku: sku(name), item, note };
        self.registry.change(&self.store, wanted, UnixMs(self.now), Ok(())).unwrap()
    }

    fn turn(&mut self) {
        let RegistryChanges { items, histories } = self.registry.take_changes();
        let (hot_items, hot_item_histories) =
            (items.into_iter().collect(), histories.into_iter().collect());
        let commit = Commit { hot_items, hot_item_histories, ..Commit::default() };
        self.store.commit(&commit).unwrap();
    }

    fn change(&mut self, name: &str, item: Option<HotItem>, note: Note) -> Changed {
        let changed = self.ask(name, item, note).unwrap();
        self.turn();
        changed
    }

    fn restart(&mut self, former_max: usize) {
        self.registry = Registry::restore(&self.store.load().unwrap(), former_max);
    }

    /// A SKU's versions and what was done, the latest first.
    fn history(&self, name: &str) -> Vec<(u64, ChangeKind)> {
        let history = self.store.hot_item_history(&sku(name)).unwrap();
        history.newest_first().map(|entry| (entry.version, entry.kind)).collect()
    }
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn item(reserves_per_s: u32) -> Option<HotItem> {
    let reserves_per_s = NonZeroU32::new(reserves_per_s);
    Some(HotItem { reserves_per_s, ..HotItem::default() })
}

fn note() -> Note {
    Note::default()
}

fn expecting(version: u64) -> Note {
    Note { expected_version: Some(version), ..Note::default() }
}

#[test]
fn each_change_has_a_version_of_its_own() {
    use ChangeKind::{Changed, Expired, Registered, Removed};
    let mut rig = Rig::new(9);
    let expired = || Note { has_expired: true, ..Note::default() };
    assert_eq!(rig.change("A", item(1), note()).item.unwrap().version, 1);
    assert_eq!(rig.change("A", item(2), note()).item.unwrap().version, 2);
    assert_eq!(rig.change("A", None, note()).kind, Some(Removed));
    rig.restart(9);
    let again = rig.change("A", item(2), note()).item.unwrap();
    assert_eq!((again.version, again.since, again.changed_at), (4, UnixMs(1_004), UnixMs(1_004)));
    assert_eq!(rig.change("A", None, expired()).kind, Some(Expired));
    let all = [(5, Expired), (4, Registered), (3, Removed), (2, Changed), (1, Registered)];
    assert_eq!(rig.history("A"), all);
    assert_eq!(rig.history("B"), []);
}

#[test]
fn what_is_so_already_changes_nothing() {
    let mut rig = Rig::new(9);
    let first = rig.change("A", item(1), note()).item;
    let reason = Reason::new("again").ok();
    let again = rig.change("A", item(1), Note { reason, ..note() });
    assert_eq!(again, Changed { kind: None, item: first });
    assert_eq!(rig.change("B", None, note()), Changed { kind: None, item: None });
    assert_eq!(rig.registry.take_changes(), RegistryChanges::default());
    // It is another's from now on.
    let detected = Note { origin: Origin::Detected, ..note() };
    assert_eq!(rig.change("A", item(1), detected).kind, Some(ChangeKind::Changed));
    assert_eq!(rig.history("A").len(), 2);
}

#[test]
fn an_entry_that_is_not_the_expected_one_stays() {
    let mut rig = Rig::new(9);
    let changed_since = |version| Err(EnqueueError::HotItemChanged { version });
    assert_eq!(rig.ask("A", item(1), expecting(1)), changed_since(None));
    rig.change("A", item(1), note());
    rig.change("A", item(2), expecting(1));
    assert_eq!(rig.ask("A", item(3), expecting(1)), changed_since(Some(2)));
    assert_eq!(rig.ask("A", None, expecting(3)), changed_since(Some(2)));
    // Also if it is what was asked for.
    assert_eq!(rig.ask("A", item(2), expecting(1)), changed_since(Some(2)));
    assert_eq!(rig.change("A", None, expecting(2)).kind, Some(ChangeKind::Removed));
    assert_eq!(rig.ask("A", None, expecting(3)), changed_since(None));
    // Nor does one that nobody was to have registered meanwhile.
    assert_eq!(rig.change("A", item(1), expecting(0)).kind, Some(ChangeKind::Registered));
    assert_eq!(rig.ask("A", item(2), expecting(0)), changed_since(Some(4)));
    assert_eq!(rig.history("A").len(), 4);
}

#[test]
fn changes_of_one_turn_are_all_in_the_history() {
    let mut rig = Rig::new(9);
    for reserves_per_s in 1..=3 {
        rig.ask("A", item(reserves_per_s), note()).unwrap();
    }
    let of_first = rig.ask("A", item(9), expecting(1));
    assert_eq!(of_first, Err(EnqueueError::HotItemChanged { version: Some(3) }));
    rig.turn();
    let versions: Vec<_> = rig.history("A").into_iter().map(|(version, _)| version).collect();
    assert_eq!(versions, [3, 2, 1]);
    assert_eq!(rig.store.load().unwrap().hot_items[0].1.version, 3);
}

#[test]
fn a_registry_that_is_full_takes_no_more_but_changes_what_it_has() {
    let mut rig = Rig::new(9);
    rig.change("A", item(1), note());
    let full = EnqueueError::TooManyHotItems { max: 1 };
    let mut ask = |name: &str, item: Option<HotItem>| {
        let wanted = Wanted { sku: sku(name), item, note: note() };
        rig.registry.change(&rig.store, wanted, UnixMs(1), Err(full)).unwrap()
    };
    assert_eq!(ask("B", item(1)), Err(full));
    assert_eq!(ask("B", None), Ok(Changed { kind: None, item: None }));
    assert_eq!(ask("A", item(2)).unwrap().kind, Some(ChangeKind::Changed));
    assert_eq!(ask("A", None).unwrap().kind, Some(ChangeKind::Removed));
}

#[test]
fn a_history_has_the_last_changes_of_a_sku() {
    let mut rig = Rig::new(9);
    (1..=HISTORY_MAX as u32 + 5).for_each(|number| _ = rig.change("A", item(number), note()));
    let history = rig.history("A");
    assert_eq!((history.len(), history[0].0, history[HISTORY_MAX - 1].0), (HISTORY_MAX, 105, 6));
}

/// Of SKUs that are hot items no more, those keep their histories that were some last.
#[test]
fn the_oldest_history_of_what_is_no_hot_item_goes() {
    let mut rig = Rig::new(2);
    rig.change("STAYS", item(1), note());
    for name in ["A", "B"] {
        rig.change(name, item(1), note());
        rig.change(name, None, note());
    }
    // A is one again, and later than B one no more.
    rig.change("A", item(1), note());
    rig.change("A", None, note());
    rig.restart(2);
    rig.change("C", item(1), note());
    assert_eq!([rig.history("A").len(), rig.history("B").len()], [4, 2]);
    rig.change("C", None, note());
    let left = ["A", "B", "C", "STAYS"].map(|name| rig.history(name).len());
    assert_eq!(left, [4, 0, 2, 1]);
    // Nothing is known of it any more: its versions begin again.
    assert_eq!(rig.change("B", item(1), note()).item.unwrap().version, 1);
}
