//! What was found, for people and for machines.

use std::fmt;

use serde::Serialize;

/// How good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not under load, or after the next fault.
    Warn,
    /// Something that was promised is not kept, or cartgate cannot work.
    Bad,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
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
    /// What was found.
    pub found: String,
    /// What is to be changed, a step each: a line of `redis.conf`, a command, or a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<String>,
}

impl Finding {
    pub(super) fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check, level, found: found.into(), change: Vec::new() }
    }

    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found)
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, found)
    }

    pub(super) fn bad(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Bad, found)
    }

    /// What is to be changed.
    pub(super) fn change(mut self, step: impl Into<String>) -> Self {
        self.change.push(step.into());
        self
    }

    /// A setting is to be changed: where it is kept, and in the server that runs.
    pub(super) fn set(self, name: &str, value: &str) -> Self {
        self.change(format!("redis.conf: {name} {value}"))
            .change(format!("and now: CONFIG SET {name} {value}"))
    }
}

/// What was found of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Where it is.
    pub server: String,
    /// What it is: `Redis 7.0.15, primary`.
    pub is: String,
    /// What came of each check.
    pub findings: Vec<Finding>,
}

/// What was found of a store. `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The store, without its password.
    pub store: String,
    /// Each of its servers.
    pub servers: Vec<Examined>,
    /// What concerns all of them.
    pub together: Vec<Finding>,
}

impl Report {
    /// The worst of all findings.
    pub fn level(&self) -> Level {
        self.findings().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.servers.iter().flat_map(|server| &server.findings).chain(&self.together)
    }

    fn count(&self, level: Level) -> usize {
        self.findings().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(f, "{}: {}", server.server, server.is)?;
            write_findings(f, &server.findings)?;
            writeln!(f)?;
        }
        writeln!(f, "the store: {}", self.store)?;
        write_findings(f, &self.together)?;
        let [bad, warn, ok] = [Level::Bad, Level::Warn, Level::Ok].map(|level| self.count(level));
        writeln!(f, "\n{bad} bad, {warn} to look at, {ok} ok")
    }
}

fn write_findings(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    for Finding { check, level, found, change } in findings {
        writeln!(f, "  {:<4}  {check:<12}  {found}", level.name())?;
        for step in change {
            writeln!(f, "{:22}-> {step}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let fsync = Finding::bad("fsync", "everysec").set("appendfsync", "always");
        let server = Examined {
            server: "a:1".to_owned(),
            is: "Redis 7.0.15, primary".to_owned(),
            findings: vec![Finding::ok("version", "7.0.15"), fsync],
        };
        let together = vec![Finding::warn("replicas", "none")];
        Report { store: "redis://a:1".to_owned(), servers: vec![server], together }
    }

    #[test]
    fn people_read_what_to_change() {
        let expected = "\
a:1: Redis 7.0.15, primary
  ok    version       7.0.15
  bad   fsync         everysec
                      -> redis.conf: appendfsync always
                      -> and now: CONFIG SET appendfsync always

the store: redis://a:1
  warn  replicas      none

1 bad, 1 to look at, 1 ok
";
        assert_eq!(report().to_string(), expected);
        assert_eq!(report().level(), Level::Bad);
    }

    #[test]
    fn machines_read_the_same() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["servers"][0]["findings"][1]["level"], "bad");
        assert_eq!(
            json["servers"][0]["findings"][1]["change"][0],
            "redis.conf: appendfsync always"
        );
        assert_eq!(json["together"][0]["change"], serde_json::Value::Null);
    }
}
