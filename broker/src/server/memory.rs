//! The memory this process may use: the smallest limit of its cgroups (v1 and v2), otherwise the machine's memory.

use std::fs;
use std::path::Path;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

pub(super) fn limit_bytes() -> usize {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = rustix::system::sysinfo();
    let total = u64::from(machine.mem_unit).saturating_mul(machine.totalram);
    let limit = cgroup_limit_bytes(Path::new(CGROUP_ROOT), &groups);
    usize::try_from(limit.unwrap_or(total).min(total)).unwrap_or(usize::MAX)
}

/// `groups` is the content of `/proc/self/cgroup`: `number:controllers:path`, where v2 has no controllers. Limits of
/// parent groups hold too, and in a container only the upper end of the path may be visible.
fn cgroup_limit_bytes(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let own = mount.join(path.trim_start_matches('/'));
        let upwards = own.ancestors().take_while(|directory| directory.starts_with(&mount));
        upwards.filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("memory.max", "max\n"),
            ("a/memory.max", "500\n"),
            ("a/b/memory.max", "700\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/c/memory.limit_in_bytes", "300\n"),
        ] {
            let file = directory.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        for (groups, expected) in [
            ("0::/\n", None),
            ("0::/a/b\n", Some(500)),
            ("0::/../of/the/host/a\n", None),
            ("4:cpu:/c\n3:memory:/c\n0::/\n", Some(300)),
            ("3:cpu,memory:/pods/of/the/host\n", Some(9_223_372_036_854_771_712)),
            ("", None),
        ] {
            assert_eq!(cgroup_limit_bytes(directory.path(), groups), expected, "{groups:?}");
        }
    }
}
