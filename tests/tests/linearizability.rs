//! Histories of clients who do anything at any time, recorded over HTTP against the real service:
//! each SKU's is linearizable (`cartgate_tests::linear` says what that means here), also while the
//! service is killed and started again, and while SKUs are made hot items and taken back.
//!
//! `CARTGATE_TEST_STORE` says which store they are of. `CARTGATE_HISTORIES` records so many of each kind, instead of one. A failure prints its seed and
//! the answers that contradict one another, and leaves the whole history in
//! `target/linearizability`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use cartgate_tests::linear::{
    Action, Answer, End, History, Operation, Plan, Recording, Verdict, check, record, shrink,
};
use cartgate_tests::paths::repo_root;
use cartgate_tests::random::Random;
use cartgate_tests::{Service, ServiceOptions, StoreKind};
use tempfile::TempDir;
use tokio::time::sleep;

/// How many configurations are looked at for one history before the search is given up. Honest ones need
/// about as many as they have operations; but one in some hundreds, with 29 lost answers among 360, needed
/// 336,273.
const CONFIGURATIONS_MAX: usize = 3_000_000;

/// How many histories over `kill -9` are recorded before one has to be decided.
const ATTEMPTS_MAX: usize = 4;

/// How long each history is recorded.
const LASTS: Duration = Duration::from_millis(2_000);

/// Holds so short that they expire all the time, and waits after which most answers are there.
const QUICK: &str = "hold_ms = 300\n";

/// One bucket for all, so that SKUs share their queues; lanes so slow and waits so short that many
/// get tickets.
const SLOW: &str = "hold_ms = 300\nwait_ms = 10\nbuckets = 1\n[lanes]\nreserves_per_s = 100\n";

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_linearizable() {
    record_and_judge(
        "quick",
        QUICK,
        &["held", "sold out", "done", "expired", "refused", "perhaps"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_of_one_bucket_with_tickets_are_linearizable() {
    record_and_judge("slow", SLOW, &["held", "sold out", "done", "queued", "expired", "perhaps"])
        .await;
}

/// How many histories more are recorded at most until everything was told in some: a busy machine does little
/// in the time that one takes.
const MORE_MAX: usize = 5;

async fn record_and_judge(name: &str, settings: &str, words: &[&str]) {
    let mut recordings = Vec::new();
    for number in 0..histories() + MORE_MAX {
        if number >= histories() && untold(&recordings, words).is_none() {
            break;
        }
        let dir = tempfile::tempdir().unwrap();
        let service = Service::start(&options(&dir).settings(settings)).await.unwrap();
        let recording = record(plan(&mut Random::from_env()), service.address()).await;
        assert!(judge(name, &recording), "undecided");
        recordings.push(recording);
    }
    assert_told(&recordings, words);
}

/// Where most answers were lost, too many orders explain the rest, and the search is given up: then another
/// history is recorded. None may be refused, and one of each seed's has to be decided.
#[tokio::test(flavor = "multi_thread")]
async fn histories_are_linearizable_over_kill_9() {
    let mut recordings = Vec::new();
    for _ in 0..histories() {
        let mut random = Random::from_env();
        let mut decided = None;
        for _ in 0..ATTEMPTS_MAX {
            let recording = record_over_kill_9(&mut random).await;
            if judge("killed", &recording) {
                decided = Some(recording);
                break;
            }
        }
        recordings.push(decided.expect("a history that is decided"));
    }
    assert_told(&recordings, &["held", "sold out", "done", "queued", "perhaps"]);
}

async fn record_over_kill_9(random: &mut Random) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir).settings(SLOW);
    let mut service = Service::start(&options).await.unwrap();
    let (plan, mut fate) = (plan(random), random.split());
    let recording = tokio::spawn(record(plan, service.address()));
    let (began, mut kills) = (Instant::now(), 0);
    loop {
        sleep(Duration::from_millis(100 + fate.below(600))).await;
        if began.elapsed() > LASTS {
            break;
        }
        service.process.kill().await.unwrap();
        kills += 1;
        service = Service::start(&options).await.unwrap();
    }
    let recording = recording.await.unwrap();
    println!("killed {kills} times");
    assert!(kills > 0);
    recording
}

/// Control: a recorded history in which one answer is not what it was is refused, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_falsified_answer_is_found_out() {
    let mut random = Random::from_env();
    let mut found = BTreeMap::<&str, usize>::new();
    // Not each history has every kind of answer: a busy machine does little in half a second.
    for _ in 0..20 {
        falsify_each(&mut random, &mut found).await;
        if found.len() == 4 {
            break;
        }
    }
    println!("found out: {found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
}

/// Records a history, makes one answer after the other wrong, and counts them by what was wrong.
async fn falsify_each(random: &mut Random, found: &mut BTreeMap<&str, usize>) {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(QUICK);
    let service = Service::start(&options).await.unwrap();
    let plan = Plan { lasts: Duration::from_millis(500), ..plan(random) };
    let recording = record(plan, service.address()).await;
    for history in recording.histories.values() {
        assert!(matches!(check(history, CONFIGURATIONS_MAX), Verdict::Linearizable(_)));
        for place in 0..history.operations.len() {
            let mut history = history.clone();
            let Some(lie) = falsify(&mut history.operations[place]) else { continue };
            let verdict = check(&history, CONFIGURATIONS_MAX);
            let operation = &history.operations[place];
            assert_eq!(verdict, Verdict::Refused, "{lie}: {operation}");
            *found.entry(lie).or_default() += 1;
        }
    }
}

/// Control: the history of a service that was killed and came back with older data is refused, and
/// the story told of it is short.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_forgets_is_found_out() {
    let mut random = Random::from_env();
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(QUICK);
    let mut service = Service::start(&options).await.unwrap();
    let recording = tokio::spawn(record(plan(&mut random), service.address()));
    let kept = dir.path().join("kept");
    for (from, to) in [(options.data(), kept.clone()), (kept, options.data())] {
        sleep(Duration::from_millis(500)).await;
        service.process.kill().await.unwrap();
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        let copied = Command::new("cp").arg("--recursive").args([from, to]).status();
        assert!(copied.unwrap().success());
        service = Service::start(&options).await.unwrap();
    }
    let recording = recording.await.unwrap();
    let verdicts = recording.histories.values().map(|history| check(history, CONFIGURATIONS_MAX));
    let verdicts: Vec<Verdict> = verdicts.collect();
    let refused = verdicts.iter().position(|verdict| *verdict == Verdict::Refused);
    let history = recording.histories.values().nth(refused.expect("nothing found")).unwrap();
    let story = shrink(history);
    assert_eq!(check(&story.history, CONFIGURATIONS_MAX), Verdict::Refused);
    println!("{verdicts:?}\n{story}");
}

