//! A turn's parts that the suite of all stores does not know: lanes, answers, bounds.

use std::collections::HashMap;
use std::sync::mpsc;

use super::*;
use crate::store::Durability;
use crate::store::tenure::{Answer, Reached, Route, RouteChange, Told};

fn route(route: Option<Route>, mark_in: Option<Stream>) -> TurnCommit {
    let change = RouteChange { sku: sku("A"), route, mark_in };
    TurnCommit { routes: vec![change], ..TurnCommit::default() }
}

/// A lane's whole life: the marks are where they should be, and nothing of it stays.
#[tokio::test]
async fn a_lane_of_its_own_comes_and_goes() {
    let mut rig = Rig::new();
    let hot = Stream::Hot(sku("A"));
    let tenure = rig.acquire(1);
    rig.post(Stream::Normal, 1..2).await;
    tenure.commit_turn(&route(Some(Route::Joining), Some(Stream::Normal))).unwrap();
    let entries = in_lane(read(&tenure));
    assert_eq!(entries[1].posted, [Posted::Handoff(sku("A"))]);
    assert_ne!(entries[1].nonce, 0);
    tenure.commit_turn(&route(Some(Route::Open), None)).unwrap();
    let (joined_version, routes) = rig.api.routes(0).await.unwrap();
    assert_eq!(routes, [(sku("A"), Route::Open)]);
    rig.post_by(joined_version, hot.clone(), 2..4).await;
    tenure.commit_turn(&route(Some(Route::Leaving), Some(hot.clone()))).unwrap();
    let (routes_version, _) = rig.api.routes(0).await.unwrap();
    let moved = PostReply::Moved { routes_version, own_lanes: vec![] };
    assert_eq!(rig.post_by(joined_version, hot.clone(), 4..5).await, moved, "to the normal lane");

    let from = [(hot.clone(), EntryId::default())];
    let arrived = tenure.read(&from, READ_MAX, Duration::ZERO).unwrap();
    let entries = &arrived.entries[0].1;
    assert_eq!(entries[1].posted, [Posted::Handoff(sku("A"))]);
    let first = step(hot.clone(), &entries[..1]);
    let second = Step { decided: 0, ..step(hot.clone(), entries) };
    tenure.commit_turn(&TurnCommit { steps: vec![first.clone()], ..<_>::default() }).unwrap();
    assert_eq!(tenure.progress().unwrap().cursors, [(hot.clone(), first.to)]);
    tenure.commit_turn(&TurnCommit { steps: vec![second], ..route(None, None) }).unwrap();
    let progress = tenure.progress().unwrap();
    assert_eq!((progress.cursors, progress.routes), (vec![], vec![]));
    assert_eq!(rig.api.depths(0).await.unwrap(), [(Stream::Normal, 1)], "marks do not count");
    assert_eq!(rig.ask::<u8>(&["EXISTS", "{cg:0}:lane:A"]), 0);
}

/// Tickets go by it: whoever repeats a command may do so in another stream.
#[tokio::test]
async fn what_comes_behind_a_mark_has_a_later_place() {
    let mut rig = Rig::new();
    let hot = Stream::Hot(sku("A"));
    let tenure = rig.acquire(1);
    // The clock has been set back since.
    let earlier = ["XADD", "{cg:0}:lane", "99999999999999-5", "n", "ff", "t", "1", "h", "B"];
    rig.run(&earlier);
    let ways =
        [(Route::Joining, Stream::Normal, hot.clone()), (Route::Leaving, hot, Stream::Normal)];
    for (number, (change, from, to)) in (1..).zip(ways) {
        let all = [&from, &to].map(|stream| (stream.clone(), EntryId::default()));
        tenure.commit_turn(&route(Some(change), Some(from.clone()))).unwrap();
        let (version, _) = rig.api.routes(0).await.unwrap();
        rig.post_by(version, to.clone(), number..number + 1).await;
        let entries: HashMap<_, _> =
            tenure.read(&all, READ_MAX, Duration::ZERO).unwrap().entries.into_iter().collect();
        let [mark, posted] = [&from, &to].map(|stream| entries[stream].last().unwrap());
        assert_eq!(mark.posted, [Posted::Handoff(sku("A"))]);
        assert_eq!(posted.posted, [reserve(number)]);
        assert!(posted.id > mark.id, "{:?} behind {:?}", posted.id, mark.id);
    }
}

