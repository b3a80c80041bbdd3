//! What a customer may be told: what the store has by then, and the same each time.

use cartgate_ledger::{
    Cause, Claim, Command, CommandId, OnExpired, Outcome, Refusal, Reservation, ReservationState,
    Reserve, UnixMs,
};

use super::book::Taking;
use super::oracle::{AdjustRecord, Oracle, Record, Told};
use super::request::Asked;
use super::{Checked, Violation};

impl Oracle {
    /// Checks an outcome that a customer hears, `requests` having been made by then.
    pub(super) fn heard(&mut self, asked: &Asked, outcome: &Outcome, requests: usize) -> Checked {
        let checked = match &asked.command {
            Command::Reserve(reserve) => self.heard_reserve(asked, reserve, outcome, requests),
            Command::Set { .. } | Command::Adjust(_) => self.heard_stock(asked, outcome),
            _ => self.heard_settled(asked, outcome),
        };
        checked.map_err(|Violation(found)| {
            Violation(format!("{found}\nwas told {outcome:?}\nby {:?}", asked.command))
        })
    }

    fn heard_reserve(
        &mut self,
        asked: &Asked,
        reserve: &Reserve,
        outcome: &Outcome,
        requests: usize,
    ) -> Checked {
        let latest = self.latest;
        let book = &self.books[asked.sku];
        let record = record(&mut self.records, reserve.id)?;
        if let Some(told) = &record.told
            && told.number <= asked.number
        {
            ensure!(is_repeat(told, reserve, outcome), "was told {:?} before", told.outcome);
            self.coverage.count("judged", "a repeat of what was told");
        }
        match outcome {
            Outcome::Held(hold) => heard_hold(record, hold)?,
            Outcome::Refused(refusal) => {
                let terms = |is: &dyn Fn(cartgate_ledger::Terms) -> bool| {
                    book.terms_ever.iter().copied().any(is)
                };
                let is_right = match *refusal {
                    Refusal::SoldOut { .. } | Refusal::OverCap { .. } => {
                        let is_kept = reserve.repeatable || record.was_ticketed;
                        let stands = record.stands.as_ref().map(|stands| reserve.repeat(stands));
                        !is_kept || record.was_forgotten || stands.as_ref() == Some(outcome)
                    }
                    Refusal::KeyReused => record.has_other_fingerprints(),
                    Refusal::Abandoned => reserve.claim_by < latest,
                    Refusal::UnknownSku => !asked.is_sku_known,
                    Refusal::NotOpenYet { opens_at, .. } => {
                        terms(&|t| t.opens_at == Some(opens_at))
                    }
                    Refusal::Closed { closed_at } => terms(&|t| t.closes_at == Some(closed_at)),
                    Refusal::CustomerRequired => {
                        record.wish.customer.is_none() && terms(&|t| t.customer_cap.is_some())
                    }
                    _ => false,
                };
                ensure!(is_right, "there is no reason: {:?}", record.stands);
            }
            _ => ensure!(false, "that is no answer"),
        }
        if is_kept(outcome) && record.stands.as_ref().is_some_and(|s| reserve.repeat(s) == *outcome)
        {
            let (outcome, fingerprint) = (outcome.clone(), reserve.fingerprint);
            record.told = Some(Told { number: requests, outcome, fingerprint });
        }
        Ok(())
    }

    /// A customer is told that its command is written down, and good until then at least.
    pub(super) fn heard_ticket(&mut self, asked: &Asked, until: UnixMs) -> Checked {
        let Command::Reserve(reserve) = &asked.command else {
            return Err(Violation("a ticket for something else".into()));
        };
        let record = record(&mut self.records, reserve.id)?;
        match self.ticketed.get(&reserve.id) {
            // Or decided since, and this one is for a repeat that came when the clock had been set back.
            Some(claim_by) => ensure!(
                record.ended_ticket.max(*claim_by) >= until,
                "a ticket until {claim_by:?}, not {until:?}"
            ),
            // Decided since.
            None => ensure!(record.was_ticketed, "no ticket"),
        }
        Ok(())
    }

    fn heard_stock(&mut self, asked: &Asked, outcome: &Outcome) -> Checked {
        let book = &self.books[asked.sku];
        let (version, counters) = match (&asked.command, outcome) {
            (Command::Set { units, .. }, Outcome::Stock { counters, version }) => {
                ensure!(counters.total() == *units, "not what was set");
                (*version, *counters)
            }
            (Command::Adjust(adjust), Outcome::Adjusted(adjusted)) => {
                let is_last = |record: &AdjustRecord| {
                    record.was_forgotten
                        || record.stands.as_ref().is_none_or(|stands| stands == adjusted)
                };
                let record = self.adjustments.get(&adjust.id);
                ensure!(record.is_some_and(is_last), "another one was made");
                let mut adjusted_by = book.quantities(Cause::Adjust, adjust.id);
                ensure!(adjusted_by.any(|by| by == adjust.by), "there was no adjustment");
                (adjusted.version, adjusted.counters)
            }
            (_, Outcome::Refused(refusal)) => {
                let is_right = match refusal {
                    Refusal::VersionDiffers { .. } | Refusal::BelowCommitted { .. } => true,
                    Refusal::UnknownSku => !asked.is_sku_known,
                    _ => false,
                };
                ensure!(is_right, "there is no reason");
                return Ok(());
            }
            _ => return Err(Violation("that is no answer".into())),
        };
        let entry = version.checked_sub(1).and_then(|index| book.entries.get(index as usize));
        ensure!(entry.is_some_and(|entry| entry.after == counters), "it is not in the journal");
        Ok(())
    }

