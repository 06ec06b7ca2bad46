//! Numbers of groups, for the metrics.

use super::group::Group;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GroupCounts {
    /// By state, in the order of [`super::GroupState`].
    pub(crate) groups: [usize; 4],
    pub(crate) members: usize,
    pub(crate) offsets: usize,
}

impl GroupCounts {
    pub(super) fn of(group: &Group) -> Self {
        let mut counts = Self::default();
        if !group.is_void() {
            counts.groups[group.state() as usize] = 1;
            counts.members = group.member_count();
            counts.offsets = group.offsets.len();
        }
        counts
    }

    pub(super) fn group_count(self) -> usize {
        self.groups.iter().sum()
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            groups: std::array::from_fn(|state| self.groups[state] + other.groups[state]),
            members: self.members + other.members,
            offsets: self.offsets + other.offsets,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            groups: std::array::from_fn(|state| self.groups[state] - other.groups[state]),
            members: self.members - other.members,
            offsets: self.offsets - other.offsets,
        }
    }
}
