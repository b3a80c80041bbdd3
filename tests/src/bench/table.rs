//! The figures as a table for people: figure, target, met or not.

use std::fmt::Write;

use super::figures::{Figure, Figures, Target};

/// What stands above the figures' names.
const HEAD: &str = "figure";

/// Lays the figures out, a line each, its note below it. Targets are `judged`, or left out.
pub fn render(figures: &Figures, judged: bool) -> String {
    let keys = figures.all().iter().map(|figure| &*figure.key);
    let width = keys.chain([HEAD]).map(str::len).max().unwrap_or_default();
    let mut text = String::new();
    // Unwrap safety, in all of this file: writing to a string cannot fail.
    let head = format!(
        "{HEAD:<width$}  {:>12} {:<8} {}",
        "measured",
        "",
        if judged { "target" } else { "" }
    );
    writeln!(text, "{}", head.trim_end()).unwrap();
    for figure in figures.all() {
        let line = line(figure, width, judged);
        writeln!(text, "{}", line.trim_end()).unwrap();
        if !figure.note.is_empty() {
            writeln!(text, "    {}", figure.note).unwrap();
        }
    }
    text
}

fn line(figure: &Figure, width: usize, judged: bool) -> String {
    let measured = figure.value.map_or_else(|| "-".to_owned(), number);
    let target = figure.target.filter(|_| judged);
    let (aim, verdict) = match (target, figure.value) {
        (None, _) => (String::new(), ""),
        (Some(target), None) => (aim(target), "not measured"),
        (Some(target), Some(value)) if target.is_met(value) => (aim(target), "met"),
        (Some(target), Some(_)) => (aim(target), "NOT MET"),
    };
    format!("{:<width$}  {measured:>12} {:<8} {aim:<10} {verdict}", figure.key, figure.unit)
}

fn aim(target: Target) -> String {
    match target {
        Target::AtLeast(least) => format!(">= {}", number(least)),
        Target::AtMost(most) => format!("<= {}", number(most)),
    }
}

/// A number with as many digits as mean something, and commas: `12,345`, `57.1`, `0.62`.
fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size < 10.0 => return format!("{value:.2}"),
        size if size < 100.0 => return format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, expected) in [
            (0.618, "0.62"),
            (57.14, "57.1"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-4_000.0, "-4,000"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_table_says_figure_target_and_whether_it_is_met() {
        let mut figures = Figures::default();
        figures.add(Figure::new("fast", 42_000.0, "/s").at_least(40_000.0));
        figures.add(Figure::new("slow", 3.0, "x").at_most(2.5).note("why"));
        figures.add(Figure::missing("gone", "no route").at_most(1.0));
        assert_eq!(
            render(&figures, true),
            "\
figure      measured          target
fast          42,000 /s       >= 40,000  met
slow            3.00 x        <= 2.50    NOT MET
    why
gone               -          <= 1.00    not measured
    no route
"
        );
        let unjudged = render(&figures, false);
        assert!(!unjudged.contains("MET") && !unjudged.contains("target"), "{unjudged}");
    }
}
