//! The last offset of each key, for one pass of compaction. Keys are represented by 16 bytes of hash: two of 64 bits,
//! with secret hash keys, so that collisions cannot be constructed.
//!
//! The memory grows with the number of keys up to a limit. It is divided into shards that grow by a quarter each
//! independently, so that growing needs little extra memory.

use std::hash::{BuildHasher as _, RandomState};

use protocol::types::Offset;

const SHARDS: usize = 256;
const SLOTS_MIN: usize = 16;

/// Hashes keys: different for each process.
#[derive(Debug, Clone)]
pub struct KeyHasher([RandomState; 2]);

impl KeyHasher {
    pub fn new(states: [RandomState; 2]) -> Self {
        Self(states)
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        let Self([one, other]) = self;
        KeyHash { shard_and_identity: one.hash_one(key), place: other.hash_one(key) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyHash {
    shard_and_identity: u64,
    place: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: KeyHash,
    /// Negative: empty.
    offset: Offset,
}

const SLOT_BYTES: usize = size_of::<Slot>();

const EMPTY: Slot = Slot { key: KeyHash { shard_and_identity: 0, place: 0 }, offset: Offset(-1) };

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    used: usize,
}

#[derive(Debug)]
pub(crate) struct KeyOffsets {
    hasher: KeyHasher,
    shards: Vec<Shard>,
    /// Most slots of one shard.
    slots_max: usize,
    /// How full a shard may become that cannot grow.
    load_factor: f64,
}

/// There is no room for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl KeyOffsets {
    /// Takes at most `bytes_max`, but has room for some keys in any case.
    pub(crate) fn new(hasher: KeyHasher, bytes_max: u64, load_factor: f64) -> Self {
        let slots = usize::try_from(bytes_max).unwrap_or(usize::MAX) / SLOT_BYTES;
        let shards = std::iter::repeat_with(Shard::default).take(SHARDS).collect();
        Self { hasher, shards, slots_max: (slots / SHARDS).max(SLOTS_MIN), load_factor }
    }

    /// Offsets must be ascending.
    pub(crate) fn insert(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        debug_assert!(Offset(0) <= offset, "{offset}");
        let key = self.hasher.hash(key);
        let Some(shard) = self.shards.get_mut(shard_of(key)) else { return Err(Full) };
        if let Some(slot) = shard.slot_mut(key).filter(|slot| !slot.is_empty()) {
            slot.offset = offset;
            return Ok(());
        }
        if shard.is_crowded(self.slots_max, self.load_factor) {
            if self.slots_max <= shard.slots.len() {
                return Err(Full);
            }
            shard.grow(self.slots_max);
        }
        if let Some(slot) = shard.slot_mut(key) {
            *slot = Slot { key, offset };
            shard.used = shard.used.saturating_add(1);
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let key = self.hasher.hash(key);
        let slot = self.shards.get(shard_of(key))?.slot(key)?;
        (!slot.is_empty()).then_some(slot.offset)
    }

    /// The last offset of each key, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Offset> {
        let slots = self.shards.iter().flat_map(|shard| &shard.slots);
        slots.filter(|slot| !slot.is_empty()).map(|slot| slot.offset)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }
}

impl Shard {
    /// One slot always stays empty, so that a search ends.
    fn is_crowded(&self, slots_max: usize, load_factor: f64) -> bool {
        let slots = self.slots.len();
        let limit = if slots < slots_max { (slots / 5).saturating_mul(4) } else { share(slots, load_factor) };
        limit.min(slots.saturating_sub(1)) <= self.used
    }

    fn grow(&mut self, slots_max: usize) {
        let slots = self.slots.len().saturating_add(self.slots.len() / 4).clamp(SLOTS_MIN, slots_max);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            if let Some(place) = self.slot_mut(slot.key) {
                *place = slot;
            }
        }
    }

    /// The slot of the key, or the empty one where it belongs.
    fn slot(&self, key: KeyHash) -> Option<&Slot> {
        let (before, after) = self.slots.split_at_checked(home(key, self.slots.len()))?;
        let fits = |slot: &&Slot| slot.is_empty() || slot.key == key;
        after.iter().find(fits).or_else(|| before.iter().find(fits))
    }

    fn slot_mut(&mut self, key: KeyHash) -> Option<&mut Slot> {
        let home = home(key, self.slots.len());
        let (before, after) = self.slots.split_at_mut_checked(home)?;
        let fits = |slot: &&mut Slot| slot.is_empty() || slot.key == key;
        after.iter_mut().find(fits).or_else(|| before.iter_mut().find(fits))
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.offset < Offset(0)
    }
}

fn shard_of(key: KeyHash) -> usize {
    usize::from(key.shard_and_identity.to_be_bytes()[0])
}

/// Distributes keys evenly over `slots`.
fn home(key: KeyHash, slots: usize) -> usize {
    let wide = u128::from(key.place).saturating_mul(u128::try_from(slots).unwrap_or(0));
    usize::try_from(wide >> 64).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a number is a number that fits, and need not be exact"
)]
fn share(of: usize, factor: f64) -> usize {
    (of as f64 * factor.clamp(0.0, 1.0)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::testing::random;

    fn key_offsets(bytes_max: u64, load_factor: f64) -> KeyOffsets {
        KeyOffsets::new(KeyHasher::new([RandomState::new(), RandomState::new()]), bytes_max, load_factor)
    }

    #[test]
    fn each_key_has_the_last_offset_that_was_told() {
        let mut map = key_offsets(1 << 30, 0.9);
        let mut model = HashMap::new();
        let mut random = random(1);
        for offset in 0..200_000 {
            let key = (random() % 50_000).to_be_bytes();
            map.insert(&key, Offset(offset)).unwrap();
            model.insert(key, Offset(offset));
        }
        assert_eq!(map.count(), model.len());
        assert!(model.iter().all(|(key, offset)| map.get(key) == Some(*offset)));
        assert!((50_000..60_000_u64).all(|key| map.get(&key.to_be_bytes()).is_none()));
        let slots: usize = map.shards.iter().map(|shard| shard.slots.capacity()).sum();
        assert!(slots < 2 * model.len(), "{slots} slots for {} keys", model.len());
    }

    #[test]
    fn a_full_map_takes_no_other_key_and_keeps_what_it_has() {
        let slot_bytes = size_of::<Slot>() as u64;
        for (bytes_max, load_factor) in [(0, 0.9), (256 * 100 * slot_bytes, 0.5), (256 * 100 * slot_bytes, 1.0)] {
            let mut map = key_offsets(bytes_max, load_factor);
            let mut taken = 0_u32;
            while map.insert(&taken.to_be_bytes(), Offset(taken.into())).is_ok() {
                taken += 1;
            }
            assert!((0..taken).all(|key| map.get(&key.to_be_bytes()) == Some(Offset(key.into()))));
            assert_eq!(map.get(&taken.to_be_bytes()), None);
            assert_eq!(
                map.insert(&0_u32.to_be_bytes(), Offset(taken.into())),
                Ok(()),
                "a key that is there finds room"
            );
            let slots: usize = map.shards.iter().map(|shard| shard.slots.capacity()).sum();
            let slots_max = (bytes_max / slot_bytes).max((SHARDS * SLOTS_MIN) as u64);
            assert!(slots as u64 <= slots_max, "{slots} slots");
            let share = f64::from(taken) / f64::from(u32::try_from(slots).unwrap());
            // One full shard of 256 ends it, by chance far below the mean.
            assert!(load_factor * 0.1 < share && share <= load_factor.max(0.8), "{taken} keys in {slots} slots");
        }
    }
}
