//! What metrics are called outside: names that Prometheus takes, and that no two of another type share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chassis_abi::MetricType;

const PREFIX: &str = "wasmcustom_";

/// The names that are in use.
#[derive(Default)]
pub(super) struct Names {
    families: HashMap<(String, MetricType), Arc<str>>,
    /// The names of all samples, of which a histogram has several.
    samples: HashSet<String>,
}

impl Names {
    /// The name under which metrics of a name and type are shown. Where it would be taken for another one's, a number is
    /// added to it.
    pub(super) fn family(&mut self, name: &[u8], kind: MetricType) -> Arc<str> {
        let wanted = outside(name);
        if let Some(family) = self.families.get(&(wanted.clone(), kind)) {
            return Arc::clone(family);
        }
        let mut family = wanted.clone();
        let mut number = 2_u64;
        while samples(&family, kind).iter().any(|sample| self.samples.contains(sample)) {
            family = format!("{wanted}_{number}");
            number += 1;
        }
        self.samples.extend(samples(&family, kind));
        let family: Arc<str> = family.into();
        self.families.insert((wanted, kind), Arc::clone(&family));
        family
    }
}

/// A name with what Prometheus does not take replaced, byte by byte.
pub(super) fn outside(name: &[u8]) -> String {
    let kept = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b':' => char::from(*byte),
        _ => '_',
    };
    PREFIX.chars().chain(name.iter().map(kept)).collect()
}

fn samples(family: &str, kind: MetricType) -> Vec<String> {
    let mut samples = vec![family.to_owned()];
    if kind == MetricType::Histogram {
        samples.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{family}{suffix}")));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_one_that_prometheus_takes() {
        assert_eq!(outside(b"a.b-c\n\"{}:0\xff"), "wasmcustom_a_b_c____:0_");
        assert_eq!(outside(b""), "wasmcustom_");
    }

    #[test]
    fn no_sample_has_the_name_of_another_types() {
        let mut names = Names::default();
        let (counter, gauge, histogram) = (MetricType::Counter, MetricType::Gauge, MetricType::Histogram);
        assert_eq!(&*names.family(b"a.b", counter), "wasmcustom_a_b");
        assert_eq!(&*names.family(b"a_b", counter), "wasmcustom_a_b");
        assert_eq!(&*names.family(b"a-b", gauge), "wasmcustom_a_b_2");
        assert_eq!(&*names.family(b"a-b", gauge), "wasmcustom_a_b_2");
        assert_eq!(&*names.family(b"h_sum", counter), "wasmcustom_h_sum");
        assert_eq!(&*names.family(b"h", histogram), "wasmcustom_h_2");
        assert_eq!(&*names.family(b"h_2_count", gauge), "wasmcustom_h_2_count_2");
    }
}
