//! What traces tell of a turn.

use std::collections::BTreeMap;
use std::time::SystemTime;

use cartgate_policy::Sku;
use opentelemetry::KeyValue;

use super::queued::Queued;
use crate::hot_items::HotItem;
use crate::metrics::command_name;
use crate::store::tenure::Reached;
use crate::trace::Spans;

/// A turn whose commit is durable.
pub(super) struct Seen<'a> {
    /// When it had taken its commands.
    pub(super) began: SystemTime,
    /// What its commit has reached; `None`: there was nothing to write.
    pub(super) reached: Option<Reached>,
    /// The registry, which says whose lane a command was in.
    pub(super) hot_items: &'a BTreeMap<Sku, HotItem>,
    pub(super) bucket_of: &'a dyn Fn(&Sku) -> u16,
}

impl Seen<'_> {
    /// Records how long a command has waited, and how long it took to write what was decided together
    /// with it: so many commands.
    pub(super) fn record(
        &self,
        spans: &Spans,
        queued: &Queued,
        outcome: &'static str,
        count: usize,
    ) {
        let Some(sampled) = queued.trail.sampled() else { return };
        let sku = &queued.sku;
        let lane = if self.hot_items.contains_key(sku) { "hot" } else { "normal" };
        let waited = vec![
            KeyValue::new("cartgate.lane", lane),
            KeyValue::new("cartgate.bucket", i64::from((self.bucket_of)(sku))),
            KeyValue::new("cartgate.sku", sku.as_str().to_owned()),
            KeyValue::new("cartgate.command", command_name(&queued.command)),
            KeyValue::new("cartgate.outcome", outcome),
        ];
        spans.child(&sampled.parent, "lane", (sampled.since, self.began), waited);
        let Some(reached) = self.reached else { return };
        let written = vec![
            KeyValue::new("cartgate.batch_size", i64::try_from(count).unwrap_or(i64::MAX)),
            KeyValue::new("cartgate.durability", reached.to_string()),
        ];
        spans.child(&sampled.parent, "commit", (self.began, SystemTime::now()), written);
    }
}
