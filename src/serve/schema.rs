//! Shapes that come from crates which know nothing of HTTP, for the description.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// What the gate answers, mildest first.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Action {
    /// Go on, whole.
    Allow,
    /// Go on, smaller.
    ReduceSize,
    /// Not this order.
    Block,
    /// The strategy falls a level; the order goes on at the new level's cap.
    Demote,
    /// The strategy stands still.
    Pause,
    /// A kill switch covers the order.
    Kill,
}

/// Where an order may go.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Execution {
    /// Nowhere.
    None,
    /// To a paper venue.
    Paper,
    /// To a live venue.
    Live,
    /// Wherever the position is held that it reduces.
    Position,
}

/// Who gives a verdict.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Component {
    /// The latched kill switch.
    KillSwitch,
    /// A pause by an operator or by drift.
    Pause,
    /// The infrastructure canary.
    Canary,
    /// The maturity ladder.
    Maturity,
    /// Live against backtest.
    Drift,
    /// Trade impact.
    Impact,
    /// Execution tokens.
    Token,
    /// Outcome-based health.
    Health,
}

/// One component's answer to one order.
#[derive(ToSchema)]
pub struct Verdict {
    /// Who says it.
    pub component: Component,
    /// What it asks for.
    pub action: Action,
    /// How much of the order it would let through: 0 to 1.
    pub multiplier: f64,
    /// Why, with the numbers it looked at.
    pub reason: Reason,
}

/// A code with its numbers as fields.
#[derive(ToSchema)]
pub struct Reason {
    /// `CATEGORY_CONDITION`.
    #[schema(example = "HEALTH_DEGRADED")]
    pub code: String,
}

/// An exact decimal number: as a text, or as a JSON number, which is read digit by digit and never passes
/// through a float.
pub struct Decimal;

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let description = "An exact decimal number: a text, or a JSON number that is read digit by digit.";
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Number]))
            .description(Some(description))
            .pattern(Some(r"^[+-]?[0-9]{1,13}(\.[0-9]{1,12})?$"))
            .examples(["1.25"])
            .into()
    }
}

impl ToSchema for Decimal {}
