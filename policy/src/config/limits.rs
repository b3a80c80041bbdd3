//! Limits: of SKUs, and of clients.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::numbers::SetsCount;
use crate::Sku;
use crate::client::ClientSource;
use crate::gcra::{Limit, Units};
use crate::object::{Object, object};

/// A limit, and whether it is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Admitted units per second, in the long run: 1 to 1000000.
    per_second: Units,
    /// Admitted units at once, after a pause: 1 to 1000000.
    burst: Units,
    /// Whether what it does not admit passes all the same: it is counted and logged.
    #[serde(default)]
    shadow: bool,
}

impl Rule {
    /// The limit.
    pub fn limit(self) -> Limit {
        Limit::of(self.per_second, self.burst)
    }

    /// Whether what it does not admit passes all the same.
    pub fn is_shadow(self) -> bool {
        self.shadow
    }
}

/// What each client may take of each SKU, as far as one source can tell clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientLimit {
    /// What tells one client from another.
    client: ClientSource,
    /// What each of them may take of each SKU.
    #[serde(deserialize_with = "object")]
    limit: Rule,
    /// The table for what they owe.
    #[serde(default, deserialize_with = "object")]
    slots: Slots,
}

impl ClientLimit {
    /// What tells one client from another.
    pub fn client(&self) -> &ClientSource {
        &self.client
    }

    /// What each of them may take of each SKU.
    pub fn rule(&self) -> Rule {
        self.limit
    }

    /// How many sets of slots they share.
    pub fn slot_sets_count(&self) -> u32 {
        self.slots.sets_count.0
    }
}

/// The size of a slot table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Slots {
    /// The number of sets, each for eight who owe something at the same time: 1 to 65536. A
    /// set takes up to 172 bytes, with its key and place about 280, in Envoy's memory and for good.
    /// Changing the number makes most of them start afresh.
    #[serde(default)]
    pub(super) sets_count: SetsCount,
}

/// Reads `limits`, in which a SKU must not be listed twice in two spellings: the maps of serde
/// would keep the last.
pub(super) fn limits<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Sku, Rule>, D::Error> {
    struct Rules;

    impl<'de> Visitor<'de> for Rules {
        type Value = BTreeMap<Sku, Rule>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from SKU to limit")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut limits = BTreeMap::new();
            while let Some((raw, Object(limit))) = entries.next_entry::<String, Object<Rule>>()? {
                let sku = Sku::parse(&raw).map_err(|error| {
                    <A::Error as de::Error>::custom(format_args!("{raw:?}: {error}"))
                })?;
                match limits.entry(sku) {
                    Entry::Vacant(place) => place.insert(limit),
                    Entry::Occupied(place) => {
                        let sku = place.key();
                        let reason = format_args!("{sku} is there twice: leave one out");
                        return Err(<A::Error as de::Error>::custom(reason));
                    }
                };
            }
            Ok(limits)
        }
    }

    deserializer.deserialize_map(Rules)
}
