//! Sharing requests out among nodes by weight.

use std::cell::{Cell, RefCell};

/// Smooth weighted round robin: of weights 5, 1, 1 the turns are a a b a c a a, never five of a at once.
#[derive(Debug)]
pub(super) struct Balance {
    weights: Vec<i64>,
    total: i64,
    credit: RefCell<Vec<i64>>,
    equal: Option<Cell<usize>>,
}

impl Balance {
    /// Turns among nodes of these weights, none of them 0.
    pub(super) fn new(weights: impl Iterator<Item = u16>) -> Self {
        let weights: Vec<i64> = weights.map(i64::from).collect();
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]).then(|| Cell::new(0));
        Balance { total: weights.iter().sum(), credit: RefCell::new(vec![0; weights.len()]), weights, equal }
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> usize {
        if let Some(turn) = &self.equal {
            let node = turn.get();
            turn.set(if node + 1 < self.weights.len() { node + 1 } else { 0 });
            return node;
        }
        let mut credit = self.credit.borrow_mut();
        let mut best = 0;
        for (node, weight) in self.weights.iter().enumerate() {
            credit[node] += weight;
            if credit[node] > credit[best] {
                best = node;
            }
        }
        credit[best] -= self.total;
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u16], count: usize) -> String {
        let balance = Balance::new(weights.iter().copied());
        (0..count).map(|_| char::from(b'a' + balance.next() as u8)).collect()
    }

    #[test]
    fn turns_follow_the_weights_smoothly() {
        assert_eq!(turns(&[5, 1, 1], 14), "aabacaaaabacaa");
        assert_eq!(turns(&[1, 1, 1], 7), "abcabca");
        assert_eq!(turns(&[9], 3), "aaa");
        let many = turns(&[3, 2], 500);
        assert_eq!((many.matches('a').count(), many.matches('b').count()), (300, 200));
    }
}
