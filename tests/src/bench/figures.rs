//! Figures, and what they should be.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is called, in JSON too.
    pub key: Cow<'static, str>,
    /// The figure; `None` if it could not be measured here, and the note says why.
    pub value: Option<f64>,
    /// What it counts.
    pub unit: &'static str,
    /// What it should be.
    pub target: Option<Target>,
    /// What one must know to read it.
    pub note: String,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This, or more.
    AtLeast(f64),
    /// This, or less.
    AtMost(f64),
}

impl Target {
    /// Whether a figure is as it should be.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Figure {
    /// A figure without a target.
    pub fn new(key: impl Into<Cow<'static, str>>, value: f64, unit: &'static str) -> Self {
        Self { key: key.into(), value: Some(value), unit, target: None, note: String::new() }
    }

    /// A figure that could not be measured.
    pub fn missing(key: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, unit: "", target: None, note: why.into() }
    }

    /// It should be this, or more.
    pub fn at_least(mut self, least: f64) -> Self {
        self.target = Some(Target::AtLeast(least));
        self
    }

    /// It should be this, or less.
    pub fn at_most(mut self, most: f64) -> Self {
        self.target = Some(Target::AtMost(most));
        self
    }

    /// What one must know to read it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// All figures of a run, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// One more.
    pub fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// All of them.
    pub fn all(&self) -> &[Figure] {
        &self.0
    }

    /// `{"metrics": {key: number}}`, of what was measured.
    pub fn json(&self) -> Value {
        let measured = self.0.iter().filter_map(|figure| Some((&figure.key, figure.value?)));
        let metrics: Map<_, _> =
            measured.map(|(key, value)| (key.to_string(), json!(rounded(value)))).collect();
        json!({ "metrics": metrics })
    }

    /// Writes them as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, format!("{:#}\n", self.json()))
    }
}

/// Three digits behind the point: more would be noise.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_met_from_the_right_side() {
        assert!(Target::AtLeast(2.0).is_met(2.0) && !Target::AtLeast(2.0).is_met(1.9));
        assert!(Target::AtMost(2.0).is_met(2.0) && !Target::AtMost(2.0).is_met(2.1));
        assert!(!Target::AtMost(2.0).is_met(f64::NAN));
    }

    #[test]
    fn json_has_every_figure_that_was_measured() {
        let mut figures = Figures::default();
        figures.add(Figure::new("a", 1.234_56, "/s").at_least(1.0));
        figures.add(Figure::missing("b", "not here"));
        assert_eq!(figures.json(), json!({ "metrics": { "a": 1.235 } }));
    }
}
