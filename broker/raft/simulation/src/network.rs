//! Links between nodes: each direction open or cut by itself; messages late, lost, duplicated, out of order.

use std::collections::BTreeSet;

use crate::random::Random;

#[derive(Debug, Clone)]
pub struct Network {
    /// From, to.
    cut: BTreeSet<(usize, usize)>,
    lost_permille: u64,
    doubled_permille: u64,
    latency_micros_max: u64,
    /// So many of a thousand messages take a hundred times as long.
    late_permille: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { cut: BTreeSet::new(), lost_permille: 0, doubled_permille: 0, latency_micros_max: 2000, late_permille: 0 }
    }
}

impl Network {
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub fn heal(&mut self) {
        *self = Self::default();
    }

    pub fn heal_links(&mut self) {
        self.cut.clear();
    }

    pub fn worsen(&mut self, random: &mut Random) {
        self.lost_permille = [0, 20, 200][random.index(3)];
        self.doubled_permille = [0, 100][random.index(2)];
        self.latency_micros_max = [2000, 10_000, 60_000][random.index(3)];
        self.late_permille = [0, 10, 50][random.index(3)];
    }

    pub fn calm(&mut self) {
        *self = Self { cut: std::mem::take(&mut self.cut), ..Self::default() };
    }

    pub fn latency(&self, random: &mut Random) -> u64 {
        let latency = random.between(100, self.latency_micros_max);
        if random.chance(self.late_permille) { latency * 100 } else { latency }
    }

    /// Two groups that do not see each other.
    pub fn split(&mut self, random: &mut Random, nodes: usize) {
        let camp: Vec<_> = (0..nodes).map(|_| random.chance(500)).collect();
        self.cut_where(nodes, |a, b| camp[a] != camp[b]);
    }

    pub fn isolate(&mut self, node: usize, nodes: usize) {
        self.cut_where(nodes, |a, b| a == node || b == node);
    }

    /// Each sees only its neighbours.
    pub fn ring(&mut self, nodes: usize) {
        self.cut_where(nodes, |a, b| (a + 1) % nodes != b && (b + 1) % nodes != a);
    }

    /// Two groups, and one node that sees both.
    pub fn bridge(&mut self, random: &mut Random, nodes: usize) {
        let bridge = random.index(nodes);
        let camp: Vec<_> = (0..nodes).map(|_| random.chance(500)).collect();
        self.cut_where(nodes, |a, b| camp[a] != camp[b] && a != bridge && b != bridge);
    }

    /// One node is heard but does not hear, or the other way round.
    pub fn one_way(&mut self, random: &mut Random, nodes: usize) {
        let (node, is_deaf) = (random.index(nodes), random.chance(500));
        self.cut_where(nodes, |a, b| if is_deaf { b == node } else { a == node });
    }

    fn cut_where(&mut self, nodes: usize, is_cut: impl Fn(usize, usize) -> bool) {
        let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
        self.cut = pairs.filter(|(a, b)| a != b && is_cut(*a, *b)).collect();
    }

    pub fn loses(&self, random: &mut Random) -> bool {
        random.chance(self.lost_permille)
    }

    pub fn doubles(&self, random: &mut Random) -> bool {
        random.chance(self.doubled_permille)
    }
}
