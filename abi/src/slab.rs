//! A store whose keys are never valid twice.

/// A key into a [`Slab`]: once its value is removed it finds nothing, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A key that finds nothing in any slab.
    pub const NEVER: Key = Key { index: u32::MAX, generation: u32::MAX };
}

/// Values under generational keys.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value.
    ///
    /// # Panics
    /// If there are 2^32 - 1 values, which no memory holds.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Key { index, generation: entry.generation };
        }
        assert!(self.entries.len() < u32::MAX as usize, "too many values");
        let index = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
    }

    /// The value of a key that is still valid.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The value of a key that is still valid, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Removes a value; its key is invalid from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        // An entry whose generations are used up is never used again.
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            self.free.push(key.index);
        }
        Some(value)
    }

    /// The keys of all values.
    pub fn keys(&self) -> Vec<Key> {
        let used = self.entries.iter().enumerate().filter(|(_, entry)| entry.value.is_some());
        used.map(|(index, entry)| Key { index: index as u32, generation: entry.generation }).collect()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.value.is_some()).count()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What belongs to the values of a [`Slab`], under their keys.
#[derive(Debug)]
pub struct SecondaryMap<T> {
    entries: Vec<Option<(Key, T)>>,
    len: usize,
}

impl<T> Default for SecondaryMap<T> {
    fn default() -> Self {
        SecondaryMap { entries: Vec::new(), len: 0 }
    }
}

impl<T> SecondaryMap<T> {
    /// Stores a value under a key of the slab. What is there under an older key of the same place is gone.
    ///
    /// # Panics
    /// For [`Key::NEVER`].
    pub fn insert(&mut self, key: Key, value: T) {
        assert_ne!(key, Key::NEVER, "a key of the slab");
        let index = key.index as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        let before = self.entries[index].replace((key, value));
        self.len += usize::from(before.is_none());
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(Some((own, value))) if *own == key => Some(value),
            _ => None,
        }
    }

    /// The value of a key, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some(Some((own, value))) if *own == key => Some(value),
            _ => None,
        }
    }

    /// Removes the value of a key.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (_, value) = self.entries[key.index as usize].take()?;
        self.len -= 1;
        Some(value)
    }

    /// All keys and values, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.entries.iter_mut().flatten().map(|(key, value)| (*key, value))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_value_goes_with_its_key() {
        let mut slab = Slab::default();
        let mut map = SecondaryMap::default();
        let (a, b) = (slab.insert(()), slab.insert(()));
        map.insert(b, 'b');
        assert_eq!((map.get(a), map.get(b), map.len()), (None, Some(&'b'), 1));
        slab.remove(b);
        let c = slab.insert(());
        assert_eq!(map.get(c), None);
        assert_eq!(map.get_mut(c), None);
        assert_eq!(map.remove(c), None);
        map.insert(c, 'c');
        assert_eq!((map.get(b), map.get(c), map.len()), (None, Some(&'c'), 1));
        map.insert(a, 'a');
        assert_eq!(map.iter_mut().map(|(key, value)| (key, *value)).collect::<Vec<_>>(), [(a, 'a'), (c, 'c')]);
        assert_eq!((map.remove(c), map.remove(c), map.len()), (Some('c'), None, 1));
        assert_eq!(map.get(Key::NEVER), None);
    }

    #[test]
    fn a_key_is_never_valid_twice() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c');
        assert_ne!(a, c);
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(slab.keys(), vec![c, b]);
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.get(Key::NEVER), None);
    }
}
