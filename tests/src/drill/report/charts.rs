//! Line charts as SVG, to be read on paper too: what tells lines apart is first their stroke, then
//! their colour.
//!
//! A chart carries only its axes and lines; title, unit and legend are text of the page around it,
//! which a browser can wrap and a reader search.

use maud::{Markup, html};
use plotters::chart::ChartContext;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// The palette of Okabe and Ito (2008), which people with any colour vision can tell apart.
pub(super) const INK: RGBColor = RGBColor(60, 60, 60);
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const RED: RGBColor = RGBColor(213, 94, 0);

const PAPER_GREY: RGBColor = RGBColor(225, 225, 225);

/// In pixels, before the page scales it: half a page wide.
const SIZE: (u32, u32) = (560, 270);

/// In plotters' measure; without a font at hand it takes 1.24 of it for a pixel.
const FONT_SIZE: u32 = 16;

/// One unit more than the lines need, so that the highest does not run along the frame.
const HEADROOM: f64 = 1.06;

/// A line so many times lower than another would lie on a linear axis.
const FLATTENING: f64 = 20.0;

/// An axis needs some length, also when nothing happened.
const SHORTEST_S: f64 = 0.1;

/// The lowest that a logarithmic axis goes.
const SMALLEST: f64 = 1e-6;

/// A line and how to tell it from the others.
pub(super) struct Line {
    pub label: &'static str,
    pub colour: RGBColor,
    pub stroke: Stroke,
    /// Time in seconds, and the value there; none where there is nothing to show.
    pub points: Vec<(f64, Option<f64>)>,
}

impl Line {
    /// The median of what is above 0.
    fn median(&self) -> Option<f64> {
        let values = self.points.iter().filter_map(|(_, value)| *value);
        let mut values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// How a line is drawn.
#[derive(Clone, Copy)]
pub(super) enum Stroke {
    Thick,
    Thin,
    /// Long dashes.
    Dashed,
    /// Short dashes.
    Dotted,
}

impl Stroke {
    fn width(self) -> u32 {
        match self {
            Self::Thick => 4,
            Self::Thin | Self::Dashed | Self::Dotted => 2,
        }
    }

    /// The length of a dash and of the gap after it, in pixels.
    fn dash(self) -> Option<(u32, u32)> {
        match self {
            Self::Thick | Self::Thin => None,
            Self::Dashed => Some((8, 5)),
            Self::Dotted => Some((2, 4)),
        }
    }
}

/// The vertical axis.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// In powers of ten. What is 0 is not drawn.
    Log,
}

impl Scale {
    /// Linear, unless that would flatten one of the lines.
    pub(super) fn for_lines(lines: &[Line]) -> Self {
        let typical: Vec<f64> = lines.iter().filter_map(Line::median).collect();
        let highest = typical.iter().copied().fold(0.0, f64::max);
        let lowest = typical.iter().copied().fold(f64::INFINITY, f64::min);
        if highest > lowest * FLATTENING { Self::Log } else { Self::Linear }
    }
}

/// A chart over the drill's time.
pub(super) struct Chart {
    pub title: &'static str,
    pub unit: &'static str,
    pub scale: Scale,
    /// How long the time axis is.
    pub seconds: f64,
    pub lines: Vec<Line>,
    /// Moments to tell by their numbers, which begin with 1; in seconds.
    pub marks: Vec<f64>,
}

type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// The chart with its title and legend.
    pub(super) fn figure(&self) -> Markup {
        let log = if matches!(self.scale, Scale::Log) { ", logarithmic" } else { "" };
        html! {
            figure {
                figcaption {
                    strong { (self.title) } " " span.unit { (self.unit) (log) }
                    div.legend { @for line in &self.lines { (legend(line)) } }
                }
                @match self.svg() {
                    Ok(svg) => (maud::PreEscaped(svg)),
                    Err(error) => p { "This chart cannot be drawn: " (error) }
                }
            }
        }
    }

    fn svg(&self) -> Result<String, Box<dyn std::error::Error>> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let axis = Axis::of(self);
            let mut plane = ChartBuilder::on(&area)
                .margin_right(14)
                .margin_top(8)
                .x_label_area_size(38)
                .y_label_area_size(58)
                .build_cartesian_2d(0.0..self.seconds.max(SHORTEST_S), axis.low..axis.high)?;
            plane
                .configure_mesh()
                .disable_x_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(PAPER_GREY)
                .axis_style(INK)
                .label_style(("sans-serif", FONT_SIZE).into_font().color(&INK))
                .axis_desc_style(("sans-serif", FONT_SIZE).into_font().color(&INK))
                .x_desc("seconds since the beginning")
                .x_labels(10)
                .y_labels(axis.labels())
                .x_label_formatter(&|seconds| trim(*seconds))
                .y_label_formatter(&|at| axis.label(*at))
                .draw()?;
            for (at, number) in self.marks.iter().zip(1_u32..) {
                mark(&mut plane, *at, number, axis)?;
            }
            for line in &self.lines {
                draw(&mut plane, line, axis)?;
            }
            area.present()?;
        }
        Ok(svg)
    }
}

