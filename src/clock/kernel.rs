//! The User Mode Linux kernels of the virtual clock: where they are, and which is taken.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// The option of the kernel's configuration that makes the virtual clock.
const TIME_TRAVEL: &str = "CONFIG_UML_TIME_TRAVEL_SUPPORT";

/// The variable that names the kernel.
const NAMED: &str = "HALFOPEN_KERNEL";

/// Where a release has its kernels, from the folder of its program.
const OF_A_RELEASE: &str = "share/halfopen/kernels";

/// A kernel that `ci/kernel` built, here or for the release that this program is of, or that somebody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The program.
    pub path: PathBuf,
    /// What stands in the file beside it; none for a kernel that `ci/kernel` did not build.
    pub about: Option<About>,
}

/// What `ci/kernel` wrote of a kernel it built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct About {
    /// Its version, e.g. `7.3.4`.
    pub version: String,
    /// Its timer frequency.
    pub hz: u32,
    /// The package or file it was built from.
    pub source: String,
    /// Whether its random numbers can be seeded from the command line.
    #[serde(default)]
    pub seed: bool,
    /// Whether its guests' memory can be a memfd, for which no tmpfs is needed; not in what older builds wrote.
    #[serde(default)]
    pub memory: bool,
    /// SHA-256 of the file, in hexadecimal; not in what older builds wrote.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A kernel was named that is not there or can't be run.
    #[error("there is no kernel that can be run at {}", .0.display())]
    NotThere(PathBuf),
    /// What was named is something else.
    #[error(
        "{} is no User Mode Linux kernel with {TIME_TRAVEL}; `./ci/kernel` builds one in a few minutes", .0.display()
    )]
    NoTimeTravel(PathBuf),
    /// Kernels were built, and none of them can be used.
    #[error("no kernel for the virtual clock can be used: {0}")]
    Unusable(String),
    /// None was named and none was built.
    #[error(
        "no kernel for the virtual clock is built; `./ci/kernel` builds one in a few minutes, and a release has one beside its program"
    )]
    NotBuilt,
}

impl Kernel {
    /// The kernel at `path`, with what is known of it.
    ///
    /// # Errors
    /// [`KernelError::NotThere`], [`KernelError::NoTimeTravel`].
    pub fn at(path: &Path) -> Result<Self, KernelError> {
        let not_there = || KernelError::NotThere(path.to_path_buf());
        let path = path.canonicalize().map_err(|_| not_there())?;
        nix::unistd::access(&path, nix::unistd::AccessFlags::X_OK).map_err(|_| not_there())?;
        // Not with_extension(): the version's own dots would be taken for one.
        let beside = PathBuf::from(format!("{}.json", path.display()));
        let about = fs::read_to_string(beside)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        if about.is_none() && !has_time_travel(&path) {
            return Err(KernelError::NoTimeTravel(path));
        }
        Ok(Self { path, about })
    }

    /// A name for people: its version where that is known.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.about {
            Some(about) => format!("{} (HZ={})", about.version, about.hz),
            None => self.path.display().to_string(),
        }
    }

    /// SHA-256 of its file, in hexadecimal: the same file, the same dice. Reckoned only where its builder did not: that takes
    /// a good part of the processor time of a short case.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn sha256(&self) -> io::Result<String> {
        if let Some(known) = self.about.as_ref().and_then(|about| about.sha256.clone()) {
            return Ok(known);
        }
        let digest = digest(&SHA256, &fs::read(&self.path)?);
        Ok(digest
            .as_ref()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
    }

    /// Whether it is known to run its programs by seccomp, which is twice as fast as ptrace (since 6.16).
    #[must_use]
    pub fn has_seccomp_mode(&self) -> bool {
        self.about
            .as_ref()
            .is_some_and(|about| version(&about.version) >= [6, 16, 0])
    }

    /// Whether its guests need no tmpfs, because their memory can be a memfd.
    #[must_use]
    pub fn has_memory_in_memfd(&self) -> bool {
        self.about.as_ref().is_some_and(|about| about.memory)
    }

    /// Whether it is of the release that this program is of.
    #[must_use]
    pub fn is_of_the_release(&self) -> bool {
        of_the_release().is_some_and(|folder| self.path.parent() == Some(&folder))
    }
}

/// Whether a file is a kernel of the right kind: it carries its whole configuration as text, for `--showconfig`. Read
/// rather than run, since who knows what else it is.
fn has_time_travel(kernel: &Path) -> bool {
    let line = format!("{TIME_TRAVEL}=y\n");
    fs::read(kernel).is_ok_and(|file| {
        file.windows(line.len())
            .any(|window| window == line.as_bytes())
    })
}

