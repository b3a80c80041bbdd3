use super::*;
use crate::gcra::Limit;

fn sku(n: usize) -> Sku {
    Sku::parse(&format!("A{n}")).unwrap()
}

fn item(n: usize) -> Item {
    Item {
        sku: sku(n),
        limit: Some(Limit::new(10, 20).unwrap()),
        client_limit: None,
        opens_at_ms: None,
        closes_at_ms: None,
        sold_out_until_ms: None,
        is_paused: false,
    }
}

fn reply(items: Vec<Item>, gone: Vec<Sku>) -> Reply {
    Reply {
        version: Version { incarnation: 1, revision: 1 },
        session: Session::Renewed,
        ttl_ms: 2_000,
        report_in_ms: 200,
        edges: 1,
        now_ms: 0,
        is_all: false,
        items,
        gone,
        shares: Vec::new(),
    }
}

fn reporter() -> Reporter {
    Reporter::default()
}

fn exchange(reporter: &mut Reporter, reply: Reply) -> Change {
    reporter.report(Vec::new(), 0, 0);
    reporter.accept(reply, 0)
}

#[test]
fn places_are_used_again_and_bounded() {
    let mut reporter = reporter();
    let places = |change: Change| change.shares.iter().map(|share| share.1).collect::<Vec<_>>();
    let change = exchange(&mut reporter, reply(vec![item(0), item(1), item(2)], Vec::new()));
    assert_eq!(places(change), [0, 1, 2]);
    let change = exchange(&mut reporter, reply(vec![item(3), item(4)], vec![sku(1)]));
    assert_eq!(places(change), [1, 3]);
    let many = (10..20_000).map(item).collect();
    exchange(&mut reporter, reply(many, Vec::new()));
    assert_eq!(reporter.table().items.len(), usize::from(Reporter::PLACES_MAX));
}

#[test]
fn a_share_goes_with_its_limit() {
    let mut reporter = reporter();
    let shares = vec![(sku(0), 1, 5), (sku(9), 1, 5)];
    let change = exchange(&mut reporter, Reply { shares, ..reply(vec![item(0)], Vec::new()) });
    let allowance = |per_second, burst| Allowance { per_second, burst };
    assert_eq!(change.shares[1..], [(sku(0), 0, allowance(5, 10))]);
    let other = Item { limit: Some(Limit::new(10, 40).unwrap()), ..item(0) };
    let change = exchange(&mut reporter, reply(vec![other], Vec::new()));
    assert_eq!(change.shares, [(sku(0), 0, allowance(5, 20))]);
    let none = Item { limit: None, ..item(0) };
    let change = exchange(&mut reporter, reply(vec![none], Vec::new()));
    assert_eq!(change.shares, []);
    assert_eq!(reporter.table().items[&sku(0)].share, None);
}

#[test]
fn demand_follows_what_is_asked_for() {
    let mut reporter = reporter();
    exchange(&mut reporter, reply(vec![item(0)], Vec::new()));
    assert!(!reporter.is_due(100));
    let mut demands = Vec::new();
    for n in 0..40 {
        let units = if n < 20 { 50 } else { 0 };
        // Nothing is known of the second.
        reporter.ask(&[units, 100], 50);
        // The first time that somebody asks for it there is no time to lose.
        assert!(n > 0 || reporter.is_due(100));
        let report = reporter.report(Vec::new(), 0, 100);
        reporter.accept(reply(Vec::new(), Vec::new()), 100);
        demands.push(report.items.iter().map(|item| item.demand).sum::<u32>());
    }
    assert!((900..=1_000).contains(&demands[12]), "{demands:?}");
    assert!((1..100).contains(&demands[32]), "{demands:?}");
    for _ in 0..20 {
        reporter.ask(&[], 50);
    }
    assert_eq!(reporter.report(Vec::new(), 0, 100).items, []);
}

/// Its place becomes another's.
#[test]
fn demand_goes_with_its_item() {
    for is_all in [false, true] {
        let mut reporter = reporter();
        exchange(&mut reporter, reply(vec![item(0)], Vec::new()));
        reporter.ask(&[1_000], 1_000);
        let gone = if is_all { Vec::new() } else { vec![sku(0)] };
        exchange(&mut reporter, Reply { is_all, ..reply(vec![item(1)], gone) });
        assert_eq!(reporter.table().items[&sku(1)].place, 0);
        assert_eq!(reporter.report(Vec::new(), 0, 100).items, []);
    }
}

#[test]
fn after_failures_it_waits_longer_and_not_as_others() {
    let mut reporter = reporter();
    for (failure, least, most) in
        [(1, 100, 200), (2, 200, 400), (6, 2_500, 5_000), (99, 2_500, 5_000)]
    {
        while reporter.failures() < failure {
            reporter.report(Vec::new(), 0, 0);
            reporter.fail(reporter.number() * 7_919, 0);
        }
        assert!(!reporter.is_due(least - 1) && reporter.is_due(most), "failure {failure}");
    }
    exchange(&mut reporter, reply(Vec::new(), Vec::new()));
    assert_eq!(reporter.failures(), 0);
}

#[test]
fn it_waits_for_an_answer() {
    let mut reporter = reporter();
    assert!(reporter.is_due(0));
    reporter.report(Vec::new(), 0, 0);
    assert!(!reporter.is_due(10_000));
    reporter.accept(reply(Vec::new(), Vec::new()), 10_000);
    assert!(!reporter.is_due(10_099) && reporter.is_due(10_100), "a pause");
    reporter.report(Vec::new(), 0, 20_000);
    reporter.accept(reply(Vec::new(), Vec::new()), 20_005);
    // Ticks every 100 ms, the last a little early.
    assert!(!reporter.is_due(20_100) && reporter.is_due(20_195));
    // An answer that nobody waits for changes nothing.
    assert_eq!(reporter.accept(reply(vec![item(0)], Vec::new()), 10_200), Change::default());
}

/// What its meter had may be of a limit of long ago.
#[test]
fn a_limit_that_comes_back_begins_without_a_share() {
    let mut reporter = reporter();
    let shares = vec![(sku(0), 1, 5)];
    exchange(&mut reporter, Reply { shares, ..reply(vec![item(0)], Vec::new()) });
    exchange(&mut reporter, reply(vec![Item { limit: None, ..item(0) }], Vec::new()));
    let change = exchange(&mut reporter, reply(vec![item(0)], Vec::new()));
    assert_eq!(change.shares, [(sku(0), 0, Allowance::default())]);
}