/// The range of the vertical axis, in what is drawn: the value, or its logarithm.
#[derive(Clone, Copy)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(chart: &Chart) -> Self {
        let values = chart.lines.iter().flat_map(|line| &line.points);
        let values = values.filter_map(|(_, value)| *value).filter(|value| value.is_finite());
        let highest = values.clone().fold(0.0, f64::max);
        let (low, high) = match chart.scale {
            Scale::Linear => (0.0, if highest > 0.0 { highest * HEADROOM } else { 1.0 }),
            Scale::Log => {
                let lowest = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
                let (lowest, highest) = if highest > 0.0 { (lowest, highest) } else { (1.0, 1.0) };
                let low = lowest.max(SMALLEST).log10().floor();
                (low, highest.max(SMALLEST).log10().ceil().max(low + 1.0))
            }
        };
        Self { scale: chart.scale, low, high }
    }

    /// Where a value is drawn, if it is.
    fn at(self, value: Option<f64>) -> Option<f64> {
        let value = value.filter(|value| value.is_finite())?;
        let at = match self.scale {
            Scale::Linear => value,
            Scale::Log if value <= 0.0 => return None,
            Scale::Log => value.log10(),
        };
        Some(at.clamp(self.low, self.high))
    }

    fn labels(self) -> usize {
        match self.scale {
            Scale::Linear => 6,
            Scale::Log => (self.high - self.low) as usize + 1,
        }
    }

    fn label(self, at: f64) -> String {
        match self.scale {
            Scale::Linear => trim(at),
            Scale::Log => trim(10_f64.powf(at)),
        }
    }
}

/// A vertical line with a number at its upper end.
fn mark(plane: &mut Plane<'_, '_>, at: f64, number: u32, axis: Axis) -> Drawn {
    let line = vec![(at, axis.low), (at, axis.high)];
    plane.draw_series(DashedLineSeries::new(line, 1, 3, INK.stroke_width(1)))?;
    let font = ("sans-serif", FONT_SIZE).into_font().color(&INK);
    plane.draw_series([Text::new(number.to_string(), (at, axis.high), font)])?;
    Ok(())
}

fn draw(plane: &mut Plane<'_, '_>, line: &Line, axis: Axis) -> Drawn {
    let style = line.colour.stroke_width(line.stroke.width());
    let points: Vec<_> = line.points.iter().map(|(x, value)| (*x, axis.at(*value))).collect();
    // A gap in the values is a gap in the line.
    for stretch in points.split(|(_, at)| at.is_none()) {
        let points: Vec<_> = stretch.iter().filter_map(|(x, at)| Some((*x, (*at)?))).collect();
        match (points.as_slice(), line.stroke.dash()) {
            ([], _) => {}
            ([point], _) => {
                plane.draw_series([Circle::new(*point, 2, line.colour.filled())])?;
            }
            (_, None) => {
                plane.draw_series([PathElement::new(points, style)])?;
            }
            (_, Some((dash, gap))) => {
                plane.draw_series(DashedLineSeries::new(points, dash, gap, style))?;
            }
        }
    }
    Ok(())
}

fn legend(line: &Line) -> Markup {
    let RGBColor(red, green, blue) = line.colour;
    let dash = line.stroke.dash().map(|(dash, gap)| format!("{dash} {gap}"));
    html! {
        span.key {
            svg width="34" height="10" viewBox="0 0 34 10" aria-hidden="true" {
                line x1="1" y1="5" x2="33" y2="5" stroke=(format!("rgb({red},{green},{blue})"))
                    stroke-width=(line.stroke.width()) stroke-dasharray=[dash] {}
            }
            " " (line.label)
        }
    }
}

/// A number on an axis: no more digits than it needs, `k` for thousands.
fn trim(value: f64) -> String {
    let (value, suffix) = if value.abs() >= 10_000.0 { (value / 1000.0, "k") } else { (value, "") };
    let text = format!("{value:.3}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(points: &[(f64, Option<f64>)]) {
        for scale in [Scale::Linear, Scale::Log] {
            for stroke in [Stroke::Thick, Stroke::Thin, Stroke::Dashed, Stroke::Dotted] {
                let line = Line { label: "line", colour: BLUE, stroke, points: points.to_vec() };
                let chart = Chart {
                    title: "chart",
                    unit: "units",
                    scale,
                    seconds: 3.0,
                    lines: vec![line],
                    marks: vec![0.0, 1.5, 9.0],
                };
                let figure = chart.figure().into_string();
                assert!(figure.ends_with("</svg>\n</figure>"), "{points:?}: {figure}");
                assert!(!figure.contains("NaN"), "{points:?}: {figure}");
            }
        }
    }

    #[test]
    fn degenerate_lines_are_drawn_all_the_same() {
        check(&[]);
        check(&[(0.0, None)]);
        check(&[(0.0, Some(0.0))]);
        check(&[(0.0, Some(0.0)), (0.0, Some(0.0))]);
        check(&[(0.0, Some(1.0)), (1.0, None), (2.0, Some(1e15)), (3.0, Some(0.0))]);
        check(&[(0.0, Some(f64::NAN)), (1.0, Some(f64::INFINITY)), (2.0, Some(-1.0))]);
    }

    #[test]
    fn axes_are_labelled_in_few_digits() {
        let cases = [
            (0.0, "0"),
            (0.001, "0.001"),
            (0.3 - 0.1, "0.2"),
            (100.0, "100"),
            (9999.0, "9999"),
            (25_000.0, "25k"),
        ];
        for (value, expected) in cases {
            assert_eq!(trim(value), expected);
        }
    }
}
