//! Processes of this machine, as /proc shows them.

use std::fs;

/// The process and all below it that are there now, parents first.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        let tasks = format!("/proc/{}/task", all[next]);
        for thread in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|p| p.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    all
}
