//! The report as one page: no script, no file beside it, readable with and without colours.

mod plot;
mod table;

use std::fmt::{Display, Write};

use crate::catalogue::Group;
use crate::report::{Cell, Report, Row, time_text};
use crate::subject::Via;

/// The measurements of the summary, by their ids.
const GLANCE: [&str; 6] = [
    "call/callback",
    "call/get-header",
    "request/one",
    "compute/sha256-64-kib",
    "module/instantiate",
    "module/compile",
];

/// The report as an HTML page that needs nothing else. Everything in it is escaped.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let machine = report.machine.line();
    let warning = if report.build == "release" {
        String::new()
    } else {
        "<p class=\"warning\">This build is not optimised: the numbers say little about the engines.</p>".to_owned()
    };
    push(
        &mut out,
        format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Chassis: engines compared</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
             <header>\n<h1>Wasm engines compared</h1>\n\
             <p class=\"lead\">The same Proxy-Wasm plugins through Chassis {} on {}.</p>\n{warning}\
             <dl>\n<dt>Machine</dt><dd>{}</dd>\n<dt>Date</dt><dd>{}</dd>\n\
             <dt>Measured</dt><dd>{} measurements, {} s each, engines in turn; medians, with the quartiles as whiskers</dd>\n\
             </dl>\n</header>\n",
            include_str!("style.css"),
            Escaped(report.chassis),
            Escaped(&engines(report)),
            Escaped(&machine),
            Escaped(&report.date),
            report.measurements.len(),
            report.settings.seconds,
        ),
    );
    glance(&mut out, report);
    legend(&mut out, report);
    for group in Group::ALL {
        let rows: Vec<&Row> = report.group(group).collect();
        if !rows.is_empty() {
            section(&mut out, group, &rows);
        }
    }
    footer(&mut out);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn engines(report: &Report) -> String {
    let names = report.engines.iter().map(|engine| match engine.version {
        Some(version) => format!("{} {version}", engine.name),
        None => engine.name.to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// What most readers want to know, in one small table.
fn glance(out: &mut String, report: &Report) {
    let rows: Vec<&Row> = GLANCE.iter().filter_map(|id| report.measurements.iter().find(|row| row.id == *id)).collect();
    // One engine alone is compared with nothing.
    if rows.is_empty() || report.engines.len() < 2 {
        return;
    }
    out.push_str("<div class=\"scroll\"><table class=\"glance\">\n<thead><tr><th></th>");
    for engine in &report.engines {
        push(
            out,
            format_args!("<th scope=\"col\"><i class=\"key {}\"></i>{}</th>", class(engine.name), Escaped(engine.name)),
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        push(out, format_args!("<tr><th scope=\"row\">{}</th>", Escaped(&row.name)));
        for engine in &report.engines {
            match row.of(engine.name) {
                Some(cell) => glance_cell(out, cell),
                None => out.push_str("<td></td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn glance_cell(out: &mut String, cell: &Cell) {
    match (cell.median(), cell.ratio) {
        (Some(median), Some(ratio)) if ratio <= 1.0 => {
            push(out, format_args!("<td class=\"best\">{} <small>best</small></td>", time_text(median)));
        }
        (Some(median), Some(ratio)) => {
            push(out, format_args!("<td>{} <small>{}</small></td>", time_text(median), times(ratio)));
        }
        _ => push(out, format_args!("<td class=\"none\" title=\"{}\">none</td>", Escaped(reason(cell)))),
    }
}

/// What the colours mean.
fn legend(out: &mut String, report: &Report) {
    out.push_str("<p class=\"legend\">");
    for engine in &report.engines {
        push(out, format_args!("<span><i class=\"key {}\"></i>{}</span>", class(engine.name), Escaped(engine.name)));
    }
    let has = |via: Via| report.measurements.iter().flat_map(|row| &row.results).any(|cell| cell.via == via.as_str());
    if has(Via::Native) {
        out.push_str(
            "<span><i class=\"key e-native\"></i>native: the guest in Rust, so the host&#39;s own cost</span>",
        );
    }
    if has(Via::ByHand) {
        out.push_str("<span><i class=\"key hand\"></i>by hand: the engine&#39;s own interface, without Chassis</span>");
    }
    out.push_str("</p>\n");
}

/// How many measurements a group may have for a bar each.
const MOST_BARS: usize = 20;

fn section(out: &mut String, group: Group, rows: &[&Row]) {
    push(
        out,
        format_args!(
            "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"what\">{} Shorter is better; the scale is logarithmic.</p>\n",
            group.as_str(),
            Escaped(group.title()),
            Escaped(group.what()),
        ),
    );
    let dense = rows.len() > MOST_BARS;
    if dense {
        plot::dots(out, rows);
    } else {
        plot::bars(out, rows);
    }
    push(out, format_args!("<details{}><summary>Numbers</summary>\n", if dense { "" } else { " open" }));
    table::numbers(out, rows);
    out.push_str("</details>\n</section>\n");
}

fn footer(out: &mut String) {
    out.push_str(
        "<footer><p>A ratio is to the best engine through Chassis. The spread is half the distance between the quartiles. \
         Every engine runs with a deadline, as in production; by hand only what its own interface offers. \
         Made by <code>chassis bench engines --html FILE</code>.</p></footer>\n",
    );
}

/// A ratio in words: `1.52×`, `35×`.
fn times(ratio: f64) -> String {
    let digits = match ratio {
        r if r < 9.995 => 2,
        r if r < 99.95 => 1,
        _ => 0,
    };
    format!("{ratio:.digits$}×")
}

fn reason(cell: &Cell) -> &str {
    cell.reason.as_deref().unwrap_or("it was not measured")
}

/// The class of an engine's colour.
fn class(engine: &str) -> &'static str {
    match engine {
        "wasmtime" => "e-wasmtime",
        "wasmer" => "e-wasmer",
        "wasmedge" => "e-wasmedge",
        "wasmi" => "e-wasmi",
        "native" => "e-native",
        _ => "e-other",
    }
}

/// Appends, which cannot fail for a text.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A text in which nothing is markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::measurements;
    use crate::run::Settings;
    use crate::stats::Summary;
    use crate::subject::Subject;

    fn report(reason: &str) -> Report {
        let subjects = [
            Subject { engine: "wasmtime", via: Via::Chassis },
            Subject { engine: "wasmi", via: Via::Chassis },
            Subject { engine: "wasmtime", via: Via::ByHand },
        ];
        let rows = measurements(None).into_iter().enumerate().map(|(i, measurement)| {
            let of = |median: f64| Summary::of(&[median * 0.9, median, median * 1.2]);
            let base = 10.0 * (i + 1) as f64;
            let cells = vec![
                Cell::new(subjects[0], of(base), None),
                Cell::new(subjects[1], None, Some(reason.to_owned())),
                Cell::new(subjects[2], of(base * 0.8), None),
            ];
            Row::new(&measurement, cells)
        });
        Report::new(&subjects, &Settings::quick(), rows.collect())
    }

    #[test]
    fn everything_is_escaped_and_nothing_is_fetched() {
        let page = page(&report("<script>alert('&')</script>"));
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;&amp;&#39;)"));
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_measurement_is_drawn_and_told() {
        let report = report("broken");
        let page = page(&report);
        for row in &report.measurements {
            let named = page.matches(&Escaped(&row.name).to_string()).count();
            assert!(named >= 2, "{} is there {named} times", row.id);
        }
        for group in Group::ALL {
            assert!(page.contains(&format!("<section id=\"{}\">", group.as_str())));
        }
    }

    #[test]
    fn tags_are_closed() {
        let page = page(&report("broken"));
        for tag in ["div", "svg", "section", "table", "tr", "td", "th", "details", "span", "p", "g", "b", "i", "small"]
        {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let opened = page.matches(&open).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&close).count(), "{tag}");
        }
    }

    #[test]
    fn ratios_have_three_figures() {
        assert_eq!([1.0, 9.999, 35.04, 417.6].map(times), ["1.00×", "10.0×", "35.0×", "418×"]);
    }
}
