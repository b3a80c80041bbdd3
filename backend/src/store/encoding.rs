//! How values are laid out in bytes.
//!
//! Numbers are of variable length (LEB128), signed ones zigzag, texts and values come after their
//! length. What is stored by the million (reservations here, journal entries in `journal.rs`) has a
//! layout by hand: it is a third smaller, and several times faster, than what serde makes of ids and
//! fingerprints. All else is postcard.

use std::num::NonZeroU32;

use cartgate_ledger::{Claim, CommandId, Fingerprint, Reservation, ReservationState, UnixMs};
use cartgate_policy::Sku;
use postcard::Error as Malformed;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Ended, EndedKind, StoreError};

pub(super) fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

pub(super) fn put_signed(to: &mut Vec<u8>, number: i64) {
    put_number(to, ((number << 1) ^ (number >> 63)) as u64);
}

/// Puts a time as what has passed since another: in two bytes or three, mostly.
pub(super) fn put_time(to: &mut Vec<u8>, since: UnixMs, time: UnixMs) {
    put_signed(to, time.0.wrapping_sub(since.0) as i64);
}

pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

pub(super) fn put_sku(to: &mut Vec<u8>, sku: &Sku) {
    put_bytes(to, sku.as_str().as_bytes());
}

/// Puts a value after its length.
pub(super) fn put_value(to: &mut Vec<u8>, value: &impl Serialize) -> Result<(), StoreError> {
    put_bytes(to, &encode(value)?);
    Ok(())
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let unwritten = |source| StoreError::Encoding { what: "value", action: "written", source };
    postcard::to_stdvec(value).map_err(unwritten)
}

pub(super) fn decode<T: DeserializeOwned>(
    what: &'static str,
    value: &[u8],
) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(unreadable(what))
}

pub(super) fn unreadable(what: &'static str) -> impl Fn(Malformed) -> StoreError {
    move |source| StoreError::Encoding { what, action: "read", source }
}

/// Reads from the front of some bytes what was put there.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(Malformed::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn id(&mut self) -> Result<CommandId, Malformed> {
        self.array().map(CommandId)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::DeserializeBadVarint)
    }

    pub(super) fn number_u32(&mut self) -> Result<u32, Malformed> {
        self.number()?.try_into().map_err(|_| Malformed::DeserializeBadVarint)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn time(&mut self, since: UnixMs) -> Result<UnixMs, Malformed> {
        Ok(UnixMs(since.0.wrapping_add(self.signed()? as u64)))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number()?.try_into().map_err(|_| Malformed::DeserializeBadVarint)?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::DeserializeBadUtf8)
    }

    pub(super) fn sku(&mut self) -> Result<Sku, Malformed> {
        Sku::parse(self.text()?).map_err(|_| Malformed::SerdeDeCustom)
    }
}

/// The first byte of a reservation has its state in the lower half, its claim in the upper one.
const HELD: u8 = 0;
const CONFIRMED: u8 = 1;
const RELEASED: u8 = 2;
const EXPIRED: u8 = 3;
const SOLD_OUT: u8 = 4;
const OVER_CAP: u8 = 5;
const UNKNOWN_SKU: u8 = 6;
const NOT_OPEN_YET: u8 = 7;
const CLOSED: u8 = 8;
const CUSTOMER_REQUIRED: u8 = 9;
const AWAITED: u8 = 0x00;
const UNCLAIMED: u8 = 0x10;
const CLAIMED: u8 = 0x20;
const FORGONE: u8 = 0x30;

/// Puts all of a reservation but its id, which is its key wherever it is stored.
pub(super) fn put_reservation(to: &mut Vec<u8>, sku: &Sku, reservation: &Reservation) {
    let Reservation { id: _, fingerprint, customer, quantity, decided_at, since, attempt, .. } =
        reservation;
    to.push(state_tag(reservation.state) | claim_tag(reservation.claim));
    put_sku(to, sku);
    to.extend_from_slice(&fingerprint.0);
    match customer {
        None => to.push(0),
        Some(customer) => {
            put_number(to, customer.len() as u64 + 1);
            to.extend_from_slice(customer.as_bytes());
        }
    }
    put_number(to, u64::from(*quantity));
    put_number(to, decided_at.0);
    put_time(to, *decided_at, *since);
    put_number(to, u64::from(*attempt));
    if let Claim::Unclaimed { until } = reservation.claim {
        put_time(to, *decided_at, until);
    }
    match reservation.state {
        ReservationState::Held { expires_at }
        | ReservationState::Released { expires_at }
        | ReservationState::Expired { expires_at } => put_time(to, *decided_at, expires_at),
        ReservationState::Confirmed { expires_at, quantity } => {
            put_time(to, *decided_at, expires_at);
            put_number(to, u64::from(quantity));
        }
        ReservationState::SoldOut { available } => put_number(to, available),
        ReservationState::OverCap { cap, committed } => {
            put_number(to, u64::from(cap.get()));
            put_number(to, committed);
        }
        ReservationState::NotOpenYet { opens_at: at }
        | ReservationState::Closed { closed_at: at } => {
            put_time(to, *decided_at, at);
        }
        ReservationState::UnknownSku | ReservationState::CustomerRequired => {}
    }
}

