//! A bounded cache that forgets what was not used lately.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use parking_lot::Mutex;

/// Two maps: what is used moves to the young one; when that is full it becomes the old one, and the old one is forgotten. Holds at
/// most `count_max` entries, and at least the `count_max / 2` that were used last. Nothing iterates over the maps.
pub(super) struct Cache<K, V> {
    maps: Mutex<(HashMap<K, V>, HashMap<K, V>)>,
    half_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> Cache<K, V> {
    pub(super) fn new(count_max: usize) -> Self {
        Self { maps: Mutex::default(), half_max: (count_max / 2).max(1) }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut guard = self.maps.lock();
        let (young, old) = &mut *guard;
        if let Some(value) = young.get(key) {
            return Some(value.clone());
        }
        let value = old.remove(key)?;
        Self::put(young, old, self.half_max, *key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&self, key: K, value: V) {
        let mut guard = self.maps.lock();
        let (young, old) = &mut *guard;
        old.remove(&key);
        Self::put(young, old, self.half_max, key, value);
    }

    pub(super) fn remove(&self, key: &K) {
        let mut guard = self.maps.lock();
        guard.0.remove(key);
        guard.1.remove(key);
    }

    fn put(young: &mut HashMap<K, V>, old: &mut HashMap<K, V>, half_max: usize, key: K, value: V) {
        if young.len() >= half_max && !young.contains_key(&key) {
            *old = mem::take(young);
        }
        young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn keeps_what_is_used_and_stays_small() {
        let cache = Cache::new(10);
        for number in 0..1000 {
            cache.insert(number, number * 2);
            assert_eq!(cache.get(&0), Some(0), "used all the time, after {number}");
            assert_eq!(cache.get(&number), Some(number * 2));
        }
        let held = (0..1000).filter(|number| cache.get(number).is_some()).count();
        assert!((5..=10).contains(&held), "{held} entries");
        cache.remove(&999);
        assert_eq!(cache.get(&999), None);
    }
}
