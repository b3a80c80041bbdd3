//! What histories have come across: a simulation that stops meeting something tests it no more.

use std::collections::BTreeMap;
use std::fmt;

/// How often things happened, by kind and name.
#[derive(Clone, Default)]
pub(super) struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

impl Coverage {
    pub(super) fn count(&mut self, kind: &'static str, name: &'static str) {
        *self.0.entry((kind, name)).or_default() += 1;
    }

    pub(super) fn count_if(&mut self, happened: bool, kind: &'static str, name: &'static str) {
        if happened {
            self.count(kind, name);
        }
    }

    /// Adds what other histories have met.
    pub(super) fn add(&mut self, other: Self) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// What should have happened, and never did.
    pub(super) fn missing(
        &self,
        expected: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, &'static str)> {
        let names = |(kind, names): &(&'static str, &'static str)| {
            let kind = *kind;
            names.split("; ").map(move |name| (kind, name))
        };
        expected.iter().flat_map(names).filter(|name| !self.0.contains_key(name)).collect()
    }
}

/// What happens in any thousand histories, by kind: else the simulation has gone blind.
pub(super) const EXPECTED: [(&str, &str); 23] = [
    (
        "op",
        "set; adjust; reserve; reserve with another fingerprint; lose a request; confirm; \
         confirm some; confirm or reacquire; release; extend; claim; cancel; hear; \
         lose a response; hear all; hang up; end a wait; advance time; \
         advance to the next due hold; step the clock back; promote; demote; turn; \
         fail the next commit; crash between turns; stop in order",
    ),
    (
        "reserve",
        "held; sold-out; over-cap; customer-required; not-open-yet; closed; abandoned; \
         unknown-sku; key-reused; ticket; stopped",
    ),
    ("confirm", "settled; already-expired; already-released; more-than-held; unknown-hold"),
    ("release", "settled; already-confirmed; already-expired; unknown-hold"),
    ("extend", "settled; already-confirmed; already-expired; unknown-hold"),
    ("claim", "settled; unknown-hold"),
    ("cancel", "settled; unknown-hold"),
    ("set", "stock; below-committed; version-differs"),
    ("adjust", "adjusted; below-committed; unknown-sku"),
    ("request", "joined one that waits; key reused while it waits; full; full for settling"),
    ("request", "too many holds; stopped"),
    ("hung up", "before the turn; between the commit and the answer"),
    ("hung up", "while a ticket is asked for, or given"),
    ("hung up", "between the commit and the answer, with a ticket asked for"),
    ("hung up", "a claim, before its turn; a claim, between the commit and the answer"),
    ("journal", "set; adjust; reserve; confirm; release; expire; cancel"),
    ("commit", "a ticket is decided; an end is superseded"),
    ("forgotten", "refusal; hold; adjustment"),
    ("hot item", "too many"),
    ("turn", "joining; open; leaving; parking; a reservation is deferred"),
    ("failed", "before; after"),
    ("restart", "with tickets; joining; open; leaving; parking"),
    (
        "judged",
        "a repeat of what was told; an end at the promised time; a sale under a cap; \
         a sale in its window; a hold sold late; a hang-up's hold given back; \
         settled in time though judged late; a ticket refused for the sale's terms",
    ),
];

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.0.iter();
        counts.try_for_each(|((kind, name), count)| writeln!(f, "{count:>12}  {kind}: {name}"))
    }
}
