//! Metrics in the text format of Prometheus 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::metrics::{BOUNDS, Metric, Reading};
use super::names::outside;

/// Families in the order of their names, and in each the metrics in the order in which they were defined.
pub(super) fn text(metrics: &[Arc<Metric>]) -> String {
    let mut families: BTreeMap<&str, Vec<&Metric>> = BTreeMap::new();
    for metric in metrics {
        families.entry(&metric.family).or_default().push(metric);
    }
    let mut out = String::new();
    for (family, metrics) in families {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# TYPE {family} {}", metrics[0].kind().as_str());
        metrics.iter().for_each(|metric| sample(&mut out, metric));
    }
    out
}

fn sample(out: &mut String, metric: &Metric) {
    let (family, labels) = (&metric.family, labels(metric));
    let _ = match metric.read() {
        Reading::Counter(value) => writeln!(out, "{family}{{{labels}}} {value}"),
        Reading::Gauge(value) => writeln!(out, "{family}{{{labels}}} {value}"),
        Reading::Histogram(histogram) => {
            let counts = histogram.cumulative();
            for (bound, count) in BOUNDS.iter().zip(counts) {
                let _ = writeln!(out, "{family}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let all = counts[BOUNDS.len()];
            let _ = writeln!(out, "{family}_bucket{{{labels},le=\"+Inf\"}} {all}");
            let _ = writeln!(out, "{family}_sum{{{labels}}} {}", histogram.sum);
            writeln!(out, "{family}_count{{{labels}}} {all}")
        }
    };
}

/// The plugin, and the name as it has it where the one outside does not tell.
fn labels(metric: &Metric) -> String {
    let mut labels = format!("plugin=\"{}\"", label(metric.plugin.as_bytes()));
    let plain = outside(&metric.name).into_bytes();
    if !plain.ends_with(&metric.name) || *metric.family.as_bytes() != *plain {
        let _ = write!(labels, ",metric=\"{}\"", label(&metric.name));
    }
    labels
}

/// A text from which the bytes can be told, as the format wants it within quotes.
fn label(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.extend(std::ascii::escape_default(*byte).map(char::from)));
    }
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use chassis_abi::{Identity, MetricType};

    use super::super::metrics::Metrics;
    use super::*;

    fn define(metrics: &Metrics, plugin: &str, kind: MetricType, name: &[u8], values: &[u64]) {
        let plugin = Identity { name: plugin.to_owned(), ..Identity::default() };
        let id = metrics.define(&plugin, kind, name).unwrap();
        let metric = Arc::clone(&metrics.all()[id as usize - 1]);
        values.iter().for_each(|value| metric.record(*value));
    }

    #[test]
    fn families_are_told_once_and_names_are_made_safe() {
        let metrics = Metrics::default();
        define(&metrics, "b", MetricType::Counter, b"requests", &[1, 2]);
        define(&metrics, "a\"\\\n", MetricType::Counter, b"requests", &[4]);
        define(&metrics, "b", MetricType::Counter, b"x\n} 5\n\xff\"\\{", &[]);
        define(&metrics, "b", MetricType::Gauge, b"re.quests", &[u64::MAX]);
        define(&metrics, "b", MetricType::Gauge, b"requests_", &[]);
        define(&metrics, "c", MetricType::Gauge, b"requests", &[]);
        let expected = [
            r#"# TYPE wasmcustom_re_quests gauge"#,
            r#"wasmcustom_re_quests{plugin="b",metric="re.quests"} -1"#,
            r#"# TYPE wasmcustom_requests counter"#,
            r#"wasmcustom_requests{plugin="b"} 3"#,
            r#"wasmcustom_requests{plugin="a\"\\\\\\n"} 4"#,
            r#"# TYPE wasmcustom_requests_ gauge"#,
            r#"wasmcustom_requests_{plugin="b"} 0"#,
            r#"# TYPE wasmcustom_requests_2 gauge"#,
            r#"wasmcustom_requests_2{plugin="c",metric="requests"} 0"#,
            r#"# TYPE wasmcustom_x___5_____ counter"#,
            r#"wasmcustom_x___5_____{plugin="b",metric="x\\n} 5\\n\\xff\"\\\\{"} 0"#,
        ];
        let seen = text(&metrics.all());
        assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
        assert!(seen.ends_with('\n'));
    }

    #[test]
    fn a_histogram_has_buckets_a_sum_and_a_count() {
        let metrics = Metrics::default();
        define(&metrics, "p", MetricType::Histogram, b"h", &[1, 3, 7_000_000]);
        let seen = text(&metrics.all());
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines.len(), 1 + BOUNDS.len() + 3);
        assert_eq!(
            lines[..3],
            [
                "# TYPE wasmcustom_h histogram",
                r#"wasmcustom_h_bucket{plugin="p",le="1"} 1"#,
                r#"wasmcustom_h_bucket{plugin="p",le="5"} 2"#
            ]
        );
        assert_eq!(
            lines[19..],
            [
                r#"wasmcustom_h_bucket{plugin="p",le="+Inf"} 3"#,
                r#"wasmcustom_h_sum{plugin="p"} 7000004"#,
                r#"wasmcustom_h_count{plugin="p"} 3"#
            ]
        );
    }
}
