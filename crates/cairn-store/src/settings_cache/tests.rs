use super::*;

#[test]
fn the_bounded_map_keeps_what_is_used() {
    let mut map: Bounded<u32, u32> = Bounded::new(10);
    map.insert(0, 100);
    for key in 1..1_000 {
        map.insert(key, key);
        assert_eq!(map.get(&0), Some(100), "used all the time");
        assert!(map.young.len() + map.old.len() <= 10);
    }
    assert_eq!(map.get(&1), None);
    assert_eq!(map.get(&999), Some(999));
    map.insert(999, 1);
    assert_eq!(map.get(&999), Some(1));
    map.remove(&999);
    assert_eq!(map.get(&999), None);
}
