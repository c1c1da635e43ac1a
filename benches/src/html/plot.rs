//! Bars and dots on a logarithmic scale. Places along the scale are percentages, so that a drawing fits any width while
//! its texts keep their size.

use super::{Escaped, class, push, reason, times};
use crate::report::{Cell, Row, time_text};
use crate::subject::Via;

/// Heights in CSS pixels.
const BAR: u32 = 22;
const DOT: u32 = 20;

/// From nanoseconds to a place along a drawing.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// One on which all numbers of these rows have their place.
    fn of(rows: &[&Row]) -> Self {
        let summaries = || rows.iter().flat_map(|row| &row.results).filter_map(|cell| cell.summary);
        let least = summaries().map(|s| s.lower_quartile.max(0.01)).fold(f64::INFINITY, f64::min);
        let most = summaries().map(|s| s.upper_quartile).fold(0.0, f64::max);
        if !least.is_finite() || most <= 0.0 {
            return Scale { low: 1.0, high: 10.0 };
        }
        // The least bar has a length too.
        Scale { low: least / 2.0, high: most.max(least * 4.0) * 1.05 }
    }

    /// 0 to 100.
    fn place(&self, nanos: f64) -> f64 {
        let share = (nanos.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        (share * 100.0).clamp(0.0, 100.0)
    }

    /// Powers of ten; halves of the way too where there are few of them.
    fn ticks(&self) -> Vec<f64> {
        let decades: Vec<f64> = (-2..=12).map(|power| 10_f64.powi(power)).collect();
        let inside = |tick: &f64| *tick >= self.low && *tick <= self.high;
        if decades.iter().filter(|tick| inside(tick)).count() > 2 {
            return decades.into_iter().filter(inside).collect();
        }
        decades.iter().flat_map(|tick| [*tick, tick * 2.0, tick * 5.0]).filter(inside).collect()
    }
}

/// A bar for each subject, grouped by measurement.
pub(super) fn bars(out: &mut String, rows: &[&Row]) {
    let scale = Scale::of(rows);
    out.push_str("<div class=\"plot\">\n");
    axis(out, &scale, &BESIDE_NAMES);
    for row in rows {
        push(out, format_args!("<h3>{} <small>{}</small></h3>\n", Escaped(&row.name), Escaped(&row.what)));
        for cell in &row.results {
            bar(out, &scale, cell);
        }
    }
    out.push_str("</div>\n");
}

fn bar(out: &mut String, scale: &Scale, cell: &Cell) {
    push(out, format_args!("<div class=\"bar\"><span class=\"label\">{}</span>", Escaped(&cell.subject)));
    let Some(summary) = cell.summary else {
        push(out, format_args!("<span class=\"reason\">{}</span></div>\n", Escaped(reason(cell))));
        return;
    };
    let [low, median, high] =
        [summary.lower_quartile, summary.median, summary.upper_quartile].map(|nanos| scale.place(nanos));
    let hand = if cell.via == Via::ByHand.as_str() { " hand" } else { "" };
    push(
        out,
        format_args!("<svg width=\"100%\" height=\"{BAR}\" role=\"img\"><title>{}</title>", Escaped(&told(cell))),
    );
    grid(out, scale, BAR);
    push(
        out,
        format_args!(
            "<rect class=\"{}{hand}\" x=\"0\" y=\"4\" width=\"{median:.2}%\" height=\"14\" rx=\"2\"></rect>\
             <g class=\"whisker\"><line x1=\"{low:.2}%\" x2=\"{high:.2}%\" y1=\"11\" y2=\"11\"></line>\
             <line x1=\"{low:.2}%\" x2=\"{low:.2}%\" y1=\"7\" y2=\"15\"></line>\
             <line x1=\"{high:.2}%\" x2=\"{high:.2}%\" y1=\"7\" y2=\"15\"></line></g></svg>",
            class(cell.engine),
        ),
    );
    let ratio = cell.ratio.map(times).unwrap_or_default();
    push(
        out,
        format_args!(
            "<span class=\"value\"><b>{}</b> <small>{ratio}</small></span></div>\n",
            time_text(summary.median)
        ),
    );
}

