//! Sharing requests out among nodes by weight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::hash::{hash, mix};

/// Whose turn it is among the nodes of one priority.
#[derive(Debug)]
pub(super) struct Balance {
    weights: Vec<i64>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// All weights are the same.
    Equal(Cell<usize>),
    Smooth(RefCell<Vec<i64>>),
    /// A number of each node's own.
    Hash(Vec<u64>),
    /// Requests that are under way, of each node; and where to begin, so that equals take turns.
    Least(Rc<[Cell<u32>]>, Cell<usize>),
}

/// A request that is under way, as far as its node counts it.
#[derive(Debug)]
pub(crate) struct Open {
    counts: Rc<[Cell<u32>]>,
    node: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        let count = &self.counts[self.node];
        count.set(count.get() - 1);
    }
}

impl Balance {
    /// Turns among nodes of these weights, none of them 0. Smooth weighted round robin: of weights 5, 1, 1 they are
    /// a a b a c a a, never five of a at once.
    pub(super) fn round_robin(weights: impl Iterator<Item = u16>) -> Self {
        let weights: Vec<i64> = weights.map(i64::from).collect();
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let way = if equal { Way::Equal(Cell::new(0)) } else { Way::Smooth(RefCell::new(vec![0; weights.len()])) };
        Balance { weights, way }
    }

