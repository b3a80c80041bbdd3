//! What a request asks for.

use super::ExtractError;
use crate::{Quantity, Sku};

/// So many units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub sku: Sku,
    /// The units.
    pub quantity: Quantity,
}

/// Brings SKUs and quantities together: the first with the first, and so on. Lines of one SKU are added up,
/// so that a request cannot be charged to one limit twice, each time for less.
pub(super) fn lines(
    skus: Vec<Sku>,
    quantities: &[Quantity],
    lines_max: usize,
) -> Result<Vec<Line>, ExtractError> {
    if skus.is_empty() {
        return Err(ExtractError::NoSku);
    }
    if skus.len() > lines_max {
        return Err(ExtractError::TooManyLines { max: lines_max });
    }
    if !quantities.is_empty() && quantities.len() != skus.len() {
        let (skus, quantities) = (skus.len(), quantities.len());
        return Err(ExtractError::Uneven { skus, quantities });
    }
    let mut lines: Vec<Line> = Vec::with_capacity(skus.len());
    for (n, sku) in skus.into_iter().enumerate() {
        let quantity = quantities.get(n).copied().unwrap_or(Quantity::ONE);
        match lines.iter_mut().find(|line| line.sku == sku) {
            Some(line) => line.quantity = add(line, quantity)?,
            None => lines.push(Line { sku, quantity }),
        }
    }
    Ok(lines)
}

fn add(line: &Line, quantity: Quantity) -> Result<Quantity, ExtractError> {
    let sum = u64::from(line.quantity.get()) + u64::from(quantity.get());
    let place = || format!("the lines of {}", line.sku);
    Quantity::new(sum).map_err(|reason| ExtractError::Quantity { place: place(), reason })
}