fn state_tag(state: ReservationState) -> u8 {
    match state {
        ReservationState::Held { .. } => HELD,
        ReservationState::Confirmed { .. } => CONFIRMED,
        ReservationState::Released { .. } => RELEASED,
        ReservationState::Expired { .. } => EXPIRED,
        ReservationState::SoldOut { .. } => SOLD_OUT,
        ReservationState::OverCap { .. } => OVER_CAP,
        ReservationState::UnknownSku => UNKNOWN_SKU,
        ReservationState::NotOpenYet { .. } => NOT_OPEN_YET,
        ReservationState::Closed { .. } => CLOSED,
        ReservationState::CustomerRequired => CUSTOMER_REQUIRED,
    }
}

fn claim_tag(claim: Claim) -> u8 {
    match claim {
        Claim::Awaited => AWAITED,
        Claim::Unclaimed { .. } => UNCLAIMED,
        Claim::Claimed => CLAIMED,
        Claim::Forgone => FORGONE,
    }
}

/// Whether a stored reservation holds units.
pub(super) fn is_held(value: &[u8]) -> bool {
    value.first().is_some_and(|tags| tags & 0x0f == HELD)
}

/// Reads back what [`put_reservation`] has put.
pub(super) fn reservation(id: CommandId, value: &[u8]) -> Result<(Sku, Reservation), StoreError> {
    read_reservation(id, &mut Reader::new(value)).map_err(unreadable("reservation"))
}

fn read_reservation(id: CommandId, from: &mut Reader<'_>) -> Result<(Sku, Reservation), Malformed> {
    let tags = from.byte()?;
    let sku = from.sku()?;
    let fingerprint = Fingerprint(from.array()?);
    let customer = match from.number()? {
        0 => None,
        len => {
            let len = usize::try_from(len - 1).map_err(|_| Malformed::DeserializeBadVarint)?;
            let text = std::str::from_utf8(from.take(len)?);
            Some(text.map_err(|_| Malformed::DeserializeBadUtf8)?.into())
        }
    };
    let quantity = from.number_u32()?;
    let decided_at = UnixMs(from.number()?);
    let since = from.time(decided_at)?;
    let attempt = from.number_u32()?;
    let claim = match tags & 0xf0 {
        AWAITED => Claim::Awaited,
        UNCLAIMED => Claim::Unclaimed { until: from.time(decided_at)? },
        CLAIMED => Claim::Claimed,
        FORGONE => Claim::Forgone,
        _ => return Err(Malformed::DeserializeBadEnum),
    };
    let state = read_state(tags & 0x0f, decided_at, from)?;
    let reservation = Reservation {
        id,
        fingerprint,
        customer,
        quantity,
        decided_at,
        since,
        attempt,
        claim,
        state,
    };
    Ok((sku, reservation))
}

fn read_state(
    tag: u8,
    decided_at: UnixMs,
    from: &mut Reader<'_>,
) -> Result<ReservationState, Malformed> {
    Ok(match tag {
        HELD => ReservationState::Held { expires_at: from.time(decided_at)? },
        CONFIRMED => ReservationState::Confirmed {
            expires_at: from.time(decided_at)?,
            quantity: from.number_u32()?,
        },
        RELEASED => ReservationState::Released { expires_at: from.time(decided_at)? },
        EXPIRED => ReservationState::Expired { expires_at: from.time(decided_at)? },
        SOLD_OUT => ReservationState::SoldOut { available: from.number()? },
        OVER_CAP => ReservationState::OverCap {
            cap: NonZeroU32::new(from.number_u32()?).ok_or(Malformed::SerdeDeCustom)?,
            committed: from.number()?,
        },
        UNKNOWN_SKU => ReservationState::UnknownSku,
        NOT_OPEN_YET => ReservationState::NotOpenYet { opens_at: from.time(decided_at)? },
        CLOSED => ReservationState::Closed { closed_at: from.time(decided_at)? },
        CUSTOMER_REQUIRED => ReservationState::CustomerRequired,
        _ => return Err(Malformed::DeserializeBadEnum),
    })
}

const ID: usize = 16;

/// When a decision ended, as a key: kind, time, id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndedKey(pub(super) [u8; 1 + 8 + ID]);

impl From<&Ended> for EndedKey {
    fn from(ended: &Ended) -> Self {
        let mut key = [0; 1 + 8 + ID];
        key[0] = ended.kind as u8;
        key[1..9].copy_from_slice(&ended.at.0.to_be_bytes());
        key[9..].copy_from_slice(&ended.id.0);
        Self(key)
    }
}

impl EndedKey {
    pub(super) fn parse(key: &[u8]) -> Result<Self, StoreError> {
        key.try_into().map(Self).map_err(|_| malformed("time of an end"))
    }

    /// What it says, if it is of that kind.
    pub(super) fn ended(&self, kind: EndedKind) -> Ended {
        let mut at = [0; 8];
        at.copy_from_slice(&self.0[1..9]);
        Ended { kind, at: UnixMs(u64::from_be_bytes(at)), id: self.id() }
    }

    pub(super) fn id(&self) -> CommandId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0[9..]);
        CommandId(id)
    }

    pub(super) fn is_adjustment(&self) -> bool {
        self.0[0] == EndedKind::Adjustment as u8
    }
}

pub(super) fn parse_id(key: &[u8]) -> Result<CommandId, StoreError> {
    key.try_into().map(CommandId).map_err(|_| malformed("id"))
}

pub(super) fn parse_sku(key: &[u8]) -> Result<Sku, StoreError> {
    let sku = std::str::from_utf8(key).ok().and_then(|text| Sku::parse(text).ok());
    sku.ok_or_else(|| malformed("SKU"))
}

pub(super) fn malformed(what: &'static str) -> StoreError {
    unreadable(what)(Malformed::SerdeDeCustom)
}
