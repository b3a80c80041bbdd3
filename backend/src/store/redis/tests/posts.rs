//! Posting: all of it, or a definite no, or an honest "nobody knows".

use super::*;
use crate::store::post::TicketFor;
use crate::store::redis::PostError;
use crate::store::tenure::{PostedTicket, Route, RouteChange, Ticket};

fn promote(name: &str) -> TurnCommit {
    let (route, mark_in) = (Some(Route::Joining), Some(Stream::Normal));
    let change = RouteChange { sku: sku(name), route, mark_in };
    TurnCommit { routes: vec![change], ..TurnCommit::default() }
}

#[tokio::test]
async fn what_is_posted_is_read_in_order() {
    let rig = Rig::new();
    let PostReply::Posted { at, groups, tickets, .. } = rig.post(Stream::Normal, 1..4).await else {
        panic!("posted")
    };
    assert_eq!((groups.len(), tickets), (1, vec![]));
    rig.post(Stream::Normal, 4..5).await;
    let tenure = rig.acquire(1);
    let arrived = read(&tenure);
    assert!(arrived.now >= at);
    let entries = in_lane(arrived);
    assert_eq!(Some(entries[0].id), groups[0]);
    let posted: Vec<_> = entries.iter().flat_map(|entry| entry.posted.clone()).collect();
    assert_eq!(posted, (1..5).map(reserve).collect::<Vec<_>>());
    assert_eq!(entries[0].at, at);
    assert_ne!(entries[0].nonce, entries[1].nonce);
    assert_eq!(rig.api.depths(0).await.unwrap(), [(Stream::Normal, 4)]);
}

/// A route that has changed meanwhile: nothing is posted where nobody would look for it in order.
#[tokio::test]
async fn a_stale_route_posts_nothing() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    tenure.commit_turn(&promote("A")).unwrap();
    let before = rig.dump();
    let (routes_version, _) = rig.api.routes(0).await.unwrap();
    let expected = PostReply::Moved { routes_version, own_lanes: vec![sku("A")] };
    assert_eq!(rig.post(Stream::Normal, 1..2).await, expected);
    assert!(rig.dump() == before);
    let hot = Stream::Hot(sku("A"));
    assert!(matches!(
        rig.post_by(routes_version, hot.clone(), 1..2).await,
        PostReply::Posted { .. }
    ));

    // What settles has one stream, whatever the routes are.
    assert!(matches!(rig.post(Stream::Settle, 1..2).await, PostReply::Posted { .. }));
}

/// A failover may lose that a SKU was given a stream, and another SKU is given one then: whoever has
/// heard of the first knows nothing of the second, and would post where nobody reads.
#[tokio::test]
async fn routes_that_were_lost_are_not_taken_for_those_that_came_after() {
    let mut rig = Rig::new();
    rig.acquire(1).commit_turn(&promote("A")).unwrap();
    let (lost_version, _) = rig.api.routes(0).await.unwrap();
    rig.run(&["DEL", "{cg:0}:routes", "{cg:0}:lane"]);
    rig.run(&["HDEL", "{cg:0}:meta", "routes_version"]);

    rig.acquire(1).commit_turn(&promote("B")).unwrap();
    let hot = Stream::Hot(sku("A"));
    let reply = rig.post_by(lost_version, hot, 1..2).await;
    let (routes_version, _) = rig.api.routes(0).await.unwrap();
    assert_eq!(reply, PostReply::Moved { routes_version, own_lanes: vec![sku("B")] });
    assert_eq!(rig.ask::<u64>(&["XLEN", "{cg:0}:lane:A"]), 0);
}

