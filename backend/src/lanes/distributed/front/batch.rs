//! What is posted at once, sorted by the streams that it enters.

use cartgate_ledger::{Command, UnixMs};

use super::outbox::Outgoing;
use super::waiting::{PostedAt, Waiting, Whereabouts};
use super::{FrontSettings, Routes};
use crate::lanes::LaneSettings;
use crate::store::post::{Group, Post, TicketFor};
use crate::store::tenure::{EntryId, Place, Posted, PostedCommand, PostedTicket, Stream};

/// The most in one group. All of a group is refused if there is no room for it, so a large one would
/// leave room unused.
const GROUP_MAX: usize = 256;

/// What is posted at once, and who waits for it.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) post: Post,
    /// Who waits for what is in each of the post's groups.
    numbers: Vec<Vec<Option<u64>>>,
    /// Wishes for tickets whose commands are posted no earlier than this.
    pub(super) early: Vec<Outgoing>,
}

impl Batch {
    /// Sorts what is to be posted. Each group keeps the order.
    pub(super) fn sort(
        outgoing: Vec<Outgoing>,
        routes: &Routes,
        settings: &FrontSettings,
        waiting: &Waiting,
    ) -> Self {
        let mut batch = Self::default();
        batch.post.routes_version = routes.version;
        for one in outgoing {
            match one {
                Outgoing::Posted { posted, number, is_bounded } => {
                    let stream = stream_of(&posted, routes);
                    let max =
                        if is_bounded { queue_max(&stream, &settings.lanes) } else { u64::MAX };
                    batch.add(stream, max, posted, number);
                }
                Outgoing::Ticket { sku, id, reply } => match waiting.command_of(reply.number) {
                    Some(Whereabouts::Posted(PostedAt { stream, place, nonce, at })) => {
                        let claim_by = at.plus_ms(settings.good_for_ms);
                        let until = settings.lanes.ticket_until(claim_by);
                        let ticket = PostedTicket { sku, id, until, stream, place, reply };
                        batch.post.tickets.push(TicketFor { ticket, nonce, claim_by });
                    }
                    Some(Whereabouts::Underway) => {
                        batch.early.push(Outgoing::Ticket { sku, id, reply })
                    }
                    // It has heard the outcome, or that nobody knows of one.
                    None | Some(Whereabouts::Unknown) => {}
                },
            }
        }
        batch
    }

    /// The same by other routes.
    pub(super) fn sort_again(self, routes: &Routes) -> Self {
        let Self { post: Post { groups, tickets, .. }, numbers, early } = self;
        let post = Post { routes_version: routes.version, tickets, ..Post::default() };
        let mut batch = Self { post, early, ..Self::default() };
        for (group, numbers) in groups.into_iter().zip(numbers) {
            for (posted, number) in group.posted.into_iter().zip(numbers) {
                batch.add(stream_of(&posted, routes), group.depth_max, posted, number);
            }
        }
        batch
    }

    fn add(&mut self, stream: Stream, max: u64, posted: Posted, number: Option<u64>) {
        let groups = &mut self.post.groups;
        // The last of a stream, so that its order is kept.
        let last =
            groups.iter().rposition(|group| group.stream == stream && group.depth_max == max);
        let place = last.filter(|place| groups[*place].posted.len() < GROUP_MAX);
        let place = place.unwrap_or_else(|| {
            groups.push(Group { stream, posted: Vec::new(), depth_max: max });
            self.numbers.push(Vec::new());
            groups.len() - 1
        });
        groups[place].posted.push(posted);
        self.numbers[place].push(number);
    }

    /// Leaves out the reserve commands, for which there is no room. Returns who waits for them.
    pub(super) fn leave_out_reserves(&mut self) -> Vec<u64> {
        let groups = std::mem::take(&mut self.post.groups);
        let mut refused = Vec::new();
        for (group, numbers) in groups.into_iter().zip(std::mem::take(&mut self.numbers)) {
            if group.stream == Stream::Settle {
                self.post.groups.push(group);
                self.numbers.push(numbers);
            } else {
                refused.extend(numbers.into_iter().flatten());
            }
        }
        refused
    }

    /// Whether there is nothing to post.
    pub(super) fn is_empty(&self) -> bool {
        self.post.groups.is_empty() && self.post.tickets.is_empty()
    }

    /// Where the callers' commands are whose groups have these entries, with that nonce, since then.
    pub(super) fn posted<'a>(
        &'a self,
        entries: &'a [Option<EntryId>],
        nonce: u64,
        at: UnixMs,
    ) -> impl Iterator<Item = (u64, PostedAt)> {
        let groups = self.post.groups.iter().zip(&self.numbers).zip(entries);
        groups.filter_map(|(group, entry)| Some((group, (*entry)?))).flat_map(
            move |((Group { stream, .. }, numbers), entry)| {
                (0..).zip(numbers).filter_map(move |(index, number)| {
                    let (stream, place) = (stream.clone(), Place { entry, index });
                    Some(((*number)?, PostedAt { stream, place, nonce, at }))
                })
            },
        )
    }

    /// The callers in groups that have no entry.
    pub(super) fn refused(&self, entries: &[Option<EntryId>]) -> Vec<u64> {
        let groups = self.numbers.iter().zip(entries).filter(|(_, entry)| entry.is_none());
        groups.flat_map(|(numbers, _)| numbers.iter().copied().flatten()).collect()
    }

    /// The callers whose commands are in it.
    pub(super) fn all_numbers(&self) -> Vec<u64> {
        self.numbers.iter().flatten().copied().flatten().collect()
    }

    /// The callers who want a ticket: their commands are in streams.
    pub(super) fn ticket_numbers(&self) -> impl Iterator<Item = u64> {
        self.post.tickets.iter().map(|wish| wish.ticket.reply.number)
    }

    /// What nobody waits for.
    pub(super) fn into_unheard(self) -> Vec<Posted> {
        let groups = self.post.groups.into_iter().zip(self.numbers);
        let all = groups.flat_map(|(group, numbers)| group.posted.into_iter().zip(numbers));
        all.filter_map(|(posted, number)| number.is_none().then_some(posted)).collect()
    }

    /// Who wanted a ticket too late.
    pub(super) fn too_late(&self, is_in_time: &[bool]) -> impl Iterator<Item = u64> {
        let late = self.post.tickets.iter().zip(is_in_time).filter(|(_, is_in_time)| !**is_in_time);
        late.map(|(wish, _)| wish.ticket.reply.number)
    }
}

fn stream_of(posted: &Posted, routes: &Routes) -> Stream {
    match posted {
        Posted::Command(PostedCommand { sku, command: Command::Reserve(_), .. }) => {
            routes.stream(sku)
        }
        _ => Stream::Settle,
    }
}

fn queue_max(stream: &Stream, settings: &LaneSettings) -> u64 {
    let max = match stream {
        Stream::Settle => settings.settle_queue_max,
        Stream::Normal | Stream::Hot(_) => settings.reserve_queue_max,
    };
    u64::try_from(max).unwrap_or(u64::MAX)
}
