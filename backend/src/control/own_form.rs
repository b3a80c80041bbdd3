//! Whether edges give SKUs the form that the service does. If not, what the one limits is not what the other
//! sells.

use std::sync::atomic::{AtomicU64, Ordering};

use cartgate_policy::SkuForm;
use cartgate_policy::fleet::Report;

/// How often it is said of many edges whose form is another: they report several times a second.
const TELL_EVERY_MS: u64 = 60_000;

/// The form that the service gives SKUs.
pub(super) struct OwnForm {
    fingerprint: u64,
    /// When it may be said again that an edge has another.
    tell_ms: AtomicU64,
}

impl OwnForm {
    pub(super) fn new(form: &SkuForm) -> Self {
        Self { fingerprint: form.fingerprint(), tell_ms: AtomicU64::new(0) }
    }

    /// Whether an edge has another, which is also said from time to time. An edge that does not tell is taken to
    /// know what it does.
    pub(super) fn is_another(&self, edge: u64, report: &Report, now_ms: u64) -> bool {
        let is_another = report.sku_form.is_some_and(|form| form != self.fingerprint);
        if is_another && self.may_tell(now_ms) {
            tracing::warn!(
                edge = format!("{edge:016x}"),
                "an edge gives SKUs another form than this service: what it limits is not what is sold; \
                 give the filter's `sku` and the service's `[sku]` the same values",
            );
        }
        is_another
    }

    fn may_tell(&self, now_ms: u64) -> bool {
        let until_ms = now_ms.saturating_add(TELL_EVERY_MS);
        let tell = |tell_ms: u64| (tell_ms <= now_ms).then_some(until_ms);
        self.tell_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tell).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use cartgate_policy::fleet::Reporter;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_an_edge_says_is_held_against_it() {
        let form = |case| serde_json::from_value::<SkuForm>(json!({"case": case})).unwrap();
        let own = OwnForm::new(&form("upper"));
        let report = Reporter::default().report(Vec::new(), 0, 0);
        let says = |form: Option<&SkuForm>| {
            let sku_form = form.map(SkuForm::fingerprint);
            own.is_another(1, &Report { sku_form, ..report.clone() }, 0)
        };
        assert!(!says(None) && !says(Some(&form("upper"))) && says(Some(&form("lower"))));
    }

    #[test]
    fn it_is_said_once_a_minute() {
        let own = OwnForm::new(&SkuForm::default());
        let told = [0, 1, 59_999, 60_000, 60_001].map(|now_ms| own.may_tell(now_ms));
        assert_eq!(told, [true, false, false, true, false]);
    }
}
