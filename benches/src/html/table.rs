//! The numbers of a group.

use super::{Escaped, push, reason, times};
use crate::report::{Cell, Row, time_text};
use crate::subject::Via;

/// A row for each measurement, a column for each subject that has a result in any of them.
pub(super) fn numbers(out: &mut String, rows: &[&Row]) {
    let mut subjects: Vec<&Cell> = Vec::new();
    for cell in rows.iter().flat_map(|row| &row.results) {
        if subjects.iter().all(|known| known.subject != cell.subject) {
            subjects.push(cell);
        }
    }
    subjects.sort_by_key(|cell| {
        [Via::Chassis, Via::Native, Via::ByHand].map(Via::as_str).iter().position(|via| *via == cell.via)
    });
    let subjects: Vec<&str> = subjects.into_iter().map(|cell| cell.subject.as_str()).collect();
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">measurement</th>");
    for subject in &subjects {
        push(out, format_args!("<th scope=\"col\">{}</th>", Escaped(subject)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        push(out, format_args!("<tr><th scope=\"row\" title=\"{}\">{}</th>", Escaped(&row.what), Escaped(&row.name)));
        for subject in &subjects {
            let Some(cell) = row.of(subject) else {
                out.push_str("<td></td>");
                continue;
            };
            match cell.summary {
                Some(summary) => push(
                    out,
                    format_args!(
                        "<td>{} <small>±{:.0}% {}</small></td>",
                        time_text(summary.median),
                        summary.spread() * 100.0,
                        cell.ratio.map(times).unwrap_or_default(),
                    ),
                ),
                None => push(out, format_args!("<td class=\"none\" title=\"{}\">none</td>", Escaped(reason(cell)))),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}