#[tokio::test]
async fn a_full_stream_takes_nothing_and_keeps_no_other_from_it() {
    let rig = Rig::new();
    let group = |stream, numbers: std::ops::Range<u8>, depth_max| Group {
        stream,
        posted: numbers.map(reserve).collect(),
        depth_max,
    };
    let groups = vec![group(Stream::Normal, 1..4, 2), group(Stream::Settle, 4..6, 2)];
    let post = Post { groups, ..Post::default() };
    let PostReply::Posted { groups, .. } = rig.api.post(0, &post).await.unwrap() else {
        panic!("posted")
    };
    assert!(groups[0].is_none() && groups[1].is_some());
    assert_eq!(rig.api.depths(0).await.unwrap(), [(Stream::Settle, 2)]);
    let streams = [Stream::Normal, Stream::Settle];
    let waited = async || rig.api.ages(0, &streams).await.unwrap();
    let [None, Some(before)] = waited().await[..] else { panic!("one of them waits") };
    let longer = async || waited().await[1].filter(|age| *age > before);
    servers::until_some(longer).await;

    // What is decided makes room.
    let tenure = rig.acquire(1);
    let arrived = read(&tenure);
    let (stream, entries) = &arrived.entries[0];
    assert_eq!(*stream, Stream::Settle);
    let steps = vec![step(Stream::Settle, entries)];
    tenure.commit_turn(&TurnCommit { steps, ..TurnCommit::default() }).unwrap();
    assert_eq!(rig.api.depths(0).await.unwrap(), [(Stream::Settle, 0)]);
    assert_eq!(waited().await, [None, None]);
    assert_eq!(read(&tenure).entries, [], "what is decided is trimmed");
}

/// A ticket for a command at that place, good for a minute from `at`, and who asks for it.
fn ticket(number: u8, entry: EntryId, index: u32, at: UnixMs) -> PostedTicket {
    PostedTicket {
        sku: sku("A"),
        id: id(number),
        until: at.plus_ms(60_000),
        stream: Stream::Normal,
        place: Place { entry, index },
        reply: ReplyTo { process: 7, number: number.into() },
    }
}

#[tokio::test]
async fn a_ticket_is_asked_for_while_its_command_is_good() {
    let rig = Rig::new();
    let PostReply::Posted { at, nonce, groups, .. } = rig.post(Stream::Normal, 1..4).await else {
        panic!("posted")
    };
    let tickets = [1, 2, 3].map(|number| ticket(number, groups[0].unwrap(), number.into(), at));
    let [soon, late] = [at.plus_ms(60_000), UnixMs(at.0 - 1)];
    let wishes = tickets.iter().zip([soon, late, soon]);
    let wishes =
        wishes.map(|(ticket, claim_by)| TicketFor { ticket: ticket.clone(), nonce, claim_by });
    let post = Post { tickets: wishes.collect(), ..Post::default() };
    let PostReply::Posted { tickets: is_in_time, .. } = rig.api.post(0, &post).await.unwrap()
    else {
        panic!("posted")
    };
    assert_eq!(is_in_time, [true, false, true]);
    assert_eq!(rig.api.ticketed(0, id(1)).await.unwrap(), None);
    let mut depths = rig.api.depths(0).await.unwrap();
    depths.sort();
    assert_eq!(depths, [(Stream::Settle, 2), (Stream::Normal, 3)]);

    // The owner hears of it in the same step, gives it, and ends it with the command.
    let tenure = rig.acquire(1);
    let arrived = read(&tenure);
    let settle = &arrived.entries.iter().find(|(stream, _)| *stream == Stream::Settle).unwrap().1;
    let kept = tickets.clone().map(|PostedTicket { until, place, .. }| Ticket { until, place });
    let until = tickets[0].until;
    let [first, _, third] = tickets.map(Posted::Ticket);
    assert_eq!(settle[0].posted, [first, third]);
    let given = [(1, kept[0]), (3, kept[2])].map(|(number, kept)| (id(number), sku("A"), kept));
    tenure.commit_turn(&TurnCommit { tickets: given.into(), ..TurnCommit::default() }).unwrap();
    let found = rig.api.ticketed(0, id(1)).await.unwrap();
    assert_eq!(found.map(|(ticket, sku)| (ticket.until, sku)), Some((until, sku("A"))));
    let mut known = tenure.progress().unwrap().tickets;
    known.sort_by_key(|(id, _)| *id);
    assert_eq!(known, [(id(1), kept[0]), (id(3), kept[2])]);
    let commit = Commit { unticketed: vec![id(1)], ..Commit::default() };
    tenure.commit_turn(&TurnCommit { commit, ..TurnCommit::default() }).unwrap();
    assert_eq!(tenure.progress().unwrap().tickets, [(id(3), kept[2])]);
}

