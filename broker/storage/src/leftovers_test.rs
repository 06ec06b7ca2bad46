use super::*;
use crate::LogConfig;
use crate::testing::*;

/// A stopped log of segments at 0, 4 and 8, with two records per batch and two batches per segment.
fn sample() -> Bench {
    let bench = Bench::new(LogConfig { segment_bytes: 500, ..LogConfig::default() });
    let mut log = bench.create();
    append_times(&mut log, 6, &batch(2, 60, 5));
    log.close_clean(NOW).unwrap();
    assert_eq!(logs(&bench), [0, 4, 8]);
    bench
}

fn logs(bench: &Bench) -> Vec<i64> {
    let names = bench.names();
    names
        .iter()
        .filter_map(|name| parse_name(name))
        .filter(|(_, kind)| *kind == FileKind::Log)
        .map(|(base, _)| base.0)
        .collect()
}

fn name(base: i64, suffix: &str) -> String {
    format!("{base:020}{suffix}")
}

fn copy(bench: &Bench, from: &str, to: &str) {
    bench.disk.put(&path(to), bench.contents(from).unwrap());
}

fn settled(bench: &Bench) -> Vec<i64> {
    settle(&*bench.disk, Path::new(DIRECTORY)).unwrap();
    let left_over =
        |name: &String| [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|suffix| name.ends_with(suffix));
    assert!(!bench.names().iter().any(left_over), "{:?}", bench.names());
    logs(bench)
}

#[test]
fn what_was_being_deleted_goes() {
    let bench = sample();
    copy(&bench, &name(0, ".log"), &name(0, ".log.deleted"));
    bench.disk.put(&path("leader-epoch-checkpoint.tmp"), b"0\n".to_vec());
    assert_eq!(settled(&bench), [0, 4, 8]);
}

#[test]
fn a_finished_replacement_takes_the_place_of_what_it_covers() {
    let bench = sample();
    let mut both = bench.contents(&name(0, ".log")).unwrap();
    both.extend(bench.contents(&name(4, ".log")).unwrap());
    bench.disk.put(&path(&name(0, ".log.swap")), both.clone());
    copy(&bench, &name(0, ".index"), &name(0, ".index.swap"));
    assert_eq!(settled(&bench), [0, 8]);
    assert_eq!(bench.contents(&name(0, ".log")), Some(both));
    let log = bench.load_clean(Offset(12)).unwrap();
    assert_eq!((read_all(&log).len(), log.log_end().offset), (6, Offset(12)));
}

#[test]
fn an_unfinished_one_is_undone() {
    let bench = sample();
    let before = bench.contents(&name(0, ".log"));
    bench.disk.put(&path(&name(0, ".log.cleaned")), b"half".to_vec());
    bench.disk.put(&path(&name(4, ".log.swap")), b"renamed first".to_vec());
    assert_eq!(settled(&bench), [0, 4, 8]);
    assert_eq!(bench.contents(&name(0, ".log")), before);
}
