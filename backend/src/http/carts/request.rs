//! What a cart is asked for with.

use cartgate_ledger::Reserve;
use cartgate_policy::document::Document;
use cartgate_policy::extract::line_of;
use cartgate_policy::{Quantity, Sku, SkuForm};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::App;
use super::super::extract::{check_members, check_name, from_json};
use super::super::openapi::schemas::CartLine;
use super::super::refused::Refused;
use super::Line;
use crate::command_id::cart_fingerprint;

/// The most lines of a cart.
const LINES_MAX: usize = 50;

/// Products that are to be held together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CartRequest, examples(json!({
    "customer_id": "ann", "lines": [{"sku": "EXAMPLE-TEE-M", "quantity": 1}],
})))]
pub(in crate::http) struct CartBody {
    /// Who the customer is: the same for the same person. Products with a cap need it.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    customer_id: Option<Box<str>>,
    /// What is to be held.
    #[schema(value_type = Vec<CartLine>, min_items = 1, max_items = 50)]
    lines: Vec<Value>,
}

/// What a cart is asked for with: each SKU once.
pub(super) struct CartRequest {
    customer_id: Option<Box<str>>,
    lines: Vec<Wish>,
}

struct Wish {
    /// Where the SKU is first named.
    index: usize,
    sku: Sku,
    quantity: Quantity,
}

impl CartRequest {
    pub(super) fn read(document: Document, form: &SkuForm) -> Result<Self, Refused> {
        let CartBody { customer_id, lines } = from_json(document)?;
        customer_id.as_deref().map(|name| check_name("customer_id", name)).transpose()?;
        if !(1..=LINES_MAX).contains(&lines.len()) {
            return Err(Refused::invalid(format_args!("a cart has 1 to {LINES_MAX} lines")));
        }
        let mut cart = Self { customer_id, lines: Vec::new() };
        for (index, line) in lines.into_iter().enumerate() {
            cart.add(index, line, form).map_err(|refused| refused.with("line", index))?;
        }
        Ok(cart)
    }

    /// Adds a line; the units of one SKU are summed.
    fn add(&mut self, index: usize, line: Value, form: &SkuForm) -> Result<(), Refused> {
        check_members(&line, &["sku", "quantity"])?;
        let line = line_of(&Document::Json(line), form)?;
        match self.lines.iter_mut().find(|wish| wish.sku == line.sku) {
            Some(wish) => {
                let sum = u64::from(wish.quantity.get()) + u64::from(line.quantity.get());
                wish.quantity = Quantity::new(sum).map_err(Refused::invalid)?;
            }
            None => self.lines.push(Wish { index, sku: line.sku, quantity: line.quantity }),
        }
        Ok(())
    }

    /// The lines as commands, under ids that `key` gives them.
    pub(super) fn lines(self, app: &App, key: &str) -> Vec<Line> {
        let Self { customer_id, lines } = self;
        let stored = customer_id.map(|id| app.customers.stored(&id));
        let customer = stored.as_deref();
        let wishes = lines.iter().map(|wish| (&wish.sku, wish.quantity));
        let (fingerprint, claim_by) = (cart_fingerprint(customer, wishes), app.claim_by());
        let line = |Wish { index, sku, quantity }| Line {
            index,
            reserve: Reserve {
                id: app.ids.cart_line(&sku, customer, key),
                fingerprint,
                repeatable: true,
                customer: stored.clone(),
                quantity: quantity.into(),
                hold_ms: app.hold_ms,
                claim_by,
                attempt: 1,
                is_tentative: true,
            },
            sku,
            reservation: None,
            may_be_claimed: false,
        };
        lines.into_iter().map(line).collect()
    }
}
