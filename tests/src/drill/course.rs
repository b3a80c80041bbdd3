//! The course of a product that nobody registered: when it was noticed, what it got, and when it was let go.
//!
//! It is told by what the drill saw of the service ([`Sight`]s, see `watch`), by the drill's own clock. Why
//! something was done the registry's history says: it is found by version, not by time.

use serde::{Deserialize, Serialize};

use super::verdict::Span;

/// What the service showed of the product at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// When it was asked. Microseconds since the drill began, as all times of the drill's.
    pub asked_us: u64,
    /// When its answers were complete.
    pub answered_us: u64,
    /// What the registry had of it; `None`: nothing.
    pub item: Option<HotItem>,
    /// Units that could be had.
    pub available: u64,
}

/// A hot item, as `GET /v1/hot-items/{sku}` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotItem {
    /// Who registered it: `detected`, if it was noticed.
    pub origin: String,
    /// Which state of its entry that is.
    pub version: u64,
    /// Its lane.
    pub lane: Option<Lane>,
    /// How it stands at the edges; `None`: nobody knows yet.
    pub edges: Option<AtEdges>,
}

/// A hot item's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Whether its commands go there by now.
    pub is_open: bool,
}

/// How a hot item stands at the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtEdges {
    /// How many edges there are.
    pub reporting: u64,
    /// How many of them know the item as it is.
    pub acknowledged: u64,
    /// Units per second that are asked for.
    pub demand_per_s: u64,
    /// The limit that is in force, in units per second.
    pub limit_per_s: Option<u64>,
}

/// A change of the registry, as `GET /v1/hot-items/{sku}/history` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which state of the entry it led to.
    pub version: u64,
    /// When, in RFC 3339, by the service's clock.
    pub at: String,
    /// `registered`, `changed`, `removed` or `expired`.
    pub change: String,
    /// Who has made it.
    pub origin: String,
    /// Why.
    pub reason: Option<String>,
}

/// All that was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In order of time.
    pub sights: Vec<Sight>,
    /// The registry's history, the latest change first.
    pub history: Vec<Change>,
}

/// The course of the product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// What happened, each once, in order of the first time.
    pub events: Vec<Event>,
    /// When every edge knew its limit, the first time.
    pub known: Option<Span>,
}

/// Something that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub what: What,
    /// When it was first seen.
    pub at_us: u64,
    /// How often it was seen.
    pub times: u64,
    /// More about the first time; may be empty.
    pub note: String,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The service has registered it.
    Noticed,
    /// Its commands go to a lane of its own.
    LaneOpen,
    /// Every edge knows its limit.
    LimitKnown,
    /// No unit can be had.
    SoldOut,
    /// Some can be had again.
    BackOnSale,
    /// It is in the registry no more.
    LetGo,
}

impl What {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::LaneOpen => "lane open",
            Self::LimitKnown => "limit known at all edges",
            Self::SoldOut => "sold out",
            Self::BackOnSale => "back on sale",
            Self::LetGo => "let go",
        }
    }
}

/// Without these a drill has not shown what it is about.
const TELLING: [What; 4] = [What::Noticed, What::LimitKnown, What::SoldOut, What::LetGo];

impl Course {
    /// Finds out what happened. What was registered before it could be noticed was not noticed.
    pub fn of(seen: &Seen) -> Self {
        let mut course = Self::default();
        let mut is_known = false;
        for pair in seen.sights.windows(2) {
            let [before, now] = pair else { continue };
            course.note_stock(before, now);
            let (was, is) = (before.item.as_ref(), now.item.as_ref());
            match (was, is) {
                (None, Some(item)) if item.origin == "detected" => {
                    course.note(What::Noticed, now, seen.reason_of(item));
                }
                (Some(item), None) if course.has(What::Noticed) => {
                    course.note(What::LetGo, now, seen.reason_after(item));
                    is_known = false;
                }
                _ => {}
            }
            let Some(item) = is.filter(|_| course.has(What::Noticed)) else { continue };
            if item.is_lane_open() && !was.is_some_and(HotItem::is_lane_open) {
                course.note(What::LaneOpen, now, String::new());
            }
            if let Some(note) = item.known_limit().filter(|_| !is_known) {
                course.note(What::LimitKnown, now, note);
                is_known = true;
            }
            course.stretch(now);
        }
        course
    }

    /// What happened, if it did.
    pub fn event(&self, what: What) -> Option<&Event> {
        self.events.iter().find(|event| event.what == what)
    }

    /// What never happened of all that a drill is to show.
    pub fn missing(&self) -> Vec<What> {
        TELLING.into_iter().filter(|what| !self.has(*what)).collect()
    }

    fn has(&self, what: What) -> bool {
        self.event(what).is_some()
    }

    fn note_stock(&mut self, before: &Sight, now: &Sight) {
        match (before.available, now.available) {
            (1.., 0) => self.note(What::SoldOut, now, String::new()),
            (0, units @ 1..) => self.note(What::BackOnSale, now, format!("units: {units}")),
            _ => {}
        }
    }

    fn note(&mut self, what: What, sight: &Sight, note: String) {
        match self.events.iter_mut().find(|event| event.what == what) {
            Some(event) => event.times += 1,
            None => self.events.push(Event { what, at_us: sight.answered_us, times: 1, note }),
        }
    }

    /// The limit counts from when it was known, as long as the item was there when it was asked for.
    fn stretch(&mut self, now: &Sight) {
        if self.has(What::LetGo) {
            return;
        }
        match (&mut self.known, self.events.iter().find(|event| event.what == What::LimitKnown)) {
            (Some(span), _) => span.until_us = now.asked_us,
            (known @ None, Some(event)) => {
                let from_us = event.at_us;
                *known = Some(Span { from_us, until_us: from_us });
            }
            (None, None) => {}
        }
    }
}