    fn heard_settled(&mut self, asked: &Asked, outcome: &Outcome) -> Checked {
        let Some(id) = asked.command.id() else { return Err(Violation("no id".into())) };
        let book = &self.books[asked.sku];
        let record = record(&mut self.records, id)?;
        match (&asked.command, outcome) {
            (Command::Confirm { quantity, .. }, Outcome::Settled(sold)) => {
                let units = quantity.map_or(sold.quantity, |quantity| quantity.get());
                let mut sold = book.quantities(Cause::Confirm, id);
                ensure!(sold.any(|sold| sold == i64::from(units)), "it is not in the journal");
                let is_late = asked.promised_until.is_some_and(|until| until <= self.latest);
                self.coverage.count_if(is_late, "judged", "settled in time though judged late");
            }
            (Command::Release { .. }, Outcome::Settled(_)) => {
                let has = |cause| book.quantities(cause, id).next().is_some();
                ensure!(has(Cause::Release) || has(Cause::Cancel), "it is not in the journal");
            }
            (Command::Extend { .. } | Command::Claim { .. }, Outcome::Settled(hold))
                if hold.is_held() =>
            {
                heard_hold(record, hold)?;
            }
            (Command::Claim { .. } | Command::Cancel { .. }, Outcome::Settled(_)) => {}
            (_, Outcome::Refused(refusal)) => {
                // It came in time: then it is too late for nothing.
                let in_time = asked.promised_until.is_some_and(|until| asked.latest < until);
                let is_too_late = match refusal {
                    Refusal::AlreadyExpired => true,
                    Refusal::SoldOut { .. } | Refusal::OverCap { .. } => {
                        let reacquire = OnExpired::Reacquire;
                        let again = matches!(asked.command, Command::Confirm { on_expired, .. } if on_expired == reacquire);
                        ensure!(again, "there is no reason");
                        true
                    }
                    Refusal::UnknownHold => {
                        let has_held = record
                            .stands
                            .as_ref()
                            .is_some_and(|s| s.state.expires_at().is_some() && !s.is_held());
                        // Only what has never been a hold, or is forgotten, is unknown.
                        ensure!(!has_held || asked.promised_until.is_none(), "it is known");
                        false
                    }
                    Refusal::MoreThanHeld { .. }
                    | Refusal::AlreadyConfirmed { .. }
                    | Refusal::AlreadyReleased => false,
                    _ => return Err(Violation("there is no reason".into())),
                };
                ensure!(!(in_time && is_too_late), "it came in time: {:?}", asked.promised_until);
            }
            _ => return Err(Violation("that is no answer".into())),
        }
        Ok(())
    }
}

fn record(
    records: &mut std::collections::BTreeMap<CommandId, Record>,
    id: CommandId,
) -> Result<&mut Record, Violation> {
    records.get_mut(&id).ok_or_else(|| Violation(format!("nobody asked for {id}")))
}

/// Somebody hears of a hold: it is in the journal, and nobody takes it away before its time.
fn heard_hold(record: &mut Record, hold: &Reservation) -> Checked {
    record.attempt = record.attempt.max(hold.attempt);
    let is_cancel_wanted = record.wanted.cancel;
    let is_meant =
        |taking: &&mut Taking| taking.at == hold.decided_at && taking.attempt <= hold.attempt;
    let taking = record.takings.iter_mut().rfind(is_meant);
    let Some(taking) = taking else { return Err(Violation("there is no such hold".into())) };
    ensure!(taking.units() == hold.quantity, "{} units were held", taking.units());
    let ReservationState::Held { expires_at } = hold.state else { return Ok(()) };
    // A repeat that came after the end gets the first answer, which promises nothing any more.
    if hold.since != hold.decided_at {
        return Ok(());
    }
    let until = match hold.claim {
        Claim::Unclaimed { until } => until.min(expires_at),
        Claim::Awaited | Claim::Claimed | Claim::Forgone => expires_at,
    };
    match taking.end {
        Some((Cause::Expire, at)) => ensure!(at >= until, "it had expired at {at:?}"),
        Some((Cause::Cancel, at)) => ensure!(is_cancel_wanted, "it was cancelled at {at:?}"),
        _ => {}
    }
    taking.promised_until = taking.promised_until.max(Some(until));
    taking.is_known |= !matches!(hold.claim, Claim::Unclaimed { .. });
    Ok(())
}

/// Whether a repeat has to get it again.
fn is_kept(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Held(hold) => !matches!(hold.claim, Claim::Unclaimed { .. }),
        Outcome::Refused(refusal) => {
            matches!(refusal, Refusal::SoldOut { .. } | Refusal::OverCap { .. })
        }
        _ => false,
    }
}

/// Whether `outcome` is what whoever was `told` before has to be told again.
fn is_repeat(told: &Told, reserve: &Reserve, outcome: &Outcome) -> bool {
    if told.fingerprint != reserve.fingerprint {
        return *outcome == Outcome::Refused(Refusal::KeyReused);
    }
    match (&told.outcome, outcome) {
        (Outcome::Held(first), Outcome::Held(again)) => first.decided_at == again.decided_at,
        (first, again) => first == again,
    }
}
