//! The verdict on a request: whether its SKUs are for sale, and whether all limits admit it.

use cartgate_policy::Sku;
use cartgate_policy::client::Client;
use cartgate_policy::config::Rule;
use cartgate_policy::extract::Line;
use cartgate_policy::fleet::Gate;
use cartgate_policy::gcra::{Decision, Limit};

use crate::count::SharedStore as _;
use crate::counter::{Charge, Subject};
use crate::edge::{Edge, EdgeError};
use crate::fleet::{Fleet, HotItem, View};
use crate::host::SharedData;

/// What a request's limits say.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Why it is not admitted, and the number of the line that is not, if it is not.
    pub(crate) refused: Option<(usize, Refused)>,
    /// What would have refused it, but for being in shadow.
    pub(crate) would_be: Vec<Refused>,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// Its SKU cannot be asked for now: never that it is open.
    ByGate(Gate),
    /// A limit does not admit it.
    ByLimit {
        /// Never that it is admitted.
        decision: Decision,
        /// The limit.
        limit: Limit,
        /// Whether it is one per client.
        is_per_client: bool,
    },
}

/// A line of a request, and its SKU in the registry, if it is there.
struct Asked<'a> {
    line: &'a Line,
    item: Option<&'a HotItem>,
}

impl Edge {
    /// Whether a request may have what it asks for: whether its SKUs are for sale, by their limits, and by its
    /// clients'. If one line may not, none may. Whoever asks with a key may be repeating a call whose answer
    /// was lost: of what is sold out it may have some.
    ///
    /// # Errors
    /// Failure mode: the route's, for `uncounted`. Without the stored state nobody knows what is admitted
    /// already.
    pub(crate) fn admit(
        &self,
        lines: &[Line],
        clients: &[Client],
        has_key: bool,
    ) -> Result<Verdict, EdgeError> {
        let view = self.fleet.as_ref().map(Fleet::view);
        let view = view.as_deref();
        let asked = |line| Asked { line, item: view.and_then(|view| view.item(&line.sku)) };
        let asked: Vec<_> = lines.iter().map(asked).collect();
        asked.iter().for_each(|asked| self.note_demand(view, asked));
        for (n, asked) in asked.iter().enumerate() {
            let gate = gate(view, asked.item)?;
            if gate != Gate::Open && !(has_key && matches!(gate, Gate::SoldOut { .. })) {
                return Ok(Verdict {
                    refused: Some((n, Refused::ByGate(gate))),
                    would_be: Vec::new(),
                });
            }
        }
        self.charge(view, &asked, clients)
    }

    fn note_demand(&self, view: Option<&View>, asked: &Asked<'_>) {
        let Asked { line, item } = asked;
        match (view, item, &self.fleet) {
            (Some(view), Some(item), _) => view.ask(item, line.quantity.get()),
            (_, _, Some(fleet)) => fleet.ask_other(&line.sku, line.quantity.get()),
            _ => {}
        }
    }

    /// Charges a request to its SKUs' limits and to its clients', and counts what came of it.
    fn charge(
        &self,
        view: Option<&View>,
        asked: &[Asked<'_>],
        clients: &[Client],
    ) -> Result<Verdict, EdgeError> {
        let charges: Vec<_> =
            asked.iter().flat_map(|asked| self.charges(view, asked, clients)).collect();
        let verdict = self.counter.charge(&charges)?;
        if verdict.overflowed {
            self.metrics.count_overflow();
        }
        let by =
            |(n, decision): (usize, Decision)| Some(refused_by(charges.get(n)?, decision, asked));
        let would_be = verdict.would_be.into_iter().filter_map(by).map(|(_, refused)| refused);
        let would_be = would_be.collect();
        // Each has a charge. If it had none, nobody would be admitted for that.
        let refused = verdict.refused.map(|refused| by(refused).ok_or(EdgeError::Contended));
        Ok(Verdict { refused: refused.transpose()?, would_be })
    }

    /// What a line is charged to: its SKU's limit first, which most are refused by.
    fn charges<'a>(
        &'a self,
        view: Option<&View>,
        asked: &Asked<'a>,
        clients: &[Client],
    ) -> impl Iterator<Item = Charge<'a>> {
        let Asked { line, item } = *asked;
        let (sku, cost) = (&line.sku, line.quantity);
        let share = self.share(sku, view.zip(item));
        let (subject, limit, is_shadow) = share.unwrap_or_else(|| self.own_limit(sku));
        let of_sku = Charge { subject, limit, cost, is_shadow };
        let of_item = item.and_then(|item| item.item.client_limit);
        let limits = self.config.client_limits().iter().zip(clients);
        let of_clients = limits.map(move |(limit, client)| {
            let (source, client, sets_count) = (limit.client(), *client, limit.slot_sets_count());
            let subject = Subject::Client { sku, client, source, sets_count };
            let (rule, limit) = (limit.rule(), of_item.unwrap_or(limit.rule().limit()));
            Charge { subject, limit, cost, is_shadow: of_item.is_none() && rule.is_shadow() }
        });
        std::iter::once(of_sku).chain(of_clients)
    }

    /// The share of a fleet-wide limit, if there is one. It is the registry's, and never in shadow.
    fn share<'a>(
        &'a self,
        sku: &'a Sku,
        item: Option<(&View, &'a HotItem)>,
    ) -> Option<(Subject<'a>, Limit, bool)> {
        let ((view, item), fleet) = (item?, self.fleet.as_ref()?);
        let (keys, contact_until_ns) = (fleet.keys(), view.contact_until_ns);
        Some((Subject::Hot { sku, item, keys, contact_until_ns }, item.item.limit?, false))
    }

    /// The limit by this edge's configuration.
    fn own_limit<'a>(&'a self, sku: &'a Sku) -> (Subject<'a>, Limit, bool) {
        let (others, sets_count) = (self.config.default_limit(), self.config.slot_sets_count());
        let (subject, rule): (_, Rule) = match self.config.limit_of(sku) {
            Some(rule) => (Subject::Listed { sku, others: others.limit(), sets_count }, rule),
            None => (Subject::Sku { sku, sets_count }, others),
        };
        (subject, rule.limit(), rule.is_shadow())
    }
}

/// Which line a limit has refused, and how.
fn refused_by(charge: &Charge<'_>, decision: Decision, asked: &[Asked<'_>]) -> (usize, Refused) {
    let sku = charge.subject.sku();
    let line = asked.iter().position(|asked| asked.line.sku == *sku).unwrap_or_default();
    let is_per_client = matches!(charge.subject, Subject::Client { .. });
    (line, Refused::ByLimit { decision, limit: charge.limit, is_per_client })
}

/// Whether an item can be asked for now.
fn gate(view: Option<&View>, item: Option<&HotItem>) -> Result<Gate, EdgeError> {
    match (view, item) {
        (Some(view), Some(item)) if !item.item.is_always_open() => {
            let now_ns = SharedData.now_ns()?;
            Ok(item.item.gate(view.service_ms(now_ns)))
        }
        _ => Ok(Gate::Open),
    }
}
