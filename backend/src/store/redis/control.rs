//! What processes agree on about the fleet of edges: who leads it, and what they tell each other. Nothing of
//! it is kept: what is not heard is told again, or was not told.

use futures_util::{Stream, StreamExt as _};

use super::api::Api;
use super::keys::slot;
use super::link::pipeline;
use super::remote::Failure;
use super::reply::Replies;
use super::scripts;
use crate::store::StoreError;

/// How long the lead of the fleet lasts that is not kept, in milliseconds.
pub const LEAD_MS: u64 = 1_500;

/// Where processes hear of each other. In a cluster each server passes on what is published at any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Whoever leads the fleet listens.
    Leader,
    /// This process does.
    Process(u64),
}

/// What is done with the lead of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// It is taken, if it is nobody's.
    Take,
    /// It is kept, if it is this incarnation's.
    Keep,
    /// It is given back, if it is this incarnation's.
    GiveBack,
}

impl Api {
    /// Takes the lead of the fleet for [`LEAD_MS`], keeps it for as long, or gives it back. Whether that was
    /// done.
    ///
    /// # Errors
    /// The store cannot be reached: nobody knows whether it was.
    pub async fn lead(&self, incarnation: u64, lead: Lead) -> Result<bool, StoreError> {
        let key = self.keys.control();
        let step = match lead {
            Lead::Take => "take",
            Lead::Keep => "keep",
            Lead::GiveBack => "give",
        };
        let mut call = scripts::LEAD.call(std::slice::from_ref(&key));
        call.arg(format!("{incarnation:016x}")).arg(LEAD_MS).arg(step);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let replies = self.remote.query(slot(&key), &pipe).await;
        let mut replies = Replies::new(replies.map_err(Failure::into_store_error)?);
        Ok(replies.next::<u8>("lead")? == 1)
    }

    /// Tells something to whoever listens there, if anybody does.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn tell(&self, line: Line, message: &[u8]) -> Result<(), StoreError> {
        let channel = self.keys.line(line);
        let mut pipe = pipeline();
        pipe.cmd("PUBLISH").arg(&channel).arg(message);
        let told = self.remote.query(slot(&channel), &pipe).await;
        told.map(drop).map_err(Failure::into_store_error)
    }

    /// Listens from now on. It ends with the connection; one that leads nowhere may last long.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn listen(
        &self,
        line: Line,
    ) -> Result<impl Stream<Item = Vec<u8>> + Unpin + use<>, StoreError> {
        let channel = self.keys.line(line);
        let subscribed = self.remote.subscribe(slot(&channel), &channel).await;
        let heard = subscribed.map_err(Failure::into_store_error)?;
        Ok(heard.map(|message| message.get_payload_bytes().to_vec()))
    }
}