/// A row for each measurement and a dot in it for each subject through Chassis.
pub(super) fn dots(out: &mut String, rows: &[&Row]) {
    let scale = Scale::of(rows);
    out.push_str("<div class=\"plot dots\">\n");
    axis(out, &scale, &BELOW_NAMES);
    for row in rows {
        push(
            out,
            format_args!(
                "<div class=\"bar\"><span class=\"label\" title=\"{}\">{}</span>",
                Escaped(&row.what),
                Escaped(&row.name)
            ),
        );
        push(
            out,
            format_args!(
                "<svg width=\"100%\" height=\"{DOT}\" role=\"img\"><title>{}</title>",
                Escaped(&all_told(row))
            ),
        );
        grid(out, &scale, DOT);
        let mut failed = None;
        for cell in &row.results {
            match cell.summary {
                Some(_) => dot(out, &scale, cell),
                None => failed = Some(cell),
            }
        }
        out.push_str("</svg>");
        if let Some(cell) = failed {
            push(
                out,
                format_args!("<span class=\"reason\">{}: {}</span>", Escaped(&cell.subject), Escaped(reason(cell))),
            );
        }
        out.push_str("</div>\n");
    }
    out.push_str("</div>\n");
}

fn dot(out: &mut String, scale: &Scale, cell: &Cell) {
    let Some(summary) = cell.summary else { return };
    let [low, median, high] =
        [summary.lower_quartile, summary.median, summary.upper_quartile].map(|nanos| scale.place(nanos));
    let (class, middle) = (class(cell.engine), DOT / 2);
    push(
        out,
        format_args!(
            "<line class=\"range {class}\" x1=\"{low:.2}%\" x2=\"{high:.2}%\" y1=\"{middle}\" y2=\"{middle}\"></line>\
             <circle class=\"{class}\" cx=\"{median:.2}%\" cy=\"{middle}\" r=\"5\"></circle>"
        ),
    );
}

/// The classes of labels for which there is no room in a page of some width, as the style sheet has it.
const LAYOUTS: [&str; 4] = ["not-wide", "not-medium", "not-small", "not-tiny"];

/// How much of a scale a label takes in each of these widths, in percent: 50 pixels of the least that a drawing has there.
type LabelWidths = [f64; LAYOUTS.len()];
const BESIDE_NAMES: LabelWidths = [8.0, 15.0, 30.0, 42.0];
const BELOW_NAMES: LabelWidths = [8.0, 15.0, 15.0, 18.0];

/// The names of the grid's lines, as many as have room.
fn axis(out: &mut String, scale: &Scale, widths: &LabelWidths) {
    out.push_str(
        "<div class=\"bar axis\"><span class=\"label\"></span><svg width=\"100%\" height=\"18\" aria-hidden=\"true\">",
    );
    let ticks = scale.ticks();
    let places: Vec<f64> = ticks.iter().map(|tick| scale.place(*tick)).collect();
    let shown = widths.map(|width| with_room(&places, width));
    for (i, (tick, place)) in ticks.iter().zip(&places).enumerate() {
        let hidden = LAYOUTS.iter().zip(&shown).filter(|(_, shown)| !shown[i]).map(|(class, _)| *class);
        push(
            out,
            format_args!(
                "<text class=\"{}\" x=\"{place:.2}%\" y=\"13\" text-anchor=\"{}\">{}</text>",
                hidden.collect::<Vec<_>>().join(" "),
                Anchor::at(*place).as_str(),
                tick_text(*tick)
            ),
        );
    }
    out.push_str("</svg><span class=\"value\"></span></div>\n");
}

/// Which labels can be shown without one reaching into another, from the left.
fn with_room(places: &[f64], width: f64) -> Vec<bool> {
    let mut taken = f64::NEG_INFINITY;
    let shown = places.iter().map(|place| {
        let (begin, end) = Anchor::at(*place).span(*place, width);
        let room = begin >= taken;
        if room {
            taken = end;
        }
        room
    });
    shown.collect()
}

