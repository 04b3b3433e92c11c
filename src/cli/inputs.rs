//! From paths on the command line to files, in a stable order.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::printable::printable_path;

/// All files below `paths` with one of `extensions`; a path that names a file is taken as it is. Folders are searched
/// in the order of names, each once.
///
/// # Errors
/// A sentence, if a path can't be read or no file is found.
pub(super) fn files(paths: &[PathBuf], extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let wanted = |path: &Path| {
        let extension = path.extension().and_then(|e| e.to_str());
        extension.is_some_and(|e| extensions.contains(&e))
    };
    matching(paths, &wanted, extensions[0])
}

/// The same of files that are `wanted`; if there is none in a folder, those are said to be missing that have `extension`.
///
/// # Errors
/// See [`files`].
pub(super) fn matching(
    paths: &[PathBuf],
    wanted: &dyn Fn(&Path) -> bool,
    extension: &str,
) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = path.metadata().map_err(|e| unread(path, &e))?;
        if metadata.is_dir() {
            let before = found.len();
            walk(path, wanted, &mut HashSet::new(), &mut found)?;
            if found.len() == before {
                return Err(format!(
                    "there is no *.{extension} file below {}",
                    printable_path(path)
                ));
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

/// Says that a file could not be read, and why.
pub(super) fn unread(path: &Path, error: &std::io::Error) -> String {
    let link = path.is_symlink() && !path.exists();
    let target = link.then(|| path.read_link().ok()).flatten();
    let to = target.map(|to| format!(", a link to {}", printable_path(&to)));
    let to = to.unwrap_or_default();
    format!("failed to read {}{to}: {error}", printable_path(path))
}

/// `seen` are the folders that were searched already: a link may lead back to one.
fn walk(
    folder: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    seen: &mut HashSet<(u64, u64)>,
    found: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let failed =
        |e: std::io::Error| format!("failed to read the folder {}: {e}", printable_path(folder));
    let metadata = folder.metadata().map_err(failed)?;
    if !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let entries: Result<Vec<PathBuf>, _> = entries.map(|e| e.map(|e| e.path())).collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            walk(&entry, wanted, seen, found)?;
        } else if wanted(&entry) {
            found.push(entry);
        }
    }
    Ok(())
}
