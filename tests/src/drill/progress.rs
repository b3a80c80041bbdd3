//! What is seen of the drill while it runs.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::record::Answer;

/// How often the bar changes: often enough to look alive.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal: seldom enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Live counts: customers by what they were told in the end, and calls under way.
#[derive(Debug, Default)]
pub struct Counts {
    offered: AtomicU64,
    held: AtomicU64,
    over_limit: AtomicU64,
    sold_out: AtomicU64,
    in_flight: AtomicU64,
    not_sent: AtomicU64,
    failed: AtomicU64,
    answered: AtomicU64,
}

impl Counts {
    /// A customer has come.
    pub fn offer(&self) {
        add(&self.offered);
    }

    /// A call goes out.
    pub fn begin(&self) {
        add(&self.in_flight);
    }

    /// A call has ended.
    pub fn end(&self, answer: &Answer) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if answer.is_from_service() {
            add(&self.answered);
        }
    }

    /// How many calls the service has answered.
    pub fn answered(&self) -> u64 {
        get(&self.answered)
    }

    /// A customer has been told the outcome, or will not be told.
    pub fn decide(&self, outcome: &Answer) {
        match outcome {
            Answer::Held { .. } => add(&self.held),
            Answer::OverLimit => add(&self.over_limit),
            Answer::SoldOut { .. } | Answer::SoldOutAtEdge { .. } => add(&self.sold_out),
            _ => add(&self.failed),
        }
    }

    /// A call could not be made: every connection was in use.
    pub fn give_up(&self) {
        add(&self.not_sent);
    }

    /// How many calls could not be made.
    pub fn not_sent(&self) -> u64 {
        get(&self.not_sent)
    }

    /// All of them, in a line.
    pub fn line(&self) -> String {
        let [offered, held, over_limit, sold_out] =
            [&self.offered, &self.held, &self.over_limit, &self.sold_out].map(get);
        let in_flight = get(&self.in_flight);
        let mut line = format!(
            "{offered} offered, {held} held, {over_limit} over limit, {sold_out} sold out, \
             {in_flight} in flight"
        );
        for (count, what) in [(&self.failed, "failed"), (&self.not_sent, "NOT SENT")] {
            if get(count) > 0 {
                line += &format!(", {} {what}", get(count));
            }
        }
        line
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// A bar on a terminal, lines elsewhere, until it is finished.
#[derive(Debug)]
pub struct Progress {
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    painter: JoinHandle<()>,
}

impl Progress {
    /// Begins to show `counts`, over `duration_s` seconds of arrivals.
    pub fn start(counts: Arc<Counts>, duration_s: u32) -> Self {
        let bar = stderr().is_terminal().then(|| bar(duration_s));
        let painter = tokio::spawn(paint(counts.clone(), bar.clone(), duration_s));
        Self { counts, bar, painter }
    }

    /// Shows the last counts, and stops.
    pub fn finish(self) {
        self.painter.abort();
        match &self.bar {
            Some(bar) => bar.finish_with_message(self.counts.line()),
            None => eprintln!("done: {}", self.counts.line()),
        }
    }
}

fn bar(duration_s: u32) -> ProgressBar {
    // A template that does not parse is worth no failure: the default one shows as well.
    let style = ProgressStyle::with_template("{bar:30} {pos:>3}/{len} s  {msg}");
    ProgressBar::new(duration_s.into()).with_style(style.unwrap_or(ProgressStyle::default_bar()))
}

async fn paint(counts: Arc<Counts>, bar: Option<ProgressBar>, duration_s: u32) {
    let began = Instant::now();
    let mut ticks = time::interval(if bar.is_some() { BAR_EVERY } else { LINE_EVERY });
    // The first tick comes at once, when there is nothing to tell.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let passed_s = began.elapsed().as_secs();
        match &bar {
            Some(bar) => {
                bar.set_position(passed_s.min(duration_s.into()));
                bar.set_message(counts.line());
            }
            None => eprintln!("{passed_s:>3} s: {}", counts.line()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_by_outcome() {
        let counts = Counts::default();
        for outcome in
            [Answer::Held { id: String::new(), expires_at_ms: 0 }, Answer::SoldOut { available: 0 }]
        {
            counts.offer();
            counts.begin();
            counts.end(&outcome);
            counts.decide(&outcome);
        }
        counts.begin();
        let line = "2 offered, 1 held, 0 over limit, 1 sold out, 1 in flight";
        assert_eq!(counts.line(), line);
        counts.end(&Answer::Lost);
        assert_eq!(counts.answered(), 2);
        counts.decide(&Answer::Lost);
        counts.give_up();
        assert!(counts.line().ends_with("0 in flight, 1 failed, 1 NOT SENT"), "{}", counts.line());
        assert_eq!(counts.not_sent(), 1);
    }
}
