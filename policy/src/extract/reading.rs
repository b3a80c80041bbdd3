//! Reading a request: its head first, its body if that is needed.

use super::line::{Line, lines};
use super::path::Captures;
use super::wanted::{Quantities, Wanted};
use super::{ExtractError, Head, Route, Several, Source};
use crate::document::{Document, DocumentError, MediaType};
use crate::{Quantity, Sku, SkuForm};

/// What a request's head said: [`Route::read_body`] completes it.
#[derive(Clone, Debug)]
pub struct Reading {
    sku: Agreed<Sku>,
    quantity: Agreed<Quantity>,
    /// What a body will be read as. The header itself is not kept, whose length is the client's to
    /// choose: a reading waits for its body, and thousands of them may.
    media_type: Result<MediaType, DocumentError>,
    encoded: bool,
}

impl Route {
    /// Reads what the request's head says, before any of its body has come.
    ///
    /// # Errors
    /// Something in the head cannot be read.
    pub fn read_head(&self, head: &Head<'_>, form: &SkuForm) -> Result<Reading, ExtractError> {
        let captures = self.path.captures(head.path()).unwrap_or_default();
        let (content_type, encoded) = match self.reads_body() {
            true => (head.single("content-type")?, head.all("content-encoding").any(is_encoding)),
            false => (None, false),
        };
        let (mut sku, mut quantity) = (Agreed::new(self.several), Agreed::new(self.several));
        sku.add_head(&self.sku, head, &captures, form)?;
        quantity.add_head(&self.quantity, head, &captures, &Quantities)?;
        Ok(Reading { sku, quantity, media_type: MediaType::of(content_type), encoded })
    }

    /// Whether the body has anything to say that the head has not.
    pub fn needs_body(&self, reading: &Reading) -> bool {
        reading.sku.wants_body(&self.sku) || reading.quantity.wants_body(&self.quantity)
    }

    /// Says at once what would be said of any body that came: that its kind is not read.
    ///
    /// # Errors
    /// The body's content type or encoding is none that we read, or none that any source of this route looks
    /// into: what it says there would count for nothing.
    pub fn check_body_kind(&self, reading: &Reading) -> Result<(), ExtractError> {
        self.body_kind(reading).map(|_| ())
    }

    fn body_kind<'r>(&self, reading: &'r Reading) -> Result<&'r MediaType, ExtractError> {
        if reading.encoded {
            return Err(ExtractError::Encoded);
        }
        let kind = reading.media_type.as_ref().map_err(|error| error.clone())?;
        match self.sku.iter().chain(&self.quantity).any(|source| source.reads(kind)) {
            true => Ok(kind),
            false => Err(ExtractError::NoPlaceInBody),
        }
    }

    /// Completes the reading with the whole body; `b""` if there is none, or if it is not needed. Gives at
    /// least one line, and no two of one SKU.
    ///
    /// # Errors
    /// The body cannot be read, or there is no SKU in head or body.
    pub fn read_body(
        &self,
        mut reading: Reading,
        body: &[u8],
        form: &SkuForm,
    ) -> Result<Vec<Line>, ExtractError> {
        if !body.is_empty() && self.needs_body(&reading) {
            let document = self.body_kind(&reading)?.parse(body)?;
            reading.sku.add_body(&self.sku, &document, form)?;
            reading.quantity.add_body(&self.quantity, &document, &Quantities)?;
        }
        lines(reading.sku.found, &reading.quantity.found, self.lines_max.0)
    }
}

/// What the sources looked at so far have found.
#[derive(Clone, Debug)]
struct Agreed<T> {
    several: Several,
    /// Nothing, if none has found anything.
    found: Vec<T>,
    /// The number of the source that has found it.
    by: usize,
}

impl<T: PartialEq> Agreed<T> {
    fn new(several: Several) -> Self {
        Self { several, found: Vec::new(), by: 0 }
    }

    fn add_head(
        &mut self,
        sources: &[Source],
        head: &Head<'_>,
        captures: &Captures<'_>,
        wanted: &impl Wanted<Found = T>,
    ) -> Result<(), ExtractError> {
        for (n, source) in sources.iter().enumerate().filter(|(_, source)| !source.is_in_body()) {
            if self.wants(n) {
                let found = source.in_head(head, captures, wanted)?;
                self.add(n, found.into_iter().collect(), wanted)?;
            }
        }
        Ok(())
    }

    fn add_body<W: Wanted<Found = T>>(
        &mut self,
        sources: &[Source],
        body: &Document,
        wanted: &W,
    ) -> Result<(), ExtractError> {
        for (n, source) in sources.iter().enumerate().filter(|(_, source)| source.is_in_body()) {
            if self.wants(n) {
                self.add(n, source.in_body(body, wanted)?, wanted)?;
            }
        }
        Ok(())
    }

    /// Whether it matters what source `n` finds.
    fn wants(&self, n: usize) -> bool {
        self.several == Several::Agree || self.found.is_empty() || n < self.by
    }

    fn wants_body(&self, sources: &[Source]) -> bool {
        sources.iter().enumerate().any(|(n, source)| source.is_in_body() && self.wants(n))
    }

    fn add<W: Wanted<Found = T>>(
        &mut self,
        n: usize,
        found: Vec<T>,
        _: &W,
    ) -> Result<(), ExtractError> {
        if found.is_empty() {
            return Ok(());
        }
        if self.several == Several::Agree && !self.found.is_empty() {
            return match self.found == found {
                true => Ok(()),
                false => Err(ExtractError::Disagree { what: W::NAME }),
            };
        }
        (self.found, self.by) = (found, n);
        Ok(())
    }
}

fn is_encoding(value: &[u8]) -> bool {
    !value.trim_ascii().eq_ignore_ascii_case(b"identity")
}
