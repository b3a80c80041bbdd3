//! Who asks for what, and when: a schedule that its seed repeats.
//!
//! Three streams of Poisson arrivals, made while they are needed: shoppers over the catalogue, fans
//! of the hot product, and bots after it. Everything a customer is going to do is drawn here, before
//! the sale: what the system answers changes nothing about who comes next.

use std::iter::Peekable;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::poisson::Poisson;
use super::record::{Order, Role};
use super::scenario::{Holders, QUANTITY_MAX, Scenario, Shares, SpanMs};
use super::verdict::Limits;
use crate::random::Random;

/// One customer, and what they are going to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When they ask, in microseconds since the drill began.
    pub at_us: u64,
    /// Who they are.
    pub role: Role,
    /// What they ask for.
    pub order: Order,
    /// Whether they post a form, instead of JSON.
    pub form: bool,
    /// For the impatient: when they give up and come again.
    pub impatience: Option<Impatience>,
    /// What they do with a hold.
    pub holder: Holder,
    /// For a bot: which of the addresses it comes from.
    pub bot_address: Option<usize>,
}

/// An impatient customer's delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impatience {
    /// After asking: hang up.
    pub hang_up_us: u64,
    /// After that, or after the answer: ask again, with the same key.
    pub again_us: u64,
}

/// What is done with a hold, and how long after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It is paid for.
    Confirm(u64),
    /// It is given back.
    Release(u64),
    /// Nothing.
    Lapse,
}

/// The products, under the names that they have in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assortment {
    /// The hot product.
    pub hot: String,
    /// The catalogue, most popular first.
    pub catalogue: Vec<String>,
    /// What tells this run's customers from those of others; empty if there are no others.
    pub run: String,
}

impl Assortment {
    /// Names the products. `run` tells them from those of other runs against the same system. The
    /// hot product keeps its name where the edge has a limit for it by that name.
    pub fn new(scenario: &Scenario, run: &str) -> Self {
        let suffix = if run.is_empty() { String::new() } else { format!("-{run}") };
        let hot = &scenario.hot;
        let has_own_limit = hot.limit.is_some_and(|limit| limit != scenario.default_limit);
        let hot_suffix = if has_own_limit { "" } else { suffix.as_str() };
        let sku = |number| format!("CATALOGUE-{number:05}{suffix}");
        Self {
            hot: format!("{}{hot_suffix}", hot.sku),
            catalogue: (1..=scenario.catalogue.skus).map(sku).collect(),
            run: run.to_owned(),
        }
    }

    /// What the edge is to admit of them.
    pub fn limits(&self, scenario: &Scenario) -> Limits {
        let by_sku = [(self.hot.clone(), scenario.hot_limit())].into();
        Limits { by_sku, ..Limits::all(scenario.default_limit) }
    }

    /// Every product.
    pub fn skus(&self) -> impl Iterator<Item = &str> {
        [&self.hot].into_iter().chain(&self.catalogue).map(String::as_str)
    }
}

/// The schedule: all arrivals, in order of time.
#[derive(Debug)]
pub struct Cast {
    streams: [Peekable<Stream>; 3],
}

impl Cast {
    /// The schedule that belongs to the scenario's seed.
    pub fn new(scenario: &Scenario, assortment: &Assortment) -> Self {
        let mut seeds = Random::new(scenario.seed);
        let mut stream = |part, rates| {
            let times = Poisson::new(rates, scenario.duration_s.into(), seeds.next_u64());
            Stream::new(part, times, seeds.next_u64(), scenario, assortment).peekable()
        };
        let hot = &scenario.hot;
        let jump_at_s = f64::from(hot.jump_at_s);
        let (before, after) = (hot.requests_per_s, hot.requests_per_s * hot.jump_factor);
        let mut fans = vec![(0.0, before), (jump_at_s, after)];
        let mut bots = vec![(jump_at_s, scenario.bots.requests_per_s)];
        if let Some(falls_at_s) = hot.falls_at_s.map(f64::from) {
            fans.push((falls_at_s, before));
            bots.push((falls_at_s, 0.0));
        }
        Self {
            streams: [
                stream(Role::Shopper, vec![(0.0, scenario.catalogue.requests_per_s)]),
                stream(Role::Fan, fans),
                stream(Role::Bot, bots),
            ],
        }
    }
}

impl Iterator for Cast {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let due = |stream: &mut Peekable<Stream>| stream.peek().map_or(u64::MAX, |next| next.at_us);
        let streams = self.streams.iter_mut().map(|stream| (due(stream), stream));
        let (_, first) = streams.min_by_key(|(at_us, _)| *at_us)?;
        first.next()
    }
}