/// The kernels to run on: those named, else the one in `HALFOPEN_KERNEL`, else the newest that `ci/kernel` built, else the newest
/// beside this program.
///
/// # Errors
/// See [`KernelError`].
pub fn choose(named: &[PathBuf]) -> Result<Vec<Kernel>, KernelError> {
    if !named.is_empty() {
        return named.iter().map(|path| Kernel::at(path)).collect();
    }
    if let Some(path) = std::env::var_os(NAMED) {
        return Ok(vec![Kernel::at(Path::new(&path))?]);
    }
    let (mut usable, unusable) = found();
    match (usable.pop(), unusable.is_empty()) {
        (Some(newest), _) => Ok(vec![newest]),
        (None, true) => Err(KernelError::NotBuilt),
        (None, false) => Err(KernelError::Unusable(unusable.join("; "))),
    }
}

/// Why kernels that `ci/kernel` has built, or those of a release, can't be used, a sentence each; none where they are not asked for.
#[must_use]
pub fn unusable() -> Vec<String> {
    match std::env::var_os(NAMED) {
        Some(_) => Vec::new(),
        None => found().1,
    }
}

/// All kernels that can be used: those beside this program, then those that `ci/kernel` has built here, each the newest version
/// last.
#[must_use]
pub fn built() -> Vec<Kernel> {
    found().0
}

/// As [`built`], and what is wrong with the others.
fn found() -> (Vec<Kernel>, Vec<String>) {
    let (mut kernels, mut unusable) = of_the_release().map(in_folder).unwrap_or_default();
    let (cached, not_cached) = cache().map(in_folder).unwrap_or_default();
    // Its name says what went into it.
    kernels.retain(|kernel| {
        let name = kernel.path.file_name();
        cached.iter().all(|other| other.path.file_name() != name)
    });
    kernels.extend(cached);
    unusable.extend(not_cached);
    (kernels, unusable)
}

/// The kernels in a folder that can be used, the newest version last, and what is wrong with the others.
fn in_folder(folder: PathBuf) -> (Vec<Kernel>, Vec<String>) {
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Default::default(),
        Err(error) => {
            let text = format!("failed to read {}: {error}", folder.display());
            return (Vec::new(), vec![text]);
        }
    };
    let mut described: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    described.sort();
    let (mut kernels, mut unusable) = (Vec::new(), Vec::new());
    for path in described {
        match described_by(&path) {
            Ok(kernel) => kernels.push(kernel),
            Err(text) => unusable.push(text),
        }
    }
    kernels.sort_by_key(|kernel| {
        let modified = fs::metadata(&kernel.path).and_then(|m| m.modified()).ok();
        (
            kernel.about.as_ref().map(|about| version(&about.version)),
            modified,
        )
    });
    (kernels, unusable)
}

/// The kernel that a file beside it describes.
fn described_by(about: &Path) -> Result<Kernel, String> {
    let kernel = about.with_extension("");
    let text = fs::read_to_string(about)
        .map_err(|error| format!("failed to read {}: {error}", about.display()))?;
    serde_json::from_str::<About>(&text).map_err(|error| {
        format!(
            "{} is not what `ci/kernel` writes: {error}",
            about.display()
        )
    })?;
    nix::unistd::access(&kernel, nix::unistd::AccessFlags::X_OK)
        .map_err(|errno| format!("{} can't be run: {}", kernel.display(), errno.desc()))?;
    Kernel::at(&kernel).map_err(|error| error.to_string())
}

/// Where `ci/kernel` keeps them.
fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(cache.or_else(home)?.join("halfopen/kernels"))
}

/// Where the release that this program is of has its kernels: `share` lies beside the `bin` that the program lies in.
fn of_the_release() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program
        .parent()?
        .parent()?
        .join(OF_A_RELEASE)
        .canonicalize()
        .ok()
}

/// The numbers of a version, `7.3.4` → `[7, 3, 4]`.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("7.3.4") > version("6.12.117"));
        assert!(version("6.9") < version("6.16.0"));
        assert_eq!(version("6.1.192-rc2"), [6, 1, 192]);
    }

    #[test]
    fn a_kernel_that_is_not_there_is_named() {
        let error = Kernel::at(Path::new("/nowhere/linux")).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "there is no kernel that can be run at /nowhere/linux"
        );
    }
}