/// Which part of a label stands at its place.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    /// None reaches over an end of the scale.
    fn at(place: f64) -> Self {
        match place {
            place if place > 92.0 => Anchor::End,
            place if place < 6.0 => Anchor::Start,
            _ => Anchor::Middle,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }

    fn span(self, place: f64, width: f64) -> (f64, f64) {
        let begin = match self {
            Anchor::Start => place,
            Anchor::Middle => place - width / 2.0,
            Anchor::End => place - width,
        };
        (begin, begin + width)
    }
}

fn grid(out: &mut String, scale: &Scale, height: u32) {
    out.push_str("<g class=\"grid\">");
    for tick in scale.ticks() {
        let place = scale.place(tick);
        push(out, format_args!("<line x1=\"{place:.2}%\" x2=\"{place:.2}%\" y1=\"0\" y2=\"{height}\"></line>"));
    }
    out.push_str("</g>");
}

/// `1 µs`, without figures that say nothing.
fn tick_text(nanos: f64) -> String {
    let text = time_text(nanos);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A cell in words, for readers who do not see the drawing.
fn told(cell: &Cell) -> String {
    match cell.summary {
        Some(summary) => format!(
            "{}: median {}, quartiles {} and {}, {} samples",
            cell.subject,
            time_text(summary.median),
            time_text(summary.lower_quartile),
            time_text(summary.upper_quartile),
            summary.samples,
        ),
        None => format!("{}: {}", cell.subject, reason(cell)),
    }
}

fn all_told(row: &Row) -> String {
    row.results.iter().map(told).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_logarithmic_from_end_to_end() {
        let scale = Scale { low: 1.0, high: 10_000.0 };
        let places = [0.1, 1.0, 10.0, 100.0, 10_000.0, 1e9].map(|nanos| scale.place(nanos).round());
        assert_eq!(places, [0.0, 0.0, 25.0, 50.0, 100.0, 100.0]);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(Scale { low: 15.0, high: 130.0 }.ticks(), [20.0, 50.0, 100.0]);
        assert_eq!([1.0, 20.0, 1e3, 5e6].map(tick_text), ["1 ns", "20 ns", "1 µs", "5 ms"]);
    }

    #[test]
    fn no_label_reaches_into_another() {
        for width in BESIDE_NAMES.iter().chain(&BELOW_NAMES) {
            for decades in 2..=10 {
                let scale = Scale { low: 0.7, high: 10_f64.powi(decades) * 1.5 };
                let places: Vec<f64> = scale.ticks().iter().map(|tick| scale.place(*tick)).collect();
                let spans = places.iter().zip(with_room(&places, *width)).filter(|(_, shown)| *shown);
                let spans: Vec<_> = spans.map(|(place, _)| Anchor::at(*place).span(*place, *width)).collect();
                assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{decades} decades, {width}: {spans:?}");
                // With fewer the scale is not told.
                assert!(spans.len() >= 2, "{decades} decades, {width}: {spans:?}");
            }
        }
    }

    #[test]
    fn labels_are_hidden_by_the_width_of_the_page() {
        let mut out = String::new();
        axis(&mut out, &Scale { low: 1.0, high: 1e8 }, &BESIDE_NAMES);
        let styles = include_str!("style.css");
        for class in LAYOUTS {
            assert!(styles.contains(&format!(".{class} {{ display: none; }}")), "{class}");
        }
        let shown = |class: &str| out.split("<text ").skip(1).filter(|text| !text.contains(class)).count();
        assert_eq!(LAYOUTS.map(shown), [9, 5, 3, 2]);
    }

    #[test]
    fn without_numbers_there_is_still_a_scale() {
        let scale = Scale::of(&[]);
        assert!(scale.place(5.0) > 0.0 && !scale.ticks().is_empty());
    }
}