/// A process whose callers' patience ends at once asks for as many.
#[tokio::test]
async fn thousands_of_tickets_are_given_in_one_step() {
    let rig = Rig::new();
    let PostReply::Posted { at, nonce, groups, .. } = rig.post(Stream::Normal, 1..2).await else {
        panic!("posted")
    };
    let ticket = ticket(1, groups[0].unwrap(), 0, at);
    let claim_by = at.plus_ms(60_000);
    let tickets = vec![TicketFor { ticket, nonce, claim_by }; 4_096];
    let reply = rig.api.post(0, &Post { tickets, ..Post::default() }).await.unwrap();
    assert!(matches!(reply, PostReply::Posted { tickets, .. } if tickets == [true; 4_096]));
    let mut depths = rig.api.depths(0).await.unwrap();
    depths.sort();
    assert_eq!(depths, [(Stream::Settle, 4_096), (Stream::Normal, 1)]);
    let arrived = read(&rig.acquire(1));
    let (_, settle) = arrived.entries.iter().find(|(stream, _)| *stream == Stream::Settle).unwrap();
    assert_eq!(settle.iter().map(|entry| entry.posted.len()).sum::<usize>(), 4_096);
}

/// Decided and trimmed, or lost in a failover: no owner will come to it.
#[tokio::test]
async fn there_is_no_ticket_for_what_is_not_there_any_more() {
    let mut rig = Rig::new();
    let PostReply::Posted { at, nonce, groups, .. } = rig.post(Stream::Normal, 1..2).await else {
        panic!("posted")
    };
    let (ticket, claim_by) = (ticket(1, groups[0].unwrap(), 0, at), at.plus_ms(60_000));
    let wish = |nonce| {
        let tickets = vec![TicketFor { ticket: ticket.clone(), nonce, claim_by }];
        Post { tickets, ..Post::default() }
    };
    let refused = |reply| matches!(reply, PostReply::Posted { tickets, .. } if tickets == [false]);
    let before = rig.dump();
    // Another has its id since a failover.
    assert!(refused(rig.api.post(0, &wish(nonce ^ 1)).await.unwrap()));
    assert!(rig.dump() == before);

    let tenure = rig.acquire(1);
    let steps = vec![step(Stream::Normal, &in_lane(read(&tenure)))];
    tenure.commit_turn(&TurnCommit { steps, ..TurnCommit::default() }).unwrap();
    let before = rig.dump();
    assert!(refused(rig.api.post(0, &wish(nonce)).await.unwrap()));
    assert!(rig.dump() == before);
}

/// A server that is out of memory takes no more orders; but what settles them is taken, and what is under way gets done, and that
/// makes room.
#[tokio::test]
async fn out_of_memory_posts_are_refused_and_turns_go_on() {
    let mut rig = Rig::new();
    rig.post(Stream::Normal, 1..3).await;
    let tenure = rig.acquire(1);
    rig.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let post = |stream| {
        let groups = vec![Group { stream, posted: vec![reserve(3)], depth_max: 9 }];
        Post { groups, ..Post::default() }
    };
    let error = rig.api.post(0, &post(Stream::Normal)).await.unwrap_err();
    assert!(matches!(error, PostError::OutOfMemory), "{error}");
    rig.api.post(0, &post(Stream::Settle)).await.unwrap();

    let entries = in_lane(read(&tenure));
    let steps = vec![step(Stream::Normal, &entries)];
    tenure.commit_turn(&TurnCommit { steps, ..sale(0, 3) }).unwrap();
    assert!(tenure.renew().unwrap());
    tenure.release().unwrap();
    rig.acquire(2);
    rig.run(&["CONFIG", "SET", "maxmemory", "0"]);
    rig.api.post(0, &post(Stream::Normal)).await.unwrap();
}

/// A server that starts again, or is told to, has forgotten all scripts.
#[tokio::test]
async fn scripts_that_were_forgotten_are_loaded_again() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    rig.run(&["SCRIPT", "FLUSH"]);
    tenure.commit_turn(&sale(0, 2)).unwrap();
    rig.run(&["SCRIPT", "FLUSH"]);
    assert!(matches!(rig.post(Stream::Normal, 1..2).await, PostReply::Posted { .. }));
    rig.run(&["SCRIPT", "FLUSH"]);
    assert!(tenure.renew().unwrap());
    assert_eq!(in_lane(read(&tenure)).len(), 1, "posted once");
}
