//! Requests, written once and numbered anew for each send: the load generator spends its time on
//! sending, not on writing.

use std::net::SocketAddr;
use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};

use crate::random::Random;

/// Digits of a request's number.
const NUMBER_LEN: usize = 10;

/// Digits of a SKU's number.
const SKU_LEN: usize = 5;

/// Whose stock requests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skus {
    /// Everyone wants the one hot SKU.
    Hot,
    /// Each request wants one of so many.
    Spread(u32),
    /// The same, but the second is wanted half as often as the first, the third a third as often.
    Zipf(u32),
    /// No two requests want the same.
    Distinct,
}

impl Skus {
    /// The SKU that the request of this number wants: the same, however often it is asked for.
    pub fn of(self, number: u64) -> u32 {
        match self {
            Self::Hot => 0,
            Self::Spread(count) => 1 + Random::new(number).below(count.into()) as u32,
            Self::Zipf(count) => zipf(count, number),
            Self::Distinct => number as u32,
        }
    }

    /// All of them.
    pub fn all(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Self::Hot => 0..=0,
            Self::Spread(count) | Self::Zipf(count) => 1..=count,
            Self::Distinct => 0..=u32::MAX,
        }
    }
}

fn zipf(count: u32, number: u64) -> u32 {
    let Ok(zipf) = Zipf::new(f64::from(count), 1.0) else { return 0 };
    zipf.sample(&mut StdRng::seed_from_u64(number)) as u32
}

/// What a SKU is called.
pub fn sku_name(sku: u32) -> String {
    format!("SKU-{sku:0SKU_LEN$}")
}

/// A request with places for its number and its SKU.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    numbers: Vec<Range<usize>>,
    sku: Option<Range<usize>>,
    skus: Skus,
}

impl Template {
    /// A reservation of one unit, with a customer and an idempotency key of its own.
    pub fn reservation(address: SocketAddr, skus: Skus) -> Self {
        Self::reservation_at(&address.to_string(), skus)
    }

    /// The same, by the name of a host.
    pub fn reservation_at(host: &str, skus: Skus) -> Self {
        Self::of("POST /v1/reservations", host, "", skus)
    }

    /// The same, with more headers, each a line with its end.
    pub fn reservation_with(host: &str, headers: &str, skus: Skus) -> Self {
        Self::of("POST /v1/reservations", host, headers, skus)
    }

    /// The same bytes, for the service's empty route.
    pub fn empty_route(address: SocketAddr) -> Self {
        Self::of("GET /live", &address.to_string(), "", Skus::Hot)
    }

    fn of(what: &str, host: &str, headers: &str, skus: Skus) -> Self {
        let number = "#".repeat(NUMBER_LEN);
        let sku = format!("SKU-{}", "$".repeat(SKU_LEN));
        let body = format!(r#"{{"sku":"{sku}","quantity":1,"customer_id":"c-{number}"}}"#);
        let text = format!(
            "{what} HTTP/1.1\r\nhost: {host}\r\n{headers}content-type: application/json\r\n\
             idempotency-key: k-{number}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self::new(&text, skus)
    }

    /// Any request: digits of its number stand in place of each `#`, those of its SKU's in place of
    /// each `$`.
    pub fn new(text: &str, skus: Skus) -> Self {
        let sku = places(text, '$').pop();
        Self { numbers: places(text, '#'), sku, skus, bytes: text.as_bytes().to_vec() }
    }

    /// The request of this number.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        for place in &self.numbers {
            write_digits(&mut self.bytes[place.clone()], number);
        }
        if let Some(place) = &self.sku {
            write_digits(&mut self.bytes[place.clone()], self.skus.of(number).into());
        }
        &self.bytes
    }
}

/// Where there is a run of this sign.
fn places(text: &str, sign: char) -> Vec<Range<usize>> {
    let mut places: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices(sign) {
        match places.last_mut().filter(|place| place.end == at) {
            Some(place) => place.end = at + 1,
            None => places.push(at..at + 1),
        }
    }
    places
}

/// The customer of the request of this number.
pub fn customer(number: u64) -> String {
    format!("c-{number:0NUMBER_LEN$}")
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_numbered_in_key_customer_and_sku() {
        let mut template = Template::reservation(([127, 0, 0, 1], 80).into(), Skus::Spread(7));
        for number in [42, 1_234_567_890] {
            let request = String::from_utf8(template.numbered(number).to_vec()).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("idempotency-key: k-{number:010}\r\n")), "{head}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["customer_id"], customer(number));
            assert_eq!(body["sku"], sku_name(Skus::Spread(7).of(number)));
        }
    }

    #[test]
    fn what_is_wanted_most_is_wanted_much() {
        let mut counts = [0; 11];
        (0..10_000).for_each(|number| counts[Skus::Zipf(10).of(number) as usize] += 1);
        // One over the tenth harmonic number, 0.341.
        assert!(counts[0] == 0 && (3_200..3_600).contains(&counts[1]), "{counts:?}");
        assert!((1_550..1_850).contains(&counts[2]) && counts[10] > 250, "{counts:?}");
    }

    #[test]
    fn a_spread_reaches_every_sku_about_as_often() {
        let mut counts = [0; 11];
        (0..10_000).for_each(|number| counts[Skus::Spread(10).of(number) as usize] += 1);
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