    /// The same key to the same node: each node draws a number for the key, and the best wins (rendezvous hashing). One
    /// that goes leaves its own keys to the others and takes none from them.
    pub(super) fn hashed<'a>(nodes: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let (seeds, weights) = nodes.map(|(name, weight)| (hash(name.as_bytes()), i64::from(weight))).unzip();
        Balance { weights, way: Way::Hash(seeds) }
    }

    /// The node with the fewest requests for its weight.
    pub(super) fn least_connections(weights: impl Iterator<Item = u16>) -> Self {
        let weights: Vec<i64> = weights.map(i64::from).collect();
        let counts = weights.iter().map(|_| Cell::new(0)).collect();
        Balance { weights, way: Way::Least(counts, Cell::new(0)) }
    }

    /// Whose turn it is of those that may be used; `None` if none may.
    pub(super) fn next(&self, hash: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.way {
            Way::Equal(turn) => self.equal(turn, may),
            Way::Smooth(credit) => self.smooth(&mut credit.borrow_mut(), may),
            Way::Hash(seeds) => {
                let usable = (0..seeds.len()).filter(|node| may(*node));
                usable.max_by(|a, b| self.draw(hash, seeds, *a).total_cmp(&self.draw(hash, seeds, *b)))
            }
            Way::Least(counts, turn) => self.least(counts, turn, may),
        }
    }

    /// Counts a request that was given to a node, where that matters.
    pub(super) fn open(&self, node: usize) -> Option<Open> {
        let Way::Least(counts, _) = &self.way else { return None };
        counts[node].set(counts[node].get() + 1);
        Some(Open { counts: Rc::clone(counts), node })
    }

    fn equal(&self, turn: &Cell<usize>, may: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..self.weights.len() {
            let node = turn.get();
            turn.set(if node + 1 < self.weights.len() { node + 1 } else { 0 });
            if may(node) {
                return Some(node);
            }
        }
        None
    }

    fn smooth(&self, credit: &mut [i64], may: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut best, mut total) = (None, 0);
        for (node, weight) in self.weights.iter().enumerate().filter(|(node, _)| may(*node)) {
            credit[node] += weight;
            total += weight;
            if best.is_none_or(|best| credit[node] > credit[best]) {
                best = Some(node);
            }
        }
        if let Some(best) = best {
            credit[best] -= total;
        }
        best
    }

    /// What a node draws for a key. Of weights 1 and 2 the second wins twice as often.
    fn draw(&self, hash: u64, seeds: &[u64], node: usize) -> f64 {
        let bits = mix(hash ^ seeds[node]) >> 11;
        let between_0_and_1 = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
        self.weights[node] as f64 / -between_0_and_1.ln()
    }

    fn least(&self, counts: &[Cell<u32>], turn: &Cell<usize>, may: impl Fn(usize) -> bool) -> Option<usize> {
        let begin = turn.get();
        turn.set(if begin + 1 < counts.len() { begin + 1 } else { 0 });
        let load = |node: usize| i64::from(counts[node].get()) + 1;
        let usable = (begin..counts.len()).chain(0..begin).filter(|node| may(*node));
        // As fractions: a/x < b/y if ay < bx. Of equals the first stays.
        usable.reduce(|best, node| match load(node) * self.weights[best] < load(best) * self.weights[node] {
            true => node,
            false => best,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns_without(weights: &[u16], count: usize, without: &[usize]) -> String {
        let balance = Balance::round_robin(weights.iter().copied());
        let next = || balance.next(0, |node| !without.contains(&node));
        (0..count).map(|_| next().map_or('-', |node| char::from(b'a' + node as u8))).collect()
    }

    #[test]
    fn turns_follow_the_weights_smoothly() {
        assert_eq!(turns_without(&[5, 1, 1], 14, &[]), "aabacaaaabacaa");
        assert_eq!(turns_without(&[1, 1, 1], 7, &[]), "abcabca");
        assert_eq!(turns_without(&[9], 3, &[]), "aaa");
        let many = turns_without(&[3, 2], 500, &[]);
        assert_eq!((many.matches('a').count(), many.matches('b').count()), (300, 200));
    }

    #[test]
    fn who_may_not_be_used_has_no_turn_and_the_others_keep_their_shares() {
        assert_eq!(turns_without(&[1, 1, 1], 4, &[1]), "acac");
        assert_eq!(turns_without(&[1, 1], 2, &[0, 1]), "--");
        assert_eq!(turns_without(&[2, 1], 2, &[0, 1]), "--");
        let many = turns_without(&[60000, 3, 2], 500, &[0]);
        assert_eq!((many.matches('b').count(), many.matches('c').count()), (300, 200));
    }

    #[test]
    fn the_fewest_requests_for_their_weight_get_the_next() {
        let balance = Balance::least_connections([1, 2, 1].into_iter());
        let mut open: Vec<Vec<Open>> = (0..3).map(|_| Vec::new()).collect();
        for _ in 0..40 {
            let node = balance.next(0, |_| true).unwrap();
            open[node].extend(balance.open(node));
        }
        assert_eq!([open[0].len(), open[1].len(), open[2].len()], [10, 20, 10]);
        open[2].clear();
        for _ in 0..5 {
            let node = balance.next(0, |_| true).unwrap();
            assert_eq!(node, 2);
            open[node].extend(balance.open(node));
        }
        assert_eq!(balance.next(0, |node| node == 1), Some(1));
        // Equals take turns, though none of them has anything to do.
        let balance = Balance::least_connections([1, 1].into_iter());
        let turns: Vec<_> = (0..4).map(|_| balance.next(0, |_| true).unwrap()).collect();
        assert_eq!(turns, [0, 1, 0, 1]);
    }

    proptest! {
        #[test]
        fn a_node_that_goes_moves_only_its_own_keys(
            weights in prop::collection::vec(1_u16..100, 2..12),
            gone in any::<prop::sample::Index>(),
            keys in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|node| format!("10.0.0.{node}:80")).collect();
            let all = || names.iter().map(String::as_str).zip(weights.iter().copied());
            let gone = gone.index(weights.len());
            let before = Balance::hashed(all());
            let after = Balance::hashed(all().enumerate().filter(|(node, _)| *node != gone).map(|(_, node)| node));
            for key in keys {
                let first = before.next(key, |_| true).unwrap();
                let second = after.next(key, |_| true).unwrap();
                let second = second + usize::from(second >= gone);
                prop_assert!(first == second || first == gone);
                // Nodes that must not be used are the same as nodes that are not there.
                prop_assert_eq!(before.next(key, |node| node != gone), Some(second));
            }
        }

        #[test]
        fn keys_are_shared_out_by_weight(weights in prop::collection::vec(1_u16..10, 1..6), salt in any::<u64>()) {
            const KEYS: u64 = 4000;
            let names: Vec<String> = (0..weights.len()).map(|node| format!("node{node}:80")).collect();
            let balance = Balance::hashed(names.iter().map(String::as_str).zip(weights.iter().copied()));
            let mut counts = vec![0_f64; weights.len()];
            for key in 0..KEYS {
                let key = hash(&(key ^ salt).to_le_bytes());
                counts[balance.next(key, |_| true).unwrap()] += 1.0;
            }
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (count, weight) in counts.into_iter().zip(&weights) {
                let expected = KEYS as f64 * f64::from(*weight) / total;
                // Six standard deviations.
                prop_assert!((count - expected).abs() <= 6.0 * expected.sqrt() + 1.0, "{} {}", count, expected);
            }
        }
    }
}
