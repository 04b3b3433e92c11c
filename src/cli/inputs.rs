//! From paths on the command line to files, in a stable order.

use std::path::{Path, PathBuf};

/// All files below `paths` with one of `extensions`; a path that names a file is taken as it is. Folders are searched
/// in the order of names.
///
/// # Errors
/// A sentence, if a path can't be read or no file is found.
pub(super) fn files(paths: &[PathBuf], extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = path
            .metadata()
            .map_err(|e| format!("failed to read {}: {e}", path.display()))?;
        if metadata.is_dir() {
            let before = found.len();
            walk(path, extensions, &mut found)
                .map_err(|e| format!("failed to read the folder {}: {e}", path.display()))?;
            if found.len() == before {
                return Err(format!(
                    "there is no *.{} file below {}",
                    extensions[0],
                    path.display()
                ));
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            walk(&entry, extensions, found)?;
        } else if entry
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| extensions.contains(&e))
        {
            found.push(entry);
        }
    }
    Ok(())
}