/// The arrivals of one kind.
#[derive(Debug)]
struct Stream {
    part: Role,
    times: Poisson,
    random: StdRng,
    /// Who of the catalogue is how popular; `None` if there is no choice.
    popularity: Option<Zipf<f64>>,
    assortment: Assortment,
    shares: Shares,
    holders: Holders,
    bot_addresses: usize,
    count: u64,
}

impl Stream {
    fn new(
        part: Role,
        times: Poisson,
        seed: u64,
        scenario: &Scenario,
        assortment: &Assortment,
    ) -> Self {
        let catalogue = &scenario.catalogue;
        Self {
            part,
            times,
            random: StdRng::seed_from_u64(seed),
            popularity: Zipf::new(catalogue.skus.into(), catalogue.zipf_exponent).ok(),
            assortment: assortment.clone(),
            shares: scenario.cast.clone(),
            holders: scenario.holders.clone(),
            bot_addresses: scenario.bots.addresses.into(),
            count: 0,
        }
    }

    /// Fans and shoppers may be impatient, or sit behind a legacy frontend.
    fn role(&mut self) -> Role {
        let drawn: f64 = self.random.random();
        let Shares { legacy, impatient, .. } = self.shares;
        match self.part {
            Role::Bot => Role::Bot,
            _ if drawn < legacy => Role::Legacy,
            _ if drawn < legacy + impatient => Role::Impatient,
            patient => patient,
        }
    }

    fn order(&mut self, role: Role) -> Order {
        let sku = match self.part {
            Role::Shopper => {
                let rank = self.popularity.map_or(1.0, |zipf| zipf.sample(&mut self.random));
                // Ranks begin with 1.
                let last = self.assortment.catalogue.len().saturating_sub(1);
                &self.assortment.catalogue[(rank as usize).saturating_sub(1).min(last)]
            }
            _ => &self.assortment.hot,
        };
        let has_key = match role {
            Role::Impatient => true,
            Role::Legacy | Role::Bot => false,
            _ => self.random.random_bool(self.shares.keyed),
        };
        // Most people want one. Bots do: a cart of many would be noticed.
        let wants_more = self.part != Role::Bot && self.random.random_bool(0.1);
        let quantity = if wants_more { self.random.random_range(2..=QUANTITY_MAX) } else { 1 };
        let part = match self.part {
            Role::Shopper => "shopper",
            Role::Fan => "fan",
            _ => "bot",
        };
        let (count, run) = (self.count, &self.assortment.run);
        Order {
            sku: sku.clone(),
            quantity,
            // Unique over all runs against a system, and with the customer the key.
            customer: format!("{part}-{count}{}{run}", if run.is_empty() { "" } else { "-" }),
            key: has_key.then(|| format!("order-{count}")),
        }
    }

    fn holder(&mut self) -> Holder {
        let drawn: f64 = self.random.random();
        let after_us = self.span_us(self.holders.after_ms);
        let Holders { confirm, release, .. } = self.holders;
        match drawn {
            drawn if drawn < confirm => Holder::Confirm(after_us),
            drawn if drawn < confirm + release => Holder::Release(after_us),
            _ => Holder::Lapse,
        }
    }

    fn impatience(&mut self) -> Impatience {
        Impatience {
            hang_up_us: self.span_us(self.shares.hang_up_ms),
            again_us: self.span_us(self.shares.again_ms),
        }
    }

    fn span_us(&mut self, (least, most): SpanMs) -> u64 {
        self.random.random_range(least * 1_000..=most * 1_000)
    }
}

impl Iterator for Stream {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let at_us = self.times.next()?;
        self.count += 1;
        let role = self.role();
        let order = self.order(role);
        let impatience = (role == Role::Impatient).then(|| self.impatience());
        let holder = self.holder();
        let bot_address =
            (role == Role::Bot).then(|| self.random.random_range(0..self.bot_addresses));
        let form = role == Role::Legacy;
        Some(Arrival { at_us, role, order, form, impatience, holder, bot_address })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::drill::scenario::Overrides;
    use crate::paths::repo_root;

    fn sale(seed: u64) -> Scenario {
        let path = repo_root().join("tests/scenarios/sale.toml");
        Scenario::read(&path, Overrides { seed: Some(seed), duration_s: Some(30) }).unwrap()
    }

    fn arrivals(seed: u64) -> Vec<Arrival> {
        let sale = sale(seed);
        Cast::new(&sale, &Assortment::new(&sale, "")).collect()
    }