impl HotItem {
    fn is_lane_open(&self) -> bool {
        self.lane.is_some_and(|lane| lane.is_open)
    }

    /// What there is to say of its limit when every edge knows it.
    fn known_limit(&self) -> Option<String> {
        let AtEdges { reporting, acknowledged, limit_per_s, .. } = self.edges?;
        let is_known = reporting > 0 && acknowledged >= reporting;
        let limit_per_s = limit_per_s.filter(|_| is_known)?;
        Some(format!("{limit_per_s}/s"))
    }
}

impl Seen {
    /// Why an entry was made, by the history.
    fn reason_of(&self, item: &HotItem) -> String {
        let until = self.history.iter().filter(|change| change.version <= item.version);
        reason(until.filter(|change| change.change == "registered").max_by_key(|c| c.version))
    }

    /// Why it was ended.
    fn reason_after(&self, item: &HotItem) -> String {
        let later = self.history.iter().filter(|change| change.version > item.version);
        let ends = later.filter(|change| matches!(change.change.as_str(), "removed" | "expired"));
        reason(ends.min_by_key(|change| change.version))
    }
}

fn reason(change: Option<&Change>) -> String {
    change.and_then(|change| change.reason.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: AtEdges =
        AtEdges { reporting: 2, acknowledged: 0, demand_per_s: 300, limit_per_s: Some(40) };

    fn item(version: u64, is_open: bool, acknowledged: u64) -> Option<HotItem> {
        let (origin, lane) = ("detected".to_owned(), Some(Lane { is_open }));
        let edges = Some(AtEdges { acknowledged, ..SHOWN });
        Some(HotItem { origin, version, lane, edges })
    }

    /// A sight each second, answered after a tenth of one.
    fn seen(sights: Vec<(Option<HotItem>, u64)>) -> Seen {
        let sights = sights.into_iter().zip(0..).map(|((item, available), s)| Sight {
            asked_us: s * 1_000_000,
            answered_us: s * 1_000_000 + 100_000,
            item,
            available,
        });
        let change = |version, change: &str, reason: &str| Change {
            version,
            at: "2026-11-20T10:00:00Z".to_owned(),
            change: change.to_owned(),
            origin: "detected".to_owned(),
            reason: Some(reason.to_owned()),
        };
        let history = vec![
            change(4, "removed", "calm"),
            change(3, "registered", "hot again"),
            change(2, "removed", "below 25/s for 2000 ms"),
            change(1, "registered", "300/s over 400 ms, threshold 50/s"),
        ];
        Seen { sights: sights.collect(), history }
    }

    fn told(course: &Course) -> Vec<(What, u64, u64, &str)> {
        let told = |event: &Event| event.at_us / 100_000;
        let events = course.events.iter();
        events.map(|event| (event.what, told(event), event.times, event.note.as_str())).collect()
    }

    #[test]
    fn a_course_is_told_from_what_was_seen() {
        let course = Course::of(&seen(vec![
            (None, 9),
            (item(1, false, 0), 9),
            (item(1, true, 1), 9),
            (item(1, true, 2), 5),
            (item(1, true, 2), 0),
            (item(1, true, 0), 3),
            (item(1, true, 2), 0),
            (None, 1),
            (item(3, true, 2), 1),
            (None, 1),
        ]));
        let expected = [
            (What::Noticed, 11, 2, "300/s over 400 ms, threshold 50/s"),
            (What::LaneOpen, 21, 2, ""),
            (What::LimitKnown, 31, 2, "40/s"),
            (What::SoldOut, 41, 2, ""),
            (What::BackOnSale, 51, 2, "units: 3"),
            (What::LetGo, 71, 2, "below 25/s for 2000 ms"),
        ];
        assert_eq!(told(&course), expected);
        // Known at 3.1 s; asked for at 6 s for the last time before it was gone.
        assert_eq!(course.known, Some(Span { from_us: 3_100_000, until_us: 6_000_000 }));
        assert_eq!(course.missing(), []);
    }

    #[test]
    fn what_was_not_seen_is_missing() {
        let check = |sights: Vec<(Option<HotItem>, u64)>, missing: &[What]| {
            assert_eq!(Course::of(&seen(sights)).missing(), missing);
        };
        check(vec![], &TELLING);
        check(vec![(None, 0), (None, 0)], &TELLING);
        // It was there before anybody asked for it; or somebody has registered it.
        let by_hand = item(1, true, 2).map(|item| HotItem { origin: "manual".to_owned(), ..item });
        check(
            vec![(item(1, true, 2), 1), (None, 0)],
            &[What::Noticed, What::LimitKnown, What::LetGo],
        );
        check(
            vec![(None, 1), (by_hand, 0), (None, 0)],
            &[What::Noticed, What::LimitKnown, What::LetGo],
        );
        check(vec![(None, 1), (item(1, true, 2), 1)], &[What::SoldOut, What::LetGo]);
        check(vec![(None, 1), (item(1, true, 1), 0), (None, 0)], &[What::LimitKnown]);
    }

    #[test]
    fn a_limit_counts_as_long_as_the_item_was_seen() {
        let sights = vec![(None, 1), (item(1, true, 2), 1), (item(1, true, 2), 1)];
        let known = Course::of(&seen(sights)).known;
        assert_eq!(known, Some(Span { from_us: 1_100_000, until_us: 2_000_000 }));
    }
}