/// What is decided out of order is trimmed when all before it is.
#[tokio::test]
async fn a_stream_is_trimmed_to_what_is_undecided() {
    let rig = Rig::new();
    let tenure = rig.acquire(1);
    for number in 1..4 {
        rig.post(Stream::Normal, number..number + 1).await;
    }
    let entries = in_lane(read(&tenure));
    let place = |entry: &Entry| Place { entry: entry.id, index: 0 };
    let beyond = Cursor { next: place(&entries[0]), beyond: vec![place(&entries[1])] };
    let mut first = step(Stream::Normal, &entries);
    (first.to, first.decided) = (beyond.clone(), 1);
    tenure.commit_turn(&TurnCommit { steps: vec![first], ..<_>::default() }).unwrap();
    assert_eq!(in_lane(read(&tenure)).len(), 3);
    let progress = rig.acquire(1).progress().unwrap();
    assert_eq!(progress.cursors, [(Stream::Normal, beyond.clone())]);

    let tenure = rig.acquire(1);
    let mut second = step(Stream::Normal, &entries);
    second.to = Cursor { next: place(&entries[2]), beyond: vec![] };
    second.decided = 1;
    tenure.commit_turn(&TurnCommit { steps: vec![second], ..<_>::default() }).unwrap();
    assert_eq!(in_lane(read(&tenure)), entries[2..]);
    assert_eq!(rig.api.depths(0).await.unwrap(), [(Stream::Normal, 1)]);
}

/// What is judged at `now` rests on each settle command that came before it.
#[tokio::test]
async fn a_read_that_is_cut_off_is_of_the_time_of_its_end() {
    let rig = Rig::new();
    for number in 1..4 {
        rig.post(Stream::Settle, number..number + 1).await;
    }
    let tenure = rig.acquire(1);
    let from = all_from_the_beginning();
    let arrived = tenure.read(&from, 2, Duration::ZERO).unwrap();
    let settle = &arrived.entries[0].1;
    assert_eq!((settle.len(), arrived.now), (2, settle[1].at));
    let arrived = tenure.read(&from, 4, Duration::ZERO).unwrap();
    assert!(arrived.now >= arrived.entries[0].1[2].at);
    let after = [(Stream::Settle, arrived.entries[0].1[1].id)];
    let arrived = tenure.read(&after, 4, Duration::ZERO).unwrap();
    assert_eq!(arrived.entries[0].1.len(), 1, "from the one after");
}

/// The lease is kept meanwhile: a read that waits keeps nobody else waiting.
#[tokio::test]
async fn a_read_waits_for_what_comes() {
    let rig = Rig::new();
    let tenure = rig.acquire(1);
    let (send, received) = mpsc::channel();
    let reader = std::sync::Arc::clone(&tenure);
    let thread = std::thread::spawn(move || {
        let wait = Duration::from_secs(60);
        send.send(()).unwrap();
        reader.read(&all_from_the_beginning(), READ_MAX, wait).unwrap()
    });
    received.recv().unwrap();
    assert!(tenure.renew().unwrap());
    rig.post(Stream::Normal, 1..2).await;
    assert_eq!(in_lane(thread.join().unwrap()).len(), 1);

    let wait = Duration::from_millis(1);
    let from = [(Stream::Settle, EntryId::default())];
    let nothing = tenure.read(&from, READ_MAX, wait).unwrap();
    assert_eq!(nothing.entries, []);
    assert!(nothing.now > UnixMs(0));
}

fn answer(process: u64, number: u64) -> Answer {
    Answer { reply: ReplyTo { process, number }, told: Told::TooManyHotItems }
}

#[tokio::test]
async fn answers_are_kept_and_published_to_whom_they_concern() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    let elsewhere = rig.server.store().api();
    let mut hearing = elsewhere.hear(7).await.unwrap();
    let answers = vec![answer(7, 1), answer(8, 2), answer(7, 3)];
    let turn = TurnCommit { answers: answers.clone(), ..TurnCommit::default() };
    tenure.commit_turn(&turn).unwrap();
    let replicas = Some(2);
    let reached = Reached { replicas, ..Reached::at_least(Durability::Disk) };
    tenure.publish(&answers, reached).unwrap();
    let heard = hearing.next().await.unwrap().unwrap();
    assert_eq!((heard.bucket, &heard.answers), (0, &vec![answer(7, 1), answer(7, 3)]));
    assert_eq!(heard.reached, reached);

    let kept = rig.api.answers(0, EntryId::default(), 9).await.unwrap();
    assert_eq!(kept, [(heard.entry, answers.clone())]);
    assert_eq!(rig.api.answers(0, heard.entry, 9).await.unwrap(), []);

    // The next owner tells them again.
    let next = rig.acquire(1);
    assert_eq!(next.last_answers().unwrap(), answers);
    next.publish(&answers, reached).unwrap();
    assert_eq!(hearing.next().await.unwrap().unwrap(), heard);
    rig.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert!(hearing.next().await.is_none(), "it is told that it may miss something");
    assert_eq!(rig.ask::<u64>(&["XLEN", "{cg:0}:answers"]), 1);
}

