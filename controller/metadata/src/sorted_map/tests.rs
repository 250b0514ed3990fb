//! The sorted map against the standard library's.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Applies the same steps to our map and to a `BTreeMap`: `Some` inserts, `None` removes.
fn apply(map: &mut SortedMap<u16, u8>, model: &mut BTreeMap<u16, u8>, steps: &[(u16, Option<u8>)]) {
    for (key, step) in steps {
        match step {
            Some(value) => assert_eq!(map.insert(*key, *value), model.insert(*key, *value)),
            None => assert_eq!(map.remove(key), model.remove(key)),
        }
    }
}

fn steps(length_max: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
    proptest::collection::vec((0..600u16, proptest::option::weighted(0.7, any::<u8>())), 0..length_max)
}

proptest! {
    #[test]
    fn it_holds_what_a_btree_map_holds(steps in steps(1_500), probe in 0..600u16) {
        let (mut map, mut model) = Default::default();
        apply(&mut map, &mut model, &steps);
        prop_assert_eq!(map.len(), model.len());
        prop_assert!(map.iter().eq(model.iter()));
        prop_assert_eq!(map.get(&probe), model.get(&probe));
        prop_assert!(map.iter_from(&probe).eq(model.range(probe..)));
        prop_assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_LENGTH_MAX).contains(&chunk.len())));
    }

    #[test]
    fn a_difference_is_what_changed_and_the_clone_stays_as_it_was(before in steps(1_500), change in steps(100)) {
        let (mut map, mut model) = Default::default();
        apply(&mut map, &mut model, &before);
        let (old, old_model) = (map.clone(), model.clone());
        apply(&mut map, &mut model, &change);
        prop_assert!(old.iter().eq(old_model.iter()));
        let mut found = BTreeMap::new();
        old.for_each_difference(&map, |key, before, after| {
            assert!(found.insert(*key, (before.copied(), after.copied())).is_none(), "{key} was told twice");
        });
        let keys = old_model.keys().chain(model.keys());
        let changes = keys.map(|key| (*key, (old_model.get(key).copied(), model.get(key).copied())));
        prop_assert_eq!(found, changes.filter(|(_, (before, after))| before != after).collect());
    }
}

#[test]
fn a_change_copies_its_own_chunk_and_no_other() {
    let mut map = SortedMap::default();
    for key in 0..10_000 {
        map.insert(key, key);
    }
    let before = map.clone();
    *map.get_mut(&5_000).unwrap() = 0;
    let copied = before.chunks.iter().zip(map.chunks.iter()).filter(|(old, new)| !Arc::ptr_eq(old, new));
    assert_eq!(copied.count(), 1);
    assert_eq!(before.get(&5_000), Some(&5_000));
}

#[test]
fn ascending_inserts_leave_full_chunks_behind() {
    let mut map = SortedMap::default();
    for key in 0..6_400 {
        map.insert(key, ());
    }
    assert_eq!(map.chunks.len(), 100);
}