    fn part(all: &[Arrival], matches: impl Fn(&Arrival) -> bool) -> f64 {
        all.iter().filter(|arrival| matches(arrival)).count() as f64 / all.len() as f64
    }

    #[track_caller]
    fn check(what: f64, expected: f64) {
        assert!((what - expected).abs() < 0.02, "{what}, not {expected}");
    }

    #[test]
    fn a_seed_repeats_its_schedule() {
        let (first, again, other) = (arrivals(1), arrivals(1), arrivals(2));
        assert_eq!(first, again);
        assert_ne!(first[..100], other[..100]);
        assert!(first.is_sorted_by_key(|arrival| arrival.at_us));
    }

    #[test]
    fn everybody_plays_their_part() {
        let all = arrivals(3);
        let (bots, people): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|arrival| arrival.role == Role::Bot);
        check(part(&people, |a| a.role == Role::Legacy), 0.2);
        check(part(&people, |a| a.role == Role::Impatient), 0.1);
        check(part(&people, |a| matches!(a.holder, Holder::Confirm(_))), 0.65);
        check(part(&people, |a| matches!(a.holder, Holder::Release(_))), 0.2);
        check(part(&bots, |a| a.bot_address == Some(0)), 0.25);
        assert!(bots.iter().all(|a| a.at_us >= 15_000_000 && a.order.key.is_none()));
        for arrival in &people {
            let Arrival { role, order, form, impatience, bot_address, .. } = arrival;
            assert_eq!(*form, *role == Role::Legacy);
            assert_eq!(impatience.is_some(), *role == Role::Impatient);
            assert!(*role != Role::Impatient || order.key.is_some());
            assert!(*role != Role::Legacy || order.key.is_none());
            assert!((1..=QUANTITY_MAX).contains(&order.quantity) && bot_address.is_none());
        }
    }

    #[test]
    fn demand_for_the_hot_product_jumps_a_hundredfold() {
        let all = arrivals(4);
        let per_s = |from_s: u64, to_s: u64| {
            let within = from_s * 1_000_000..to_s * 1_000_000;
            let is_hot = |a: &&Arrival| a.order.sku == "SNEAKER" && a.role != Role::Bot;
            let count = all.iter().filter(is_hot).filter(|a| within.contains(&a.at_us)).count();
            count as f64 / (to_s - from_s) as f64
        };
        let jump = per_s(15, 30) / per_s(0, 15);
        // 300 arrivals before it: three standard deviations are 17%.
        assert!((83.0..120.0).contains(&jump), "{jump}");
    }

    #[test]
    fn demand_falls_to_what_it_was() {
        let mut sale = sale(4);
        sale.hot.falls_at_s = Some(20);
        let all: Vec<_> = Cast::new(&sale, &Assortment::new(&sale, "")).collect();
        let within = |from_s: u64, to_s: u64| {
            let hot = all.iter().filter(|arrival| arrival.order.sku == "SNEAKER");
            let within = from_s * 1_000_000..to_s * 1_000_000;
            hot.filter(|arrival| within.contains(&arrival.at_us)).count()
        };
        // 100 and 200 are expected: five standard deviations are half of that.
        assert!((50..150).contains(&within(0, 5)) && (130..270).contains(&within(20, 30)));
        assert!(all.iter().all(|a| a.role != Role::Bot || a.at_us < 20_000_000));
    }

    #[test]
    fn the_catalogue_is_zipf() {
        let mut counts = BTreeMap::<String, f64>::new();
        let all = arrivals(5).into_iter().filter(|arrival| arrival.order.sku != "SNEAKER");
        all.for_each(|arrival| *counts.entry(arrival.order.sku).or_default() += 1.0);
        let count = |rank: u32| counts[&format!("CATALOGUE-{rank:05}")];
        let total: f64 = counts.values().sum();
        // 1 / H(2000) = 0.122
        check(count(1) / total, 0.122);
        check(count(2) / count(1) / 10.0, 0.05);
        check(count(10) / count(1) / 10.0, 0.01);
    }

    #[test]
    fn a_run_has_names_of_its_own() {
        let mut sale = sale(6);
        let named = Assortment::new(&sale, "r1");
        assert_eq!(
            (named.hot.as_str(), named.catalogue[0].as_str()),
            ("SNEAKER", "CATALOGUE-00001-r1")
        );
        assert_eq!(named.skus().count(), 2_001);
        assert!(Cast::new(&sale, &named).take(9).all(|a| a.order.customer.ends_with("-r1")));
        for limit in [Some(sale.default_limit), None] {
            sale.hot.limit = limit;
            assert_eq!(Assortment::new(&sale, "r1").hot, "SNEAKER-r1");
        }
    }
}
