//! What was found, for people and for machines.

use std::fmt;

use serde::Serialize;

use super::place::Spot;

/// How good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// It may be as it should be, which cannot be told from here; or it works, and something else that
    /// might be wanted does not.
    Doubtful,
    /// Requests hang, fail, or pass around the limit.
    Bad,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How that is.
    pub level: Level,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1: of the field, or of what it is missing in.
    pub line: usize,
    /// The field: `static_resources.listeners[0].name`; in the filter's own configuration,
    /// `...configuration.value: routes[0].sku`.
    pub field: String,
    /// What was found there.
    pub found: String,
    /// What is to be changed, of what is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn new(level: Level, check: &'static str, spot: Spot, found: String) -> Self {
        let Spot { file, line, field } = spot;
        Self { check, level, file: file.to_string(), line, field, found, remedy: None }
    }

    fn mended_by(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(super) fn good(check: &'static str, spot: Spot, found: impl Into<String>) -> Self {
        Self::new(Level::Good, check, spot, found.into())
    }

    pub(super) fn doubtful(
        check: &'static str,
        spot: Spot,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Doubtful, check, spot, found.into()).mended_by(remedy)
    }

    pub(super) fn bad(
        check: &'static str,
        spot: Spot,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Bad, check, spot, found.into()).mended_by(remedy)
    }
}

/// What was found of one filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Its name.
    pub filter: String,
    /// The file that it is in, as it was named.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its place: `in a chain of the listener shoppers`.
    pub is: String,
    /// What came of each check.
    pub findings: Vec<Finding>,
}

/// What was found of all filters. `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each of them.
    pub filters: Vec<Examined>,
}

impl Report {
    /// The worst of all findings.
    pub fn level(&self) -> Level {
        self.findings().map(|finding| finding.level).max().unwrap_or(Level::Good)
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.filters.iter().flat_map(|filter| &filter.findings)
    }

    fn count(&self, level: Level) -> usize {
        self.findings().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Examined { filter, file, line, is, findings } in &self.filters {
            writeln!(f, "{file}:{line}: the filter {filter}, {is}")?;
            findings.iter().try_for_each(|finding| write_finding(f, finding))?;
            writeln!(f)?;
        }
        let [bad, doubtful, good] =
            [Level::Bad, Level::Doubtful, Level::Good].map(|level| self.count(level));
        writeln!(f, "{bad} bad, {doubtful} doubtful, {good} good")
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let Finding { check, level, file, line, field, found, remedy } = finding;
    writeln!(f, "  {:<8}  {check:<13}  {file}:{line}: {found}", level.name())?;
    writeln!(f, "{:27}at {field}", "")?;
    match remedy {
        Some(remedy) => writeln!(f, "{:27}-> {remedy}", ""),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let spot =
            |line, field: &str| Spot { file: "e.yaml".into(), line, field: field.to_owned() };
        let findings = vec![
            Finding::good("vm_id", spot(9, "a.vm_id"), "cartgate"),
            Finding::bad("body", spot(7, "a.flag"), "not there: requests hang", "flag: true"),
        ];
        let (filter, file) = ("cartgate".to_owned(), "e.yaml".to_owned());
        let is = "in a chain of the listener shoppers".to_owned();
        Report { filters: vec![Examined { filter, file, line: 5, is, findings }] }
    }

    #[test]
    fn people_read_where_and_what_to_change() {
        let expected = "\
e.yaml:5: the filter cartgate, in a chain of the listener shoppers
  good      vm_id          e.yaml:9: cartgate
                           at a.vm_id
  bad       body           e.yaml:7: not there: requests hang
                           at a.flag
                           -> flag: true

1 bad, 0 doubtful, 1 good
";
        assert_eq!(report().to_string(), expected);
        assert_eq!(report().level(), Level::Bad);
    }

    #[test]
    fn machines_read_the_same() {
        let json = serde_json::to_value(report()).unwrap();
        let findings = &json["filters"][0]["findings"];
        let expected = serde_json::json!({
            "check": "body", "level": "bad", "file": "e.yaml", "line": 7, "field": "a.flag",
            "found": "not there: requests hang", "remedy": "flag: true",
        });
        assert_eq!(findings[1], expected);
        assert_eq!(findings[0]["remedy"], serde_json::Value::Null);
    }
}