/// What is told in the owner's process comes past the server, unless it is too much at once.
#[tokio::test]
async fn callers_of_the_owners_process_are_told_directly() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    let mut hearing = rig.api.hear(7).await.unwrap();
    let reached = Reached::at_least(Durability::Disk);
    let told = 1_030;
    for number in 0..told {
        tenure.publish(&[answer(7, number)], reached).unwrap();
    }
    for number in 0..told {
        let heard = hearing.next().await.unwrap().unwrap();
        assert_eq!((heard.reached, heard.answers), (reached, vec![answer(7, number)]));
    }
    let read = tenure.read(&all_from_the_beginning(), READ_MAX, Duration::ZERO).unwrap();
    assert_eq!(read.entries, [], "a reply that nobody waited for is taken for no other");
    let published = rig.ask::<redis::InfoDict>(&["INFO", "commandstats"]);
    let published: String = published.get("cmdstat_publish").unwrap();
    assert!(published.starts_with("calls=6,"), "{published}");

    drop(hearing);
    let mut hearing = rig.api.hear(7).await.unwrap();
    tenure.publish(&[answer(7, told)], reached).unwrap();
    assert_eq!(hearing.next().await.unwrap().unwrap().answers, [answer(7, told)]);
}

/// Answers are kept for as long as somebody may look for them, and no longer.
#[test]
fn old_answers_go() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    // In entries of their own: whole nodes of the stream go at once.
    for ms in 1..300 {
        let id = format!("{ms}-0");
        rig.run(&["XADD", "{cg:0}:answers", &id, "d", &"x".repeat(100)]);
    }
    let turn = TurnCommit { answers: vec![answer(7, 1)], ..TurnCommit::default() };
    tenure.commit_turn(&turn).unwrap();
    let left = rig.ask::<u64>(&["XLEN", "{cg:0}:answers"]);
    assert!(left <= 100, "{left} are left");
    assert_eq!(tenure.last_answers().unwrap(), turn.answers);
}

#[tokio::test]
async fn a_journal_is_kept_so_many_versions_back() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(directory.path());
    let store = server.store_with(crate::store::redis::Settings { journal_max: 3, ..settings() });
    let tenure = store.acquire(0, WorkerId(1)).unwrap().unwrap();
    for version in 0..5 {
        tenure.commit_turn(&sale(version, version + 1)).unwrap();
    }
    let versions = |after| -> Vec<u64> {
        let entries = tenure.journal(&sku("A"), after, 9).unwrap();
        entries.iter().map(|entry| entry.version).collect()
    };
    assert_eq!(versions(2), [3, 4, 5]);
    assert_eq!(versions(5), [0; 0]);
    for after in [0, 1] {
        let error = tenure.journal(&sku("A"), after, 9).unwrap_err();
        assert!(matches!(error, StoreError::JournalTrimmed { first: 3, .. }), "{error}");
        let error = store.api().journal(0, &sku("A"), after, 9).await.unwrap_err();
        assert!(matches!(error, StoreError::JournalTrimmed { first: 3, .. }), "{error}");
    }
    assert_eq!(store.api().journal(0, &sku("A"), 3, 1).await.unwrap().len(), 1);
    tenure.load().unwrap();
    assert!(available(&tenure).is_some());
}

/// What a turn is going to ask about is fetched at once, and is what the last commit left.
#[test]
fn what_is_expected_is_as_the_last_commit_left_it() {
    let rig = Rig::new();
    let tenure = rig.acquire(1);
    tenure.expect(&[id(2), id(3)], &[id(2)]).unwrap();
    assert_eq!(tenure.ended_reservation(id(2)).unwrap(), None);
    let state = cartgate_ledger::ReservationState::SoldOut { available: 0 };
    let refused = cartgate_ledger::Reservation { state, ..held(2) };
    let commit = Commit { reservations: vec![(sku("A"), refused.clone())], ..Commit::default() };
    tenure.commit_turn(&TurnCommit { commit, ..TurnCommit::default() }).unwrap();
    assert_eq!(tenure.ended_reservation(id(2)).unwrap(), Some(refused));
    assert_eq!(tenure.adjustment(id(2)).unwrap(), None);
}
