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

    /// Those of `names` that never happened.
    pub(super) fn missing(
        &self,
        names: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, &'static str)> {
        names.iter().filter(|name| !self.0.contains_key(name)).copied().collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.0.iter();
        counts.try_for_each(|((kind, name), count)| writeln!(f, "{count:>12}  {kind}: {name}"))
    }
}
