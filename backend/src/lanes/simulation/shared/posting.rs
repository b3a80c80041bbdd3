//! How API processes post.

use std::collections::BTreeMap;

use cartgate_ledger::{Command, UnixMs};

use super::process::{Caller, Stays, posted, stamped};
use super::world::{AskedChange, SharedWorld};
use crate::hot_items::{HotItem, Note};
use crate::lanes::simulation::Checked;
use crate::lanes::simulation::op::Key;
use crate::lanes::simulation::request::Asked;
use crate::lanes::simulation::wish::{self, WAIT_MS, Wish};
use crate::store::post::{Group, Post, PostReply};
use crate::store::tenure::{Place, Posted, ReplyTo, Stream};

impl SharedWorld<'_> {
    /// A process is asked for something; often it gathers more before it posts.
    pub(super) fn submit(&mut self, who: u8, key: Key, command: Command) -> Checked {
        // No two that nobody can repeat have one id.
        self.made += 1;
        let process = usize::from(who & 1);
        self.processes[process].gathered.push((key, command));
        if who & 2 == 0 { self.post(process) } else { Ok(()) }
    }

    /// A process posts what it has gathered, a bucket at a time.
    pub(super) fn post(&mut self, process: usize) -> Checked {
        let gathered = std::mem::take(&mut self.processes[process].gathered);
        self.coverage.count_if(gathered.len() > 1, "request", "several at once");
        let mut by_bucket = BTreeMap::<u16, Vec<_>>::new();
        for (key, command) in gathered {
            by_bucket.entry(self.bucket(Wish::of(key).sku)).or_default().push((key, command));
        }
        by_bucket.into_iter().try_for_each(|(bucket, some)| self.post_some(process, bucket, some))
    }

    pub(super) fn post_some(
        &mut self,
        process: usize,
        bucket: u16,
        some: Vec<(Key, Command)>,
    ) -> Checked {
        let now = self.store.now();
        let asked = some.into_iter().map(|(key, command)| self.asked(key, command, now));
        let asked: Vec<_> = asked.collect();
        let replies: Vec<_> = asked.iter().map(|_| self.processes[process].reply()).collect();
        let (streams, entries, nonce) = loop {
            let (post, streams) = self.grouped(process, bucket, &asked, &replies);
            match self.store.post(bucket, post) {
                PostReply::Posted { groups, nonce, .. } => break (streams, groups, nonce),
                PostReply::Moved { .. } => {
                    self.coverage.count("request", "moved");
                    let routes = self.store.routes(bucket);
                    self.processes[process].routes[usize::from(bucket)] = routes;
                }
            }
        };
        let mut groups: BTreeMap<_, _> =
            streams.into_iter().zip(entries.into_iter().map(|entry| (entry, 0..))).collect();
        for (asked, reply) in asked.into_iter().zip(replies) {
            let stream = self.stream_of(process, bucket, &asked);
            let group = groups.get_mut(&stream).and_then(|(entry, index)| Some(((*entry)?, index)));
            if let Some((entry, index)) = group.and_then(|(entry, all)| Some((entry, all.next()?)))
            {
                self.oracle.asked(&asked, Wish::of(asked.key));
                let (place, stays) = (Place { entry, index }, Stays::Waits);
                let caller = Caller { asked, stream, place, nonce, stays, told: None };
                self.processes[process].callers.insert(reply.number, caller);
            } else {
                let name = if stream == Stream::Settle { "full for settling" } else { "full" };
                self.coverage.count("request", name);
            }
        }
        self.check_posted()
    }

    pub(super) fn asked(&mut self, key: Key, command: Command, now: UnixMs) -> Asked {
        let sku = Wish::of(key).sku;
        let record = command.id().and_then(|id| self.oracle.records.get_mut(&id));
        let promised_until =
            record.and_then(|record| record.open_taking()).and_then(|taking| taking.promised_until);
        self.made += 1;
        Asked {
            number: self.made as usize,
            key,
            sku,
            command: stamped(command, now, WAIT_MS),
            latest: self.oracle.latest,
            promised_until,
            is_sku_known: self.oracle.books[sku].version() > 0,
        }
    }

    pub(super) fn stream_of(&self, process: usize, bucket: u16, asked: &Asked) -> Stream {
        self.processes[process].stream_of(bucket, &wish::sku(asked.sku), &asked.command)
    }

    /// A post of all of these, and the streams of its groups.
    pub(super) fn grouped(
        &self,
        process: usize,
        bucket: u16,
        asked: &[Asked],
        replies: &[ReplyTo],
    ) -> (Post, Vec<Stream>) {
        let mut groups = Vec::<Group>::new();
        for (asked, reply) in asked.iter().zip(replies) {
            let stream = self.stream_of(process, bucket, asked);
            let posted = posted(wish::sku(asked.sku), asked.command.clone(), Some(*reply), WAIT_MS);
            match groups.iter_mut().find(|group| group.stream == stream) {
                Some(group) => group.posted.push(posted),
                None => {
                    let bounds = &self.setting.lanes;
                    let is_settle = stream == Stream::Settle;
                    let max =
                        if is_settle { bounds.settle_queue_max } else { bounds.reserve_queue_max };
                    let depth_max = max as u64;
                    groups.push(Group { stream, depth_max, posted: vec![posted] });
                }
            }
        }
        let streams = groups.iter().map(|group| group.stream.clone()).collect();
        let routes_version = self.processes[process].routes[usize::from(bucket)].0;
        (Post { routes_version, groups, tickets: Vec::new() }, streams)
    }

    /// Posts what needs no room: there is at most one for each caller.
    pub(super) fn post_settle(&mut self, sku: usize, posted: Posted) -> Checked {
        let group = Group { stream: Stream::Settle, depth_max: u64::MAX, posted: vec![posted] };
        self.store.post(self.bucket(sku), Post { groups: vec![group], ..Post::default() });
        self.check_posted()
    }

    pub(super) fn change_hot_item(
        &mut self,
        process: usize,
        sku: usize,
        item: Option<HotItem>,
        expected: Option<u64>,
    ) -> Checked {
        let reply = self.processes[process].reply();
        self.processes[process].changers.insert(reply.number, self.changes.len());
        let version = self.registry.get(&sku).map_or(0, |item| item.version);
        let expected_version = expected.map(|before| version.saturating_sub(before));
        self.changes.push(AskedChange { sku, item, expected_version });
        let note = Note { expected_version, ..Note::default() };
        self.post_settle(sku, Posted::HotItem { sku: wish::sku(sku), item, note, reply })
    }
}