/// Makes an answer wrong, in a way that no other order of what happened can explain.
fn falsify(operation: &mut Operation) -> Option<&'static str> {
    match &mut operation.told.as_mut()?.answer {
        Answer::Stock { available, .. } => {
            *available += 1;
            Some("a unit that is not there")
        }
        answer @ Answer::SoldOut { .. } => {
            *answer = Answer::Held { id: "of nobody".to_owned(), expires_us: u64::MAX };
            Some("held, though sold out")
        }
        Answer::BelowCommitted { committed } => {
            *committed += 100;
            Some("units committed that are not there")
        }
        answer @ Answer::Settled => {
            let Action::Settle { end, .. } = operation.action else { return None };
            let other = if end == End::Confirmed { End::Released } else { End::Confirmed };
            *answer = Answer::Ended(other);
            Some("ended otherwise")
        }
        _ => None,
    }
}

/// A service on the store that this run is about.
fn options(dir: &TempDir) -> ServiceOptions {
    ServiceOptions::new(dir.path()).own_store(StoreKind::from_env())
}

fn histories() -> usize {
    let given = std::env::var("CARTGATE_HISTORIES").ok().and_then(|given| given.parse().ok());
    given.unwrap_or(1)
}

fn plan(random: &mut Random) -> Plan {
    let skus = ["A", "B", "C"].map(str::to_owned).into();
    Plan { random: random.split(), skus, clients: 12, lasts: LASTS }
}

/// Checks each SKU's history, and says whether all were decided. Keeps one that was not.
///
/// # Panics
/// One is not linearizable.
fn judge(name: &str, recording: &Recording) -> bool {
    let mut are_decided = true;
    println!("{name}: {} times a SKU became a hot item, or ceased to be one", recording.moves);
    for (sku, history) in &recording.histories {
        let verdict = check(history, CONFIGURATIONS_MAX);
        println!("{name}, {sku}: {} operations, {verdict:?}", history.operations.len());
        match verdict {
            Verdict::Linearizable(_) => {}
            Verdict::Refused => {
                let kept = keep(name, sku, history);
                panic!("{sku} is not linearizable, {kept}\n{}", shrink(history));
            }
            Verdict::Undecided => {
                println!("{sku}: the search took too long, {}", keep(name, sku, history));
                are_decided = false;
            }
        }
    }
    are_decided
}

fn keep(name: &str, sku: &str, history: &History) -> String {
    let dir = repo_root().join("target/linearizability");
    let path = dir.join(format!("{name}-{sku}.json"));
    let text = serde_json::to_string(history).unwrap();
    match fs::create_dir_all(&dir).and_then(|()| fs::write(&path, text)) {
        Ok(()) => format!("history in {}", path.display()),
        Err(error) => format!("history not kept: {error}"),
    }
}

/// Histories in which something never happened would prove nothing about it.
fn assert_told(recordings: &[Recording], words: &[&str]) {
    assert_eq!(untold(recordings, words), None, "nobody was told");
}

/// What nobody was told.
fn untold<'a>(recordings: &[Recording], words: &[&'a str]) -> Option<&'a str> {
    let histories = recordings.iter().flat_map(|recording| recording.histories.values());
    let operations = histories.flat_map(|history| &history.operations);
    let said: Vec<String> = operations.map(ToString::to_string).collect();
    words.iter().copied().find(|word| !said.iter().any(|line| line.contains(word)))
}
