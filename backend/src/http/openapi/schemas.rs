//! What is read and written by hand, without a type that could say what it is.

#![allow(
    dead_code,
    reason = "these types are what a request would be read as, if it were not read by hand"
)]

use cartgate_ledger::{OnExpired, UNITS_MAX};
use cartgate_policy::Sku;
use serde::Deserialize;
use serde_json::json;
use utoipa::openapi::schema::{AnyOfBuilder, Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::http::hot_items::request::HotItemRequest;

/// An id, as an example.
pub(in crate::http) const ID_EXAMPLE: &str = "00000000000000010123456789abcdef";

/// What comes first of a ticket's course.
pub(in crate::http) const EVENTS_EXAMPLE: &str = "event: queued\n\
    data: {\"ticket\":\"00000000000000010123456789abcdef\",\"state\":\"queued\",\"claim_within_ms\":15000,\
    \"position\":512,\"estimated_wait_ms\":10240}\n\n";

/// Lines of stock.
pub(in crate::http) const NDJSON_EXAMPLE: &str =
    "{\"sku\":\"EXAMPLE-TEE-M\",\"quantity\":100}\n{\"sku\":\"EXAMPLE-TEE-L\",\"quantity\":80}\n";
pub(in crate::http) const CSV_EXAMPLE: &str = "sku,quantity\nEXAMPLE-TEE-M,100\nEXAMPLE-TEE-L,80\n";

/// What is said of them.
pub(in crate::http) const RESULTS_EXAMPLE: &str =
    "{\"done\":true,\"lines\":2,\"set\":2,\"unchanged\":0,\"refused\":0}\n";

/// Units of one product, for one customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReservationRequest, examples(json!({
    "sku": "EXAMPLE-TEE-M", "quantity": 1, "customer_id": "ann",
})))]
pub(in crate::http) struct ReservationJson {
    /// The product.
    #[schema(schema_with = sku_or_number)]
    sku: String,
    /// Units that are wanted.
    #[schema(schema_with = quantity, required = false)]
    quantity: u32,
    /// Who the customer is: the same for the same person. Products with a cap need it.
    #[schema(min_length = 1, max_length = 255)]
    customer_id: Option<String>,
}

/// The same as a form. Other fields are passed over, since pages post whatever is on them.
#[derive(ToSchema)]
#[schema(as = ReservationForm, examples(json!({
    "sku": "EXAMPLE-TEE-M", "quantity": 1, "customer_id": "ann",
})))]
pub(in crate::http) struct ReservationForm {
    /// The product.
    sku: Sku,
    /// Units that are wanted.
    #[schema(minimum = 1, maximum = 1_000_000, nullable = false)]
    quantity: Option<u32>,
    /// Who the customer is: the same for the same person. Empty: nobody is named.
    #[schema(nullable = false, max_length = 255)]
    customer_id: Option<String>,
}

/// A line of a cart.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct CartLine {
    /// The product.
    #[schema(schema_with = sku_or_number)]
    sku: String,
    /// Units that are wanted.
    #[schema(schema_with = quantity, required = false)]
    quantity: u32,
}

/// How a hold is to be confirmed, as a form. Other fields are passed over.
#[derive(ToSchema)]
#[schema(as = ConfirmForm, examples(json!({"quantity": 1})))]
pub(in crate::http) struct ConfirmForm {
    /// Units that are sold; the others go back. Left out: all.
    #[schema(nullable = false, minimum = 1, maximum = 1_000_000)]
    quantity: Option<u32>,
    /// What becomes of a confirmation that comes too late.
    #[schema(nullable = false)]
    on_expired: Option<OnExpired>,
}

/// A JSON merge patch (RFC 7396) of a hot item's terms.
pub(in crate::http) struct HotItemPatch;

impl PartialSchema for HotItemPatch {
    /// The members of a [`HotItemRequest`], each of which may be `null`.
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(request)) = HotItemRequest::schema() else {
            return Object::new().into();
        };
        let properties = request.properties.into_iter().map(|(name, property)| {
            let property = match property {
                RefOr::T(Schema::Object(one)) => or_null(one).into(),
                _ if name == "origin" => any_of_or_null(property),
                _ => any_of_or_null(limit_patch()),
            };
            (name, property)
        });
        let mut patch = Object::new();
        patch.description = Some("What is to be changed of a hot item's terms.".to_owned());
        patch.properties = properties.collect();
        patch.additional_properties = request.additional_properties;
        patch.examples = vec![json!({"reserves_per_s": 1_000, "reason": "more machines"})];
        patch.into()
    }
}

impl ToSchema for HotItemPatch {}

fn or_null(mut one: Object) -> Schema {
    one.schema_type = match one.schema_type {
        SchemaType::Type(kind) => SchemaType::from_iter([kind, Type::Null]),
        other => other,
    };
    one.default = None;
    one.into()
}

fn any_of_or_null(one: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOfBuilder::new().item(one).item(null).into()
}

fn limit_patch() -> ObjectBuilder {
    let units = || {
        let kinds = SchemaType::from_iter([Type::Integer, Type::Null]);
        let units = ObjectBuilder::new().schema_type(kinds);
        units.minimum(Some(1)).maximum(Some(1_000_000))
    };
    ObjectBuilder::new()
        .property("per_second", units())
        .property("burst", units())
        .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(false)))
}

/// A product, as the service writes it.
pub(in crate::http) fn sku() -> RefOr<Schema> {
    Ref::from_schema_name("Sku").into()
}

/// A product, as JSON may name it: a shop's own spelling is made the one that the service writes.
fn sku_or_number() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .description(Some("The product: a string, or a whole number."))
        .pattern(Some("^(?!\\.{1,2}$)[A-Za-z0-9._~:-]+$"))
        .min_length(Some(1))
        .max_length(Some(64))
        .minimum(Some(0))
        .maximum(Some(9_007_199_254_740_991_i64))
}

/// Units, as JSON may say them.
fn quantity() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String, Type::Null]))
        .description(Some("Units: a whole number, or its digits. Left out: one."))
        .minimum(Some(1))
        .maximum(Some(1_000_000))
        .pattern(Some("^[1-9][0-9]{0,5}$"))
}

/// A problem within an answer.
pub(in crate::http) fn problem() -> RefOr<Schema> {
    Ref::from_schema_name("Problem").into()
}

/// Units to add or to take off.
pub(in crate::http) fn units_but_none() -> AnyOfBuilder {
    let units = || ObjectBuilder::new().schema_type(Type::Integer);
    let most = i64::try_from(UNITS_MAX).unwrap_or(i64::MAX);
    AnyOfBuilder::new()
        .item(units().minimum(Some(1)).maximum(Some(most)))
        .item(units().minimum(Some(-most)).maximum(Some(-1)))
        .description(Some("Units to add; fewer than none to take off."))
}

pub(in crate::http) fn reservation_state() -> ObjectBuilder {
    let states = ["held", "confirmed", "released", "expired"];
    one_of(&states, "Where it stands: held, then exactly one of the others.")
}

pub(in crate::http) fn held() -> ObjectBuilder {
    one_of(&["held"], "That all of it is held.")
}

pub(in crate::http) fn queued() -> ObjectBuilder {
    one_of(&["queued"], "That it waits.")
}

pub(in crate::http) fn import_state() -> ObjectBuilder {
    let states = ["progress", "resumed"];
    one_of(&states, "How far it is; or how far an earlier request was, where this one goes on.")
}

fn one_of(values: &[&str], description: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.enum_values(Some(values.iter().copied())).description(Some(description))
}
